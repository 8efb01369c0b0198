"""A loaded engine: its tensors are checked, and what TensorRT refuses is told with what it logged.

TensorRT is a double that answers as its documentation says; nothing is known of the real one here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pag_ros.errors import BackendError
from pag_ros.manifest import load_manifest
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.engine import TensorRtEngine, engine_inputs, engine_outputs


class FakeTensorRt:
    """The module tensorrt with one engine, whose tensors may be changed."""

    __version__ = "10.13.2"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = 1, 0, 2

    def __init__(self, model: Path) -> None:
        manifest = load_manifest(model)
        given, made = engine_inputs(manifest), engine_outputs(manifest)
        self.tensors = {name: ("in", *place) for name, place in given.items()}
        self.tensors.update({name: ("out", *place) for name, place in made.items()})
        self.answers = {"start": True, "read": True, "context": True, "address": True, "run": True}
        self.error = ""
        self.calls: list[tuple[Any, ...]] = []

    @staticmethod
    def nptype(dtype: Any) -> Any:
        return dtype

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        if not self.answers["start"]:
            logger.log(self.ILogger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

        def answered(name: str, value: Any) -> Any:
            if self.answers[name]:
                return value
            logger.log(self.ILogger.WARNING, "never mind")
            logger.log(self.ILogger.ERROR, self.error or f"no {name}\n  today")
            return None if name in ("read", "context") else False

        def set_address(name: str, address: int) -> bool:
            self.calls.append((name, address))
            return bool(answered("address", True))

        def run(stream: int) -> bool:
            self.calls.append(("run", stream))
            return bool(answered("run", True))

        context = SimpleNamespace(set_tensor_address=set_address, execute_async_v3=run)
        names = list(self.tensors)
        engine = SimpleNamespace(
            num_io_tensors=len(names),
            device_memory_size=5 << 20,
            get_tensor_name=lambda number: names[number],
            get_tensor_mode=lambda name: self.tensors[name][0],
            get_tensor_dtype=lambda name: self.tensors[name][1],
            get_tensor_shape=lambda name: self.tensors[name][2],
            create_execution_context=lambda: answered("context", context),
        )
        return SimpleNamespace(deserialize_cuda_engine=lambda content: answered("read", engine))


@pytest.fixture
def trt(tiny_model: Path) -> FakeTensorRt:
    return FakeTensorRt(tiny_model)


def load(trt: FakeTensorRt, model: Path) -> TensorRtEngine:
    return TensorRtEngine(trt, b"engine", load_manifest(model))


def test_it_binds_and_runs(trt: FakeTensorRt, tiny_model: Path) -> None:
    engine = load(trt, tiny_model)
    engine.bind("image", 4096)
    engine.enqueue(77)
    engine.close()
    engine.close()
    assert trt.calls == [("image", 4096), ("run", 77)]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("start", r"TensorRT 10\.13\.2 cannot start: CUDA initialization failure with error: 35$"),
        ("read", r"TensorRT 10\.13\.2 refuses the engine: no read today$"),
        ("context", "cannot prepare the engine: no context today; it works in 5 MiB of GPU memory"),
        ("address", "refuses the memory of image: no address today"),
        ("run", "cannot run the engine: no run today"),
    ],
)
def test_what_is_refused_is_told_with_the_reason(
    trt: FakeTensorRt, tiny_model: Path, answer: str, sentence: str
) -> None:
    trt.answers[answer] = False

    def used() -> None:
        engine = load(trt, tiny_model)
        engine.bind("image", 4096)
        engine.enqueue(77)

    with pytest.raises(BackendError, match=sentence):
        used()


def test_want_of_memory_is_told_apart_from_an_engine_that_is_no_good(
    trt: FakeTensorRt, tiny_model: Path
) -> None:
    trt.answers["context"] = False
    with pytest.raises(OutOfMemoryError):
        load(trt, tiny_model)
    trt.answers["read"] = False
    with pytest.raises(BackendError) as refused:
        load(trt, tiny_model)
    assert not isinstance(refused.value, OutOfMemoryError)
    trt.error = "Error Code 1: Cuda Runtime (out of memory)"
    with pytest.raises(OutOfMemoryError, match=r"refuses the engine: .*out of memory"):
        load(trt, tiny_model)


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        ("image", ("in", np.uint8, (1, 48, 64, 4)), "input 'image' is .* expected uint8"),
        ("clock", ("out", np.int32, (2,)), "input 'clock' is missing"),
        ("depth", ("out", np.float16, (1, 48, 64)), "output 'depth' is .*float16"),
        ("stamps", ("out", np.int32, (3, 2)), "output 'stamps' is"),
    ],
)
def test_an_engine_of_another_model_is_refused(
    trt: FakeTensorRt, tiny_model: Path, name: str, tensor: Any, sentence: str
) -> None:
    trt.tensors[name] = tensor
    with pytest.raises(BackendError, match=sentence + ".* built from another model"):
        load(trt, tiny_model)
