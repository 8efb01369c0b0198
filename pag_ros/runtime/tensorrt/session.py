"""Inference on an NVIDIA GPU: a TensorRT engine with our kernels in it, replayed as one CUDA graph.

Counts of pixels, limits and focal length are inputs on the GPU like the image, so that one recorded
graph serves every frame. The host waits once in a frame, at its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.manifest import Manifest
from pag_ros.runtime.frame_clock import limit_rows
from pag_ros.runtime.frame_io import check_frame, prediction_of
from pag_ros.runtime.model_layout import output_layout
from pag_ros.runtime.session import Deadline, Device, Prediction
from pag_ros.runtime.tensorrt.arena import Arena
from pag_ros.runtime.tensorrt.driver import Driver, Work
from pag_ros.runtime.tensorrt.engine import Engine, engine_inputs, engine_outputs
from pag_ros.runtime.tensorrt.gpu_clock import GpuClock
from pag_ros.runtime.tensorrt.stage_times import FrameTimes, StageTimes, marks_of, words_of

_WARM_UPS = 7


class TensorRtSession:
    """A `Session` on an NVIDIA GPU in half precision. Has to be closed by the thread that made it.

    Args:
        manifest: of the model.
        driver: of the GPU; closed with the session.
        engine: of the model; closed with the session.
        stamp: the kernel that writes the GPU's clock.
        backend: for people, see `Session.backend`.

    Raises:
        BackendError: the GPU has too little memory, or cannot run the engine. Driver and engine
            are closed then.
    """

    device: Device = "gpu"
    trims = True

    def __init__(
        self,
        manifest: Manifest,
        driver: Driver,
        engine: Engine,
        stamp: CompiledKernel,
        backend: str,
    ) -> None:
        self.manifest = manifest
        self.backend = backend
        self.stages: tuple[str, ...] = ("encoder", *(b.name for b in manifest.blocks), "heads")
        self._driver, self._engine = driver, engine
        self._inputs: dict[str, NDArray[Any]] = {}
        self._outputs: dict[str, NDArray[Any]] = {}
        self._predicted: dict[str, NDArray[Any]] = {}
        self._gpu_clock = GpuClock()
        self._is_closed = False
        try:
            with driver.active():
                self._prepare(stamp)
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
            BackendError: the GPU failed.
        """
        if self._is_closed:
            raise RuntimeError("the session is closed")
        check_frame(self.manifest, image, focal_px, keep, deadline, thresholds)
        began = time.perf_counter()
        self._inputs["image"][0] = image
        self._inputs["fx"][0] = focal_px
        self._inputs["keep"][:] = keep
        self._inputs["plan"][:] = limit_rows(deadline, began, len(keep), thresholds)
        # The GPU counts from the call, however long the frame then waits for it.
        self._inputs["clock"][:] = words_of(self._gpu_clock.at(began))
        with self._driver.active():
            times = self._run(began)
        seconds = self._stage_times.stage_seconds(times)
        return prediction_of(self._predicted, self.manifest, seconds)

    def close(self) -> None:
        """See `Session.close`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._inputs, self._outputs, self._predicted = {}, {}, {}
        try:
            with self._driver.active():
                self._engine.close()
        finally:
            self._driver.close()

    def _prepare(self, stamp: CompiledKernel) -> None:
        """Get memory, run once, record the graph, and measure how long the heads take."""
        driver, manifest = self._driver, self.manifest
        given = Arena(engine_inputs(manifest))
        received = Arena(
            {**engine_outputs(manifest), "start": (np.int32, (2,)), "end": (np.int32, (2,))}
        )
        source, source_on_gpu = driver.host_memory(given.size)
        # A GPU that shares the CPU's memory reads the inputs from where they are.
        copied = not driver.gpu.integrated
        inputs_at = given.addresses(driver.device_memory(given.size) if copied else source_on_gpu)
        target, _ = driver.host_memory(received.size)
        received_at = driver.device_memory(received.size)
        outputs_at = received.addresses(received_at)
        self._inputs, self._outputs = given.arrays(source), received.arrays(target)
        self._predicted = {name: self._outputs[name] for name in output_layout(manifest)}
        for name, address in inputs_at.items():
            self._engine.bind(name, address)
        for name in engine_outputs(manifest):
            self._engine.bind(name, outputs_at[name])
        launch_stamp = driver.load(stamp)

        def frame() -> None:
            launch_stamp([outputs_at["start"]])
            if copied:
                driver.upload(inputs_at[given.first], source)
            self._engine.enqueue(driver.stream)
            launch_stamp([outputs_at["end"]])
            driver.download(target, received_at)

        self._replay = self._recorded(frame)
        self._stage_times = StageTimes([self._run_idle() for _ in range(_WARM_UPS)][1:])

    def _recorded(self, frame: Work) -> Work:
        """The frame as one CUDA graph; launched piece by piece where it cannot be recorded."""
        self._idle_inputs()
        frame()  # TensorRT finishes its preparations in the first run, which cannot be recorded
        self._driver.synchronize()
        try:
            replay = self._driver.record(frame)
        except BackendError as error:
            self.backend += f", without CUDA graph ({error})"
            return frame
        self.backend += ", CUDA graph"
        return replay

    def _run_idle(self) -> FrameTimes:
        self._idle_inputs()
        return self._run(time.perf_counter())

    def _idle_inputs(self) -> None:
        """Give a frame for which the last gated block computes nothing, the others everything."""
        blocks = self.manifest.blocks
        self._inputs["image"][:] = 128
        self._inputs["fx"][0] = sum(self.manifest.focal_range) / 2.0
        self._inputs["keep"][:] = [*(block.pixels for block in blocks[:-1]), 0]
        self._inputs["plan"][:] = limit_rows(None, 0.0, len(blocks))
        self._inputs["clock"][:] = 0  # Nothing is trimmed without a deadline.

    def _run(self, began: float) -> FrameTimes:
        launched = time.perf_counter()
        self._replay()
        self._driver.synchronize()
        done = time.perf_counter()
        marks = marks_of(*(self._outputs[name] for name in ("start", "stamps", "end")))
        start, end = int(marks[0]), int(marks[-1])
        self._gpu_clock.observe(launched, start, end, done)
        return FrameTimes(marks, done - began, self._gpu_clock.host_seconds(start) - began)
