"""Whole networks in torch, gated blocks by our kernels, beside the same networks dense in cuDNN.

It is the graph that TensorRT gets which runs here, in its types, so this is also a check of it
where there is no TensorRT. Everything is recorded as CUDA graphs; what is timed is the GPU, from a
picture in its memory to the outputs in its memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError, PagError
from pag_ros.kernels.gpu.programs import StampSpec
from pag_ros.lab.gpu_check.device import Device
from pag_ros.lab.gpu_check.torch_graph import Programs, TorchGraph
from pag_ros.lab.gpu_check.torch_programs import DensePrograms, SparsePrograms
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime.frame_clock import limit_rows
from pag_ros.runtime.frame_io import check_frame, prediction_of
from pag_ros.runtime.model_layout import input_layout, output_layout
from pag_ros.runtime.session import Deadline, Prediction
from pag_ros.runtime.session import Device as DeviceKind
from pag_ros.runtime.tensorrt.graph import EngineGraph, engine_graph, require_onnx
from pag_ros.runtime.tensorrt.self_check import compared, drawn_room, reference_path

BUDGETS = (0.1, 0.3, 0.5, 0.7, 1.0)


def measure(device: Device, models: Sequence[Path], rounds: int) -> Iterator[dict[str, Any]]:
    """A row for every model and budget.

    Args:
        models: paths of ONNX files, their manifests and references beside them.
        rounds: replays at each budget, networks taken in turns; what is told is their median.

    Yields:
        "model", "outcome" ("ran", "absent" if the package onnx is missing, else "failed", which
        includes wrong numbers) and "text"; of those that ran "budget", "ours_ms", "dense_ms" (every
        pixel, every candidate of MultiPool), "dense_plain_ms" (a plain 3x3 in MultiPool's place)
        and "speedup" over the faster of these.
    """
    try:
        require_onnx()
    except BackendError as error:
        yield {"model": "all", "outcome": "absent", "text": str(error)}
        return
    device.torch.backends.cudnn.benchmark = True
    for model in models:
        try:
            sessions = open_sessions(device, model)
            text = _checked(sessions, model)
        except PagError as error:
            yield {"model": model.stem, "outcome": "failed", "text": str(error)}
            continue
        for row in _timed(device, sessions, rounds):
            yield {"model": model.stem, "outcome": "ran", "text": text, **row}


def open_sessions(device: Device, model: Path) -> list[TorchSession]:
    """A model with our kernels, dense, and dense with a plain 3x3 in MultiPool's place.

    Raises:
        ModelError: the model or its manifest is missing, damaged or unfit.
        BackendError: an operator is not known here, a kernel cannot be compiled or loaded, or the
            package onnx is not installed.
    """
    graph, manifest = engine_graph(model), load_manifest(model)
    kinds = (
        SparsePrograms(device),
        DensePrograms(candidates=True),
        DensePrograms(candidates=False),
    )
    return [TorchSession(device, manifest, graph, programs) for programs in kinds]


class TorchSession:
    """A `Session` whose network runs in torch, recorded once for all budgets.

    Args:
        device: the GPU.
        graph: of the model.
        programs: of the gated blocks. Those without gates compute every pixel, whatever is asked.
    """

    device: DeviceKind = "gpu"
    trims = False

    def __init__(
        self, device: Device, manifest: Manifest, graph: EngineGraph, programs: Programs
    ) -> None:
        self.manifest = manifest
        self.backend = f"torch {device.torch.__version__}"
        self.stages: tuple[str, ...] = ()
        self._device = device
        self._has_gates = programs.has_gates
        absent = () if programs.has_gates else _lists(manifest)
        outputs = [name for name in output_layout(manifest) if name not in absent]
        self._network = TorchGraph(graph, outputs, programs, device.name)
        self._inputs = {
            name: device.upload(np.zeros(shape, dtype))
            for name, (dtype, shape) in input_layout(manifest).items()
        }
        self._inputs["clock"] = device.upload(np.zeros(2, np.int32))
        self._outputs: dict[str, Any] = {}
        middle = sum(manifest.focal_range) / 2.0
        self.prepare(drawn_room(manifest), middle, manifest.keep_for(1.0))
        self.recorded = device.record(self._frame)

    def prepare(self, image: NDArray[np.uint8], focal_px: float, keep: Sequence[int]) -> None:
        """Give the inputs of the next frames."""
        check_frame(self.manifest, image, focal_px, keep)
        given: dict[str, NDArray[Any]] = {
            "image": image[None],
            "fx": np.array([focal_px], np.float32),
            "keep": np.array(keep, np.int32),
            "plan": limit_rows(None, 0.0, len(keep)),
        }
        for name, array in given.items():
            self._inputs[name].copy_(self._device.upload(array))

    def infer(
        self,
        image: NDArray[np.uint8],
        focal_px: float,
        keep: Sequence[int],
        deadline: Deadline | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> Prediction:
        """See `Session.infer`; there is neither deadline nor threshold here."""
        assert deadline is None
        assert thresholds is None
        self.prepare(image, focal_px, keep)
        self.recorded.replay()
        outputs = {name: tensor.cpu().numpy() for name, tensor in self._outputs.items()}
        return prediction_of({**_lists(self.manifest), **outputs}, self.manifest, ())

    def close(self) -> None:
        """See `Session.close`."""
        self._outputs = {}

    def _frame(self) -> None:
        if self._has_gates:
            self._device.kernel(StampSpec()).launch({"clock": self._inputs["clock"]})
        self._outputs = self._network.run(self._inputs)


def _checked(sessions: Sequence[TorchSession], model: Path) -> str:
    """How well the numbers of ours, and of the dense network beside it, agree with the stored ones.

    Raises:
        BackendError: they deviate by more than half precision explains.
        ModelError: the stored ones cannot be read.
    """
    ours, dense, _ = sessions
    if not reference_path(model).exists():
        return f"{ours.backend}, numbers NOT checked"
    worst = _worst(compared(ours, model))
    _worst(compared(dense, model, budgets=(1.0,)))
    return f"{ours.backend}, at most {worst:.0%} of the allowed deviation"


def _worst(deviations: Iterable[tuple[str, float, float]]) -> float:
    """The largest deviation, as a share of what is allowed; BackendError if that is more than 1."""
    worst = 0.0
    for name, deviation, allowed in deviations:
        # Written so that NaN fails.
        if not deviation <= allowed:
            raise BackendError(
                f"the network computes something else than the model: {name} deviates by "
                f"{deviation:.3g}, {allowed:g} is allowed"
            )
        worst = max(worst, deviation / allowed)
    return worst


def _timed(
    device: Device, sessions: Sequence[TorchSession], rounds: int
) -> Iterator[dict[str, Any]]:
    manifest = sessions[0].manifest
    image, focal_px = drawn_room(manifest), sum(manifest.focal_range) / 2.0
    for budget in BUDGETS:
        for session in sessions:
            session.prepare(image, focal_px, manifest.keep_for(budget))
        graphs = [session.recorded for session in sessions]
        ours, dense, plain = (us / 1e3 for us in device.microseconds(graphs, rounds))
        yield {
            "budget": budget,
            "ours_ms": ours,
            "dense_ms": dense,
            "dense_plain_ms": plain,
            "speedup": min(dense, plain) / ours,
        }


def _lists(manifest: Manifest) -> dict[str, NDArray[Any]]:
    """The outputs `count` and `index0` ... of a network that computes every pixel."""
    lists = {
        f"index{slot}": np.arange(block.pixels, dtype=np.int32)
        for slot, block in enumerate(manifest.blocks)
    }
    return {"count": np.array([block.pixels for block in manifest.blocks], np.int32), **lists}
