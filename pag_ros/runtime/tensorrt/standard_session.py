"""Inference on an NVIDIA GPU with an engine in standard operators: a CUDA graph for each rung.

How many patches a block computes decides on shapes, so TensorRT reads it from the host while a
frame is put into the stream, and a recorded graph cannot be given other counts: a frame runs on the
best rung of a short ladder. Nothing in such a graph looks at a clock or at a threshold.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.manifest import Manifest
from pag_ros.runtime.frame_io import check_frame, prediction_of
from pag_ros.runtime.session import Deadline, Device, Prediction
from pag_ros.runtime.tensorrt.arena import Arena
from pag_ros.runtime.tensorrt.driver import Driver, Work
from pag_ros.runtime.tensorrt.ladder import rung_for, rungs
from pag_ros.runtime.tensorrt.options import Say
from pag_ros.runtime.tensorrt.standard_engine import CountedEngine, Enqueue
from pag_ros.runtime.tensorrt.standard_graph import (
    keep_layout,
    standard_inputs,
    standard_outputs,
)

_WARM_UPS = 7


class StandardSession:
    """A `Session` on an NVIDIA GPU in half precision. Has to be closed by the thread that made it.

    What it computes is at most what is asked for, except that 1 patch in every block is the least;
    `Prediction.keep_used` says which rung ran. Only whole frames are timed: "encoder" is what the
    lowest rung took at the start, the rest is divided among the blocks by their patches' work.

    Args:
        manifest: of the model.
        driver: of the GPU; closed with the session.
        engine: of the model; closed with the session.
        backend: for people, see `Session.backend`.
        say: told once what it cannot do, when it is first asked for.

    Raises:
        BackendError: the GPU has too little memory, or cannot run the engine. Driver and engine
            are closed then.
    """

    device: Device = "gpu"
    trims = False

    def __init__(
        self, manifest: Manifest, driver: Driver, engine: CountedEngine, backend: str, say: Say
    ) -> None:
        self.manifest = manifest
        self.backend = backend
        self.stages: tuple[str, ...] = ("encoder", *(b.name for b in manifest.blocks), "heads")
        self._ladder = rungs(manifest)
        self._driver, self._engine = driver, engine
        self._inputs: dict[str, NDArray[Any]] = {}
        self._outputs: dict[str, NDArray[Any]] = {}
        self._replays: list[Work] = []
        self._say: Say | None = say
        self._unrecorded = ""
        self._ungated_s = 0.0
        self._is_closed = False
        try:
            with driver.active():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def infer(
        self,
        image: NDArray[np.uint8],
        focal_px: float,
        keep: Sequence[int],
        deadline: Deadline | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> Prediction:
        """See `Session.infer`.

        Raises:
            BackendError: the GPU failed, or there are thresholds.
        """
        if self._is_closed:
            raise RuntimeError("the session is closed")
        check_frame(self.manifest, image, focal_px, keep, deadline, thresholds)
        if thresholds is not None:
            raise BackendError(
                "TensorRT computes a transformer without thresholds on the scores (mode adaptive): "
                "use mode deadline or fixed, or device cpu"
            )
        if deadline is not None:
            self._tell_of_trimming()
        began = time.perf_counter()
        slot = rung_for(self._ladder, keep)
        self._inputs["image"][0] = image
        self._inputs["fx"][0] = focal_px
        with self._driver.active():
            self._run(slot)
        seconds = self._stage_seconds(slot, time.perf_counter() - began)
        counts = np.array(self._ladder[slot], np.int32)
        return prediction_of({**self._outputs, "count": counts}, self.manifest, seconds)

    def close(self) -> None:
        """See `Session.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._inputs, self._outputs = {}, {}
        self._replays.clear()
        try:
            with self._driver.active():
                self._engine.close()
        finally:
            self._driver.close()

    def _prepare(self) -> None:
        """Get memory, run every rung once and record it, and measure how long the lowest takes."""
        driver, manifest = self._driver, self.manifest
        given = Arena(standard_inputs(manifest))
        received = Arena(standard_outputs(manifest))
        source, source_on_gpu = driver.host_memory(given.size)
        # A GPU that shares the CPU's memory reads the inputs from where they are.
        copied = not driver.gpu.integrated
        inputs_at = given.addresses(driver.device_memory(given.size) if copied else source_on_gpu)
        target, _ = driver.host_memory(received.size)
        received_at = driver.device_memory(received.size)
        work_at = driver.device_memory(self._engine.works_in) if self._engine.works_in else 0
        self._inputs, self._outputs = given.arrays(source), received.arrays(target)
        self._inputs["image"][:] = 128
        self._inputs["fx"][0] = sum(manifest.focal_range) / 2.0
        addresses = {**inputs_at, **received.addresses(received_at)}

        def frame(enqueue: Enqueue) -> None:
            if copied:
                driver.upload(inputs_at[given.first], source)
            enqueue()
            driver.download(target, received_at)

        for rung in self._ladder:
            keep = self._host_counts(rung)
            enqueue = self._engine.with_counts(keep, addresses, work_at, driver.stream)
            self._replays.append(self._recorded(partial(frame, enqueue)))
        graphs = f"without CUDA graph ({self._unrecorded})" if self._unrecorded else "CUDA graphs"
        self.backend += f", {len(self._ladder)} rungs, {graphs}"
        self._ungated_s = median([self._timed(0) for _ in range(_WARM_UPS)][1:])

    def _host_counts(self, rung: Sequence[int]) -> NDArray[np.int32]:
        """The counts, where they stay as long as the driver is open."""
        arena = Arena(keep_layout(self.manifest))
        memory, _ = self._driver.host_memory(arena.size)
        keep = arena.arrays(memory)["keep"]
        keep[:] = rung
        return keep

    def _recorded(self, frame: Work) -> Work:
        """The frame as one CUDA graph; launched piece by piece where it cannot be recorded."""
        frame()  # TensorRT finishes its preparations in the first run, which cannot be recorded
        self._driver.synchronize()
        try:
            replay = self._driver.record(frame)
        except BackendError as error:
            self._unrecorded = str(error)
            return frame
        return replay

    def _timed(self, slot: int) -> float:
        began = time.perf_counter()
        self._run(slot)
        return time.perf_counter() - began

    def _run(self, slot: int) -> None:
        self._replays[slot]()
        self._driver.synchronize()

    def _stage_seconds(self, slot: int, total_s: float) -> tuple[float, ...]:
        blocks = self.manifest.blocks
        work = [
            count * block.macs_per_pixel
            for count, block in zip(self._ladder[slot], blocks, strict=True)
        ]
        ungated_s = total_s if slot == 0 else min(total_s, self._ungated_s)
        gated_s = total_s - ungated_s
        return (ungated_s, *(gated_s * each / sum(work) for each in work), 0.0)

    def _tell_of_trimming(self) -> None:
        if self._say is not None:
            self._say(
                "a late frame is not trimmed while it runs: TensorRT computes a transformer with "
                "the counts that a frame begins with, so the deadline is kept by the next frame's "
                "budget"
            )
            self._say = None
