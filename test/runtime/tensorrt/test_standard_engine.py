"""An engine with counts: what TensorRT is told, in which order, and every way that it refuses.

TensorRT is a double that answers as its documentation says; nothing is known of the real one here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pag_ros.errors import BackendError
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.standard_engine import StandardEngine
from pag_ros.runtime.tensorrt.standard_graph import standard_inputs, standard_outputs

WORKS_IN = 5 << 20
STREAM = 77


class FakeContext:
    """A trt.IExecutionContext that reads its counts where it was told that they lie."""

    def __init__(self, trt: FakeTensorRt) -> None:
        self.trt = trt
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.profile: tuple[int, int] | None = None

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        assert not self.addresses, "another profile forgets what was bound"
        self.profile = number, stream
        return bool(self.trt.answered("profile"))

    def set_device_memory(self, address: int, size: int) -> None:
        self.memory = address, size

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return bool(self.trt.answered("address"))

    def infer_shapes(self) -> list[str]:
        if not self.trt.answers["shapes"]:
            raise RuntimeError("shape inference failed")
        return sorted(set(self.trt.tensors) - set(self.addresses))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.counts()[int(name.removeprefix("index"))] + self.trt.off,)

    def counts(self) -> list[int]:
        words = (ctypes.c_int32 * self.trt.blocks).from_address(self.addresses["keep"])
        return list(words)

    def execute_async_v3(self, stream: int) -> bool:
        assert self.profile == (0, stream)
        assert self.memory is not None
        self.trt.ran.append((self.counts(), self.memory))
        return bool(self.trt.answered("run"))


class FakeTensorRt:
    """The module tensorrt with one engine."""

    __version__ = "10.13.2"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    TensorLocation = SimpleNamespace(HOST="host", DEVICE="device")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="ours")

    class ILogger:
        ERROR, INTERNAL_ERROR = 1, 0

    def __init__(self, manifest: Manifest) -> None:
        self.blocks = len(manifest.blocks)
        self.tensors: dict[str, Any] = {
            name: ("in", *place) for name, place in standard_inputs(manifest).items()
        }
        self.tensors["keep"] = ("in", np.int32, (self.blocks,))
        for name, (dtype, shape) in standard_outputs(manifest).items():
            self.tensors[name] = "out", dtype, (-1,) if name.startswith("index") else shape
        self.answers = dict.fromkeys(("context", "profile", "address", "shapes", "run"), True)
        self.location = "host"
        self.off = 0
        self.contexts: list[FakeContext] = []
        self.strategies: list[object] = []
        self.ran: list[tuple[list[int], tuple[int, int]]] = []
        self.logger: Any = None

    @staticmethod
    def nptype(dtype: Any) -> Any:
        return dtype

    def answered(self, name: str) -> bool:
        if not self.answers[name]:
            self.logger.log(self.ILogger.ERROR, f"no {name} today")
        return self.answers[name]

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        self.logger = logger
        names = list(self.tensors)

        def context(strategy: object) -> FakeContext | None:
            self.strategies.append(strategy)
            self.contexts.append(FakeContext(self))
            return self.contexts[-1] if self.answered("context") else None

        engine = SimpleNamespace(
            num_io_tensors=len(names),
            device_memory_size_v2=WORKS_IN,
            get_tensor_name=lambda number: names[number],
            get_tensor_mode=lambda name: self.tensors[name][0],
            get_tensor_dtype=lambda name: self.tensors[name][1],
            get_tensor_shape=lambda name: self.tensors[name][2],
            get_tensor_location=lambda name: self.location if name == "keep" else "device",
            create_execution_context=context,
        )
        return SimpleNamespace(deserialize_cuda_engine=lambda content: engine)


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return load_manifest(tiny_model)


@pytest.fixture
def trt(manifest: Manifest) -> FakeTensorRt:
    return FakeTensorRt(manifest)


def load(trt: FakeTensorRt, manifest: Manifest) -> StandardEngine:
    return StandardEngine(trt, b"engine", manifest)  # type: ignore[arg-type]


def counted(
    engine: StandardEngine, trt: FakeTensorRt, keep: np.ndarray[Any, Any]
) -> Callable[[], None]:
    addresses = {name: 4096 for name in trt.tensors if name != "keep"}
    return engine.with_counts(keep, addresses, 8192, STREAM)


def test_every_list_of_counts_has_a_context_and_all_share_their_memory(
    trt: FakeTensorRt, manifest: Manifest
) -> None:
    engine = load(trt, manifest)
    assert engine.works_in == WORKS_IN
    few, many = (np.array(keep, np.int32) for keep in ([3, 4], [48, 24]))
    runs = [counted(engine, trt, keep) for keep in (few, many)]
    for run in (*runs, runs[0]):
        run()
    memory = (8192, WORKS_IN)
    assert trt.ran == [([3, 4], memory), ([48, 24], memory), ([3, 4], memory)]
    assert trt.strategies == ["ours"] * 2
    assert [each.addresses["depth"] for each in trt.contexts] == [4096] * 2
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="closed"):
        counted(engine, trt, few)


def test_tensorrt_10_0_is_given_memory_as_it_takes_it(
    trt: FakeTensorRt, manifest: Manifest, monkeypatch
) -> None:
    monkeypatch.delattr(FakeContext, "set_device_memory")
    counted(load(trt, manifest), trt, np.array([3, 4], np.int32))
    assert trt.contexts[0].device_memory == 8192  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("context", "cannot prepare the engine: no context today; it works in 5 MiB of GPU memory"),
        ("profile", "refuses its optimization profile: no profile today"),
        ("address", "refuses the memory of keep: no address today"),
        ("shapes", r"refuses the counts \[3, 4\]: shape inference failed"),
        ("run", "cannot run the engine: no run today"),
    ],
)
def test_what_is_refused_is_told_with_the_reason(
    trt: FakeTensorRt, manifest: Manifest, answer: str, sentence: str
) -> None:
    trt.answers[answer] = False
    with pytest.raises(BackendError, match=sentence) as raised:
        counted(load(trt, manifest), trt, np.array([3, 4], np.int32))()
    assert isinstance(raised.value, OutOfMemoryError) == (answer == "context")


def test_a_tensor_without_memory_is_named(trt: FakeTensorRt, manifest: Manifest) -> None:
    engine = load(trt, manifest)
    with pytest.raises(BackendError, match="does not know the shapes of confidence, depth"):
        engine.with_counts(np.array([3, 4], np.int32), {"image": 4096, "fx": 4096}, 0, STREAM)


def test_counts_that_tensorrt_has_not_taken_are_found_out(
    trt: FakeTensorRt, manifest: Manifest
) -> None:
    trt.off = 1
    with pytest.raises(BackendError, match="does not give 3 patches of block 0"):
        counted(load(trt, manifest), trt, np.array([3, 4], np.int32))


def test_an_engine_of_something_else_is_refused(trt: FakeTensorRt, manifest: Manifest) -> None:
    trt.location = "device"
    with pytest.raises(BackendError, match="no shape depends on them"):
        load(trt, manifest)
    trt.location = "host"
    trt.tensors["index1"] = "out", np.int32, (48,)
    with pytest.raises(BackendError, match=r"output 'index1' is .* built from another model"):
        load(trt, manifest)
