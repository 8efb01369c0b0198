"""The same computation dense, by the runtimes that are installed, each as it is fastest here.

Every function makes what runs one inference: call it, nothing is returned.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.runtime.signal_stack import kept_signal_stack

if TYPE_CHECKING:
    from torch import nn

RUNTIMES = ("openvino", "onnxruntime", "torch")
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


def openvino_run(model: bytes, feeds: Feeds, threads: int) -> Callable[[], object]:
    """OpenVINO on the CPU in float32, inputs where they are."""
    import openvino as ov

    core = ov.Core()
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        # It would pin the calling thread too, and with it all threads that others start later.
        "ENABLE_CPU_PINNING": False,
    }
    with kept_signal_stack():
        compiled = core.compile_model(core.read_model(model, b""), "CPU", properties)
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
