"""The same computation dense, by the runtimes that are installed, each as it is fastest here.

Every function makes what runs one inference: call it, nothing is returned. In 8 bits a network is
what its user would make of it: quantised by NNCF for OpenVINO and by ONNX Runtime's own tool.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.runtime.signal_stack import kept_signal_stack

if TYPE_CHECKING:
    from torch import nn

RUNTIMES = ("openvino", "onnxruntime", "torch")
_CALIBRATION = 4
"""Pictures: what quantises asks for their ranges, which change no time."""
Feeds = Mapping[str, NDArray[Any]]


def installed() -> list[str]:
    """Names of the runtimes to compare with."""
    return [name for name in RUNTIMES if importlib.util.find_spec(name) is not None]


def dense_runs(
    model: bytes, module: nn.Module | None, feeds: Feeds, threads: int
) -> dict[str, Callable[[], object]]:
    """Prepare a dense run for each runtime that is installed.

    Args:
        model: ONNX file.
        module: the same for torch, in evaluation mode, its arguments in the order of `feeds`; None
            leaves torch out.
        feeds: name -> input.
        threads: that each runtime may use.
    """
    runs: dict[str, Callable[[], object]] = {}
    names = installed()
    if "openvino" in names:
        runs["openvino"] = openvino_run(model, feeds, threads)
    if "onnxruntime" in names:
        runs["onnxruntime"] = onnxruntime_run(model, feeds, threads)
    if module is not None:
        runs["torch"] = torch_run(module, feeds, threads)
    return runs


def all_precisions(
    model: bytes, module: nn.Module | None, feeds: Feeds, threads: int, transformer: bool = False
) -> dict[str, Callable[[], object]]:
    """A dense run for each runtime and each precision that it has here: "openvino bf16" and others.

    Args:
        model, module, feeds, threads: see `dense_runs`.
        transformer: of this kind; what quantises it treats it otherwise.
    """
    runs = {f"{n} fp32": run for n, run in dense_runs(model, module, feeds, threads).items()}
    if "openvino fp32" in runs:
        if "bf16" in _native_precisions():
            runs["openvino bf16"] = openvino_run(model, feeds, threads, "bf16")
        if importlib.util.find_spec("nncf") is not None:
            runs["openvino int8"] = openvino_int8_run(model, feeds, threads, transformer)
    if "onnxruntime fp32" in runs:
        runs["onnxruntime int8"] = onnxruntime_int8_run(model, feeds, threads)
    return runs


def openvino_run(
    model: bytes, feeds: Feeds, threads: int, precision: str = "f32"
) -> Callable[[], object]:
    """OpenVINO on the CPU, inputs where they are. precision: "f32" or "bf16"."""
    import openvino as ov

    return _compiled(ov.Core().read_model(model, b""), feeds, threads, precision)


def openvino_int8_run(
    model: bytes, feeds: Feeds, threads: int, transformer: bool
) -> Callable[[], object]:
    """OpenVINO with a network that NNCF has quantised; what stays float runs as is fastest."""
    import nncf
    import openvino as ov

    from pag_ros.lab.quantize import quiet

    with quiet("nncf"):
        quantized = nncf.quantize(
            ov.Core().read_model(model, b""),
            nncf.Dataset([dict(feeds)] * _CALIBRATION),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            subset_size=_CALIBRATION,
        )
    return _compiled(quantized, feeds, threads, "bf16" if "bf16" in _native_precisions() else "f32")


def _native_precisions() -> list[str]:
    from pag_ros.runtime.openvino.session import native_precisions

    return native_precisions()


def _compiled(graph: Any, feeds: Feeds, threads: int, precision: str) -> Callable[[], object]:
    import openvino as ov

    core = ov.Core()
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # It would pin the calling thread too, and with it all threads that others start later.
        "ENABLE_CPU_PINNING": False,
    }
    with kept_signal_stack():
        compiled = core.compile_model(graph, "CPU", properties)
    request = compiled.create_infer_request()
    for name, value in feeds.items():
        request.set_tensor(name, ov.Tensor(value, shared_memory=True))
    return lambda: request.infer()


def onnxruntime_run(model: bytes, feeds: Feeds, threads: int) -> Callable[[], object]:
    """ONNX Runtime on the CPU with all graph optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(feeds))


def onnxruntime_int8_run(model: bytes, feeds: Feeds, threads: int) -> Callable[[], object]:
    """ONNX Runtime with a network quantised by its own tool: static, a scale for each channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from pag_ros.lab.quantize import quiet

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter([dict(feeds)] * _CALIBRATION)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder, quiet(""):
        given, prepared, quantized = (Path(folder, f"{n}.onnx") for n in ("a", "b", "c"))
        given.write_bytes(model)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnxruntime_run(quantized.read_bytes(), feeds, threads)


def torch_run(module: nn.Module, feeds: Feeds, threads: int) -> Callable[[], object]:
    """Torch, traced, frozen and optimised for inference; eager is up to twice as slow."""
    import torch

    torch.set_num_threads(threads)
    inputs = tuple(torch.from_numpy(np.array(value)) for value in feeds.values())
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            module.eval(), inputs, check_trace=False
        )
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        for _ in range(3):
            frozen(*inputs)

    def run() -> None:
        with torch.inference_mode():
            frozen(*inputs)

    return run
