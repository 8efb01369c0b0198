"""A GPU's memory and stream in NumPy, and engines whose networks are run on the CPU.

What is put into the stream happens when somebody waits for it, as on a GPU, and what is recorded
happens when it is replayed; so a wait that is missing, a copy in the wrong order or an input that
was baked into the graph shows in the numbers. It tells nothing of CUDA or TensorRT themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.manifest import Manifest
from pag_ros.runtime import open_session
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.engine import engine_inputs, engine_outputs
from pag_ros.runtime.tensorrt.libcuda import Gpu
from pag_ros.runtime.tensorrt.standard_graph import standard_inputs, standard_outputs

BASE = 0x7F0000000000
STAMP = CompiledKernel("pag_stamp", 87, 16, "", b"", (1, 1, 1), 32, 0, 8, 0, False)
AHEAD_NS = 7 << 40
"""The GPU's clock in front of the host's."""
HOST_STEP_NS = 1000
ENCODER_NS, PIXEL_NS, HEADS_NS = 2_000_000, 10_000, 1_000_000


class DriverDouble:
    """`Driver`, with everything that is asked of it in `calls`.

    Args:
        integrated: whether the GPU shares the CPU's memory.
        allocations: that succeed before memory is short.
        records: whether a graph can be recorded.

    Attributes:
        now_ns: the GPU's clock.
        wait_ns: how long other programs' work on the GPU delays what is waited for.
    """

    def __init__(
        self, integrated: bool = False, allocations: int = 1000, records: bool = True
    ) -> None:
        self.gpu = Gpu("Double", 87, integrated, (12, 6), 16)
        self.stream = 77
        self.calls: list[str] = []
        self.is_closed = False
        self.wait_ns = 0
        self.now_ns = (
            AHEAD_NS + (5 << 32) - ENCODER_NS // 2
        )  # the low word runs over in the first frame
        self._allocations, self._records = allocations, records
        self._heap = np.zeros(8 << 20, np.uint8)
        self._used = 0
        self._depth = 0
        self._queue: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self._thread = threading.get_ident()

    @contextmanager
    def active(self) -> Iterator[None]:
        assert threading.get_ident() == self._thread
        assert not self.is_closed
        self._depth += 1
        yield
        self._depth -= 1

    def free_bytes(self) -> int:
        return len(self._heap) - self._used

    def host_memory(self, size: int) -> tuple[NDArray[np.uint8], int]:
        address = self._allocate("host_memory", size)
        return self.memory(address, size), address

    def device_memory(self, size: int) -> int:
        return self._allocate("device_memory", size)

    def load(self, kernel: CompiledKernel) -> Callable[[Sequence[int]], None]:
        self._called("load")
        assert kernel is STAMP

        def launch(addresses: Sequence[int]) -> None:
            self._called("stamp")
            (address,) = addresses
            self.submit(lambda: self.write_time(self.memory(address, 8)))

        return launch

    def upload(self, address: int, source: NDArray[np.uint8]) -> None:
        self._called("upload")
        self.submit(lambda: self._copy(self.memory(address, source.size), source))

    def download(self, target: NDArray[np.uint8], address: int) -> None:
        self._called("download")
        self.submit(lambda: self._copy(target, self.memory(address, target.size)))

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self._called("record")
        if not self._records:
            raise BackendError("CUDA: cuStreamEndCapture failed with INVALIDATED")
        assert not self._queue, "a stream with unfinished work is no good beginning"
        self._recording = recorded = []
        work()
        self._recording = None

        def replay() -> None:
            self._called("replay")
            self._queue.extend(recorded)

        return replay

    def synchronize(self) -> None:
        self._called("synchronize")
        assert self._recording is None
        self.now_ns += self.wait_ns
        while self._queue:
            self._queue.pop(0)()

    def close(self) -> None:
        self.is_closed = True

    def perf_counter(self) -> float:
        """A clock of the host for which the GPU's work takes as long as it says."""
        self.now_ns += HOST_STEP_NS
        return (self.now_ns - AHEAD_NS) * 1e-9

    def submit(self, work: Callable[[], None]) -> None:
        """Put something into the stream, or the graph that is being recorded."""
        (self._queue if self._recording is None else self._recording).append(work)

    def memory(self, address: int, size: int) -> NDArray[np.uint8]:
        """Bytes at an address that was given out."""
        start = address - BASE
        assert 0 <= start <= start + size <= self._used
        return self._heap[start : start + size]

    def write_time(self, target: NDArray[np.uint8]) -> None:
        """The GPU's clock as two words."""
        target.view(np.uint32)[:] = self.now_ns & 0xFFFFFFFF, self.now_ns >> 32

    def _allocate(self, name: str, size: int) -> int:
        self._called(name)
        if self._allocations == 0:
            raise OutOfMemoryError("not enough GPU memory: 1 MiB needed, 0 MiB free")
        self._allocations -= 1
        address = BASE + self._used
        self._used += -(-size // 256) * 256
        return address

    def _called(self, name: str) -> None:
        assert self._depth > 0, f"{name} without the GPU's context"
        assert threading.get_ident() == self._thread
        self.calls.append(name)

    def _copy(self, target: NDArray[np.uint8], source: NDArray[np.uint8]) -> None:
        target[:] = source


class EngineDouble:
    """`Engine` of a model that the CPU session runs.

    Attributes:
        seen: the inputs of every run.
        refuses: whether runs are refused.
    """

    def __init__(self, model: Path, driver: DriverDouble) -> None:
        self._cpu = open_session(model, "cpu", 1)
        self._driver = driver
        self._addresses: dict[str, int] = {}
        self.seen: list[dict[str, NDArray[Any]]] = []
        self.refuses = False
        self.is_closed = False

    def bind(self, name: str, address: int) -> None:
        assert address % 256 == 0
        self._addresses[name] = address

    def enqueue(self, stream: int) -> None:
        assert stream == self._driver.stream
        if self.refuses:
            raise BackendError("TensorRT cannot run the engine")
        self._driver.submit(self._run)

    def close(self) -> None:
        self._cpu.close()
        self.is_closed = True

    def _run(self) -> None:
        manifest, driver = self._cpu.manifest, self._driver
        given = {name: self._array(name, *place) for name, place in engine_inputs(manifest).items()}
        self.seen.append({name: array.copy() for name, array in given.items()})
        result = self._cpu.infer(given["image"][0], float(given["fx"][0]), given["keep"].tolist())
        wanted = engine_outputs(manifest)
        for name, place in wanted.items():
            if name in ("depth", "normals", "labels", "confidence"):
                self._array(name, *place)[0] = getattr(result, name)
        self._array("count", *wanted["count"])[:] = result.keep_used
        stamps = self._array("stamps", *wanted["stamps"])
        driver.now_ns += ENCODER_NS
        for slot, used in enumerate(result.keep_used):
            driver.write_time(stamps[slot].view(np.uint8))
            driver.now_ns += PIXEL_NS * used
            index = self._array(f"index{slot}", *wanted[f"index{slot}"])
            index[:] = 1 << 30  # undefined past the count
            index[:used] = self._cpu_output(f"index{slot}")[:used]
        driver.now_ns += HEADS_NS

    def _cpu_output(self, name: str) -> NDArray[Any]:
        request, ports = self._cpu._request, dict(self._cpu._outputs)  # type: ignore[attr-defined]
        return np.asarray(request.get_tensor(ports[name]).data)

    def _array(self, name: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._driver.memory(self._addresses[name], size).view(dtype).reshape(shape)


class CountedEngineDouble:
    """`CountedEngine` of a graph in standard operators, which OpenVINO runs in single precision.

    Counts are read when a run is put into the stream, as TensorRT does with what shapes depend on:
    a recorded run keeps those that it was recorded with.

    Attributes:
        ran: counts and work memory of every run.
        refuses: whether runs are refused.
        factor: by what depth is too large.
    """

    works_in = 1 << 20

    def __init__(self, graph: Path, manifest: Manifest, driver: DriverDouble) -> None:
        import openvino as ov

        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self._network = ov.Core().compile_model(graph, "CPU", properties)
        self._manifest, self._driver = manifest, driver
        self.ran: list[tuple[tuple[int, ...], int]] = []
        self.refuses = False
        self.is_closed = False
        self.factor = 1.0

    def with_counts(
        self, keep: NDArray[np.int32], addresses: Mapping[str, int], work_at: int, stream: int
    ) -> Callable[[], None]:
        assert stream == self._driver.stream
        assert all(address % 256 == 0 for address in (*addresses.values(), work_at))
        self._driver.memory(work_at, self.works_in)

        def enqueue() -> None:
            if self.refuses:
                raise BackendError("TensorRT cannot run the engine")
            counts = keep.copy()
            self._driver.submit(lambda: self._run(counts, addresses, work_at))

        return enqueue

    def close(self) -> None:
        self.is_closed = True

    def _run(self, counts: NDArray[np.int32], addresses: Mapping[str, int], work_at: int) -> None:
        self.ran.append((tuple(counts.tolist()), work_at))
        inputs = standard_inputs(self._manifest)
        given = {name: self._array(addresses[name], *place) for name, place in inputs.items()}
        results = self._network({**given, "keep": counts})
        for name, (dtype, shape) in standard_outputs(self._manifest).items():
            result = results[name] * self.factor if name == "depth" else results[name]
            # Past the count an index is undefined.
            self._array(addresses[name], dtype, shape)[...] = np.array(-1).astype(dtype)
            self._array(addresses[name], dtype, result.shape)[...] = result
        self._driver.now_ns += ENCODER_NS + PIXEL_NS * int(counts.sum())

    def _array(self, address: int, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._driver.memory(address, size).view(dtype).reshape(shape)
