"""Inference on the CPU: OpenVINO runs the dense parts and calls our kernels for the gated ones."""

from __future__ import annotations

import ctypes
import os
import platform
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from pag_ros.errors import BackendError, ModelError
from pag_ros.kernels import (
    Workspace,
    bf16_is_faster,
    chosen_instruction_set,
    has_native_bf16,
)
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime.frame_clock import FrameClock, limit_rows
from pag_ros.runtime.frame_io import check_frame, prediction_of
from pag_ros.runtime.model_layout import input_layout, output_layout
from pag_ros.runtime.network_size import Size, focal_factor, resized, size_of, size_text
from pag_ros.runtime.openvino.api import CompiledGraph, InferRequest
from pag_ros.runtime.openvino.forks import begin_use
from pag_ros.runtime.openvino.graph import read_graph
from pag_ros.runtime.openvino.operators import Operators
from pag_ros.runtime.openvino.quantization import (
    load_quantization,
    quantization_path,
)
from pag_ros.runtime.precision import chosen_precision, float_precision, unmeasured
from pag_ros.runtime.session import Deadline, Device, Prediction
from pag_ros.runtime.signal_stack import kept_signal_stack

_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoSession:
    """A `Session` on the CPU.

    Args:
        model: path of the ONNX file, its manifest beside it.
        threads: CPU threads to use; 0 takes all that this process may use.
        size: (width, height) that it runs at, None for the model's own; `manifest` tells it.
        precision: one of `PRECISIONS`; `backend` tells what was chosen.
        may_round: "auto" may take int8.

    Raises:
        ModelError: the model or its manifest is missing, damaged or unfit.
        RangesError: a ModelError of the file that int8 needs.
        ParameterError: the model cannot run at that size, or there is no such precision.
        BackendError: the processor does not have the instruction set that PAG_ROS_ISA names, or
            instructions for the precision; or the process was forked from one that has used
            OpenVINO.
    """

    device: Device = "cpu"
    trims = True

    def __init__(
        self,
        model: Path,
        threads: int = 0,
        size: Size | None = None,
        precision: str = "fp32",
        may_round: bool = True,
    ) -> None:
        begin_use()
        self._exported = load_manifest(model)
        native, slow = native_precisions(), slow_precisions()
        fast = [name for name in native if name not in slow]
        unknown = unmeasured(self._exported, fast)
        if not (may_round and quantization_path(model).is_file()):
            native = [name for name in native if name != "int8"]
        self._precision = chosen_precision(precision, self._exported, native, slow)
        self.untried = unknown if (precision, self._precision) == ("auto", "fp32") else []
        """Faster precisions that "auto" left aside only because their loss was not measured."""
        self._float_precision = float_precision(self._precision, fast)
        self.manifest: Manifest = resized(self._exported, size)
        self._focal_factor = focal_factor(self._exported, self.manifest)
        names = [block.name for block in self.manifest.blocks]
        self.stages: tuple[str, ...] = ("encoder", *names, "heads")
        self._clock = FrameClock(names)
        self._workspace = Workspace(threads)
        self._operators = Operators(self._clock, self._workspace, self._float_precision)
        self.backend = self._describe_backend()
        with kept_signal_stack():
            compiled = self._compile(model)
        request = compiled.create_infer_request()
        self._compiled: CompiledGraph | None = compiled
        self._request: InferRequest | None = request
        _open_sessions.add(self)
        self._inputs = _bind_inputs(request, self.manifest)
        self._outputs = [(n, compiled.output(n)) for n in output_layout(self.manifest)]

    def infer(
        self,
        image: NDArray[np.uint8],
        focal_px: float,
        keep: Sequence[int],
        deadline: Deadline | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> Prediction:
        """See `Session.infer`."""
        request = self._request
        if request is None:
            raise RuntimeError("the session is closed")
        begin_use()
        check_frame(self.manifest, image, focal_px, keep, deadline, thresholds)
        self._clock.start()
        self._inputs["image"][0] = image
        self._inputs["fx"][0] = focal_px * self._focal_factor
        self._inputs["keep"][:] = keep
        began = time.perf_counter()
        self._inputs["plan"][:] = limit_rows(deadline, began, len(keep), thresholds)
        request.infer()
        stage_seconds = self._clock.stage_seconds()
        outputs = {name: request.get_tensor(port).data for name, port in self._outputs}
        return prediction_of(outputs, self.manifest, stage_seconds)

    def close(self) -> None:
        """See `Session.close`."""
        self._inputs, self._outputs = {}, []
        self._request = self._compiled = None
        self._operators.release()
        self._workspace.close()

    def keep_compiled(self) -> None:
        """Keep what OpenVINO compiled until the process ends, whoever drops the session.

        A forked process needs that: destroyed there, it would wait for ever for threads that only
        the parent has.
        """
        for kept in (self._compiled, self._request):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))

    def _describe_backend(self) -> str:
        version = ov.__version__.partition("-")[0]
        runs_on = f"{self._precision} {self._instruction_set()}"
        parts = [f"openvino {version} cpu {runs_on}", f"{self._workspace.threads} threads"]
        if self.manifest is not self._exported:
            parts.append(size_text(size_of(self.manifest)))
        return ", ".join(parts)

    def _instruction_set(self) -> str:
        """What blocks compute with; float32 knows nothing of what is named after smaller types."""
        name = _chosen_instruction_set()
        if self._precision == "int8" or (self._precision == "bf16" and has_native_bf16()):
            return name
        return "avx512" if name == "amx" else name.partition("_")[0]

    def _compile(self, model: Path) -> CompiledGraph:
        try:
            quantization = None
            if self._precision == "int8":
                quantization = load_quantization(model, self._exported.sha256)
            graph = read_graph(model, self._exported, self.manifest, self._operators, quantization)
            properties = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": self._workspace.threads,
                # A pinned thread waits for its core even where another core is idle.
                "ENABLE_CPU_PINNING": False,
                # Some processors would run in bfloat16 unasked, with other results than the rest.
                "INFERENCE_PRECISION_HINT": _HINTS[self._float_precision],
            }
            compiled: CompiledGraph = ov.Core().compile_model(graph, "CPU", properties)
            return compiled
        except ModelError:
            self.close()
            raise
        except Exception as error:  # OpenVINO and our operators stumble over a foreign graph
            self.close()
            raise ModelError(
                f"{model}: not a usable model ({_pick_telling_line(error)})"
            ) from error


_open_sessions: weakref.WeakSet[OpenVinoSession] = weakref.WeakSet()


def _keep_inherited_sessions() -> None:
    for session in _open_sessions:
        session.keep_compiled()


os.register_at_fork(after_in_child=_keep_inherited_sessions)


def native_precisions() -> list[str]:
    """The precisions, float32 aside, that OpenVINO has good instructions for here."""
    capabilities = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    native = ["bf16"] if "BF16" in capabilities else []
    return ["int8", *native] if "INT8" in capabilities and _adds_up_in_32_bits() else native


def slow_precisions() -> list[str]:
    """Those of them that are slower than float32 on this processor.

    Raises:
        BackendError: the processor does not have the instruction set that PAG_ROS_ISA names.
    """
    _chosen_instruction_set()
    return [] if bf16_is_faster() else ["bf16"]


def _adds_up_in_32_bits() -> bool:
    """Whether sums of 8-bit products cannot overflow: x86 without VNNI adds pairs in 16 bits."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(name in cpu for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def _chosen_instruction_set() -> str:
    try:
        return chosen_instruction_set()
    except ValueError as error:
        raise BackendError(str(error)) from error


def _bind_inputs(request: InferRequest, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Input arrays that the request reads from where they are."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in input_layout(manifest).items():
        arrays[name] = np.zeros(shape, dtype)
        request.set_tensor(name, ov.Tensor(arrays[name], shared_memory=True))
    return arrays


def _pick_telling_line(error: Exception) -> str:
    """The telling line of OpenVINO's many-line messages."""
    noise = ("Exception from", "Check '", "FrontEnd API", "Model wasn't", "-- ", "Summary", "At:")
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(noise)]
    telling = [line for line in telling if not line.endswith(":")]
    return telling[0][:200] if telling else type(error).__name__
