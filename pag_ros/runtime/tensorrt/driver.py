"""What the session needs of CUDA, and no more: memory, copies, kernels, one stream, one graph.

`Driver` is the interface; `PyCudaDriver` is it on a machine with a GPU. A driver belongs to the
thread that made it: PyCUDA cannot free a context from another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.runtime.tensorrt.cuda_api import (
    CudaContext,
    CudaModule,
    CudaStream,
    DeviceAllocation,
    HostAllocation,
)
from pag_ros.runtime.tensorrt.libcuda import Gpu, LibCuda
from pag_ros.runtime.tensorrt.requirements import import_pycuda

MIB = 1 << 20
_NON_BLOCKING = 1
"""A flag of CUstream_flags: work in the default stream neither delays nor spoils work in ours."""
Work = Callable[[], None]


class OutOfMemoryError(BackendError):
    """The GPU has not enough free memory."""


class Driver(Protocol):
    """CUDA on one GPU with one stream. What takes an `address` takes a device pointer."""

    gpu: Gpu
    stream: int
    """Handle of the stream that all work is put into."""

    def active(self) -> AbstractContextManager[None]:
        """Makes the GPU's context this thread's; all else here has to happen inside."""
        ...

    def free_bytes(self) -> int:
        """Memory that can still be had."""
        ...

    def host_memory(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """Page-locked bytes, and the address at which the GPU sees the same bytes.

        Raises:
            OutOfMemoryError: there is not enough.
        """
        ...

    def device_memory(self, size: int) -> int:
        """Address of bytes of the GPU.

        Raises:
            OutOfMemoryError: there is not enough.
        """
        ...

    def load(self, kernel: CompiledKernel) -> Callable[[Sequence[int]], None]:
        """A function that puts a kernel with these addresses as arguments into the stream."""
        ...

    def upload(self, address: int, source: NDArray[np.uint8]) -> None:
        """Put a copy to the GPU into the stream; the source is page-locked."""
        ...

    def download(self, target: NDArray[np.uint8], address: int) -> None:
        """Put a copy from the GPU into the stream; the target is page-locked."""
        ...

    def record(self, work: Work) -> Work:
        """Run `work`, which puts things into the stream, once and without effect.

        Returns:
            A function that has all of it done at once, any number of times.

        Raises:
            BackendError: something in it cannot be recorded.
        """
        ...

    def synchronize(self) -> None:
        """Wait until all that was put into the stream is done.

        Raises:
            BackendError: some of it failed.
        """
        ...

    def close(self) -> None:
        """Free everything that came from here. May be called again."""
        ...


class PyCudaDriver:
    """`Driver` with PyCUDA, on the GPU's primary context, which TensorRT uses as well.

    Raises:
        BackendError: there is no GPU, or PyCUDA is missing.
    """

    def __init__(self) -> None:
        self._libcuda = LibCuda()
        self.gpu = self._libcuda.gpu()
        self._cuda = import_pycuda()
        self._arrays: list[NDArray[np.uint8]] = []
        self._buffers: list[DeviceAllocation] = []
        self._modules: list[CudaModule] = []
        self._graphs: list[int] = []
        with _translate_errors():
            self._cuda.init()
            self._context: CudaContext | None = self._cuda.Device(0).retain_primary_context()
            with self.active():
                self._stream: CudaStream = self._cuda.Stream(_NON_BLOCKING)
        self.stream = int(self._stream.handle)

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Driver.active`."""
        if self._context is None:
            raise RuntimeError("the driver is closed")
        self._context.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def free_bytes(self) -> int:
        """See `Driver.free_bytes`."""
        with _translate_errors():
            free = int(self._cuda.mem_get_info()[0])
        # A Jetson's driver does not count what the system's caches would give up.
        return max(free, _available_bytes()) if self.gpu.integrated else free

    def host_memory(self, size: int) -> tuple[NDArray[np.uint8], int]:
        """See `Driver.host_memory`."""
        with _translate_errors(size, self.free_bytes):
            flags = self._cuda.host_alloc_flags.DEVICEMAP
            array = self._cuda.pagelocked_empty(size, np.uint8, mem_flags=flags)
            self._arrays.append(array)
            return array, int(_allocation(array).get_device_pointer())

    def device_memory(self, size: int) -> int:
        """See `Driver.device_memory`."""
        with _translate_errors(size, self.free_bytes):
            buffer = self._cuda.mem_alloc(size)
            self._buffers.append(buffer)
            return int(buffer)

    def load(self, kernel: CompiledKernel) -> Callable[[Sequence[int]], None]:
        """See `Driver.load`."""
        with _translate_errors():
            module = self._cuda.module_from_buffer(kernel.code)
            self._modules.append(module)
            function = module.get_function(kernel.name)

        def launch(addresses: Sequence[int]) -> None:
            with _translate_errors():
                function(
                    *map(np.uintp, addresses),
                    grid=kernel.grid,
                    block=(kernel.threads, 1, 1),
                    shared=kernel.shared_bytes,
                    stream=self._stream,
                )

        return launch

    def upload(self, address: int, source: NDArray[np.uint8]) -> None:
        """See `Driver.upload`."""
        with _translate_errors():
            self._cuda.memcpy_htod_async(address, source, self._stream)

    def download(self, target: NDArray[np.uint8], address: int) -> None:
        """See `Driver.download`."""
        with _translate_errors():
            self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def record(self, work: Work) -> Work:
        """See `Driver.record`."""
        graph = self._recorded(work)
        try:
            executable = self._libcuda.instantiate(graph)
        finally:
            self._libcuda.destroy_graph(graph)
        self._graphs.append(executable)
        return lambda: self._libcuda.launch(executable, self.stream)

    def _recorded(self, work: Work) -> int:
        self._libcuda.begin_capture(self.stream)
        try:
            work()
        except BaseException:
            with suppress(BackendError):  # the reason is the error that came first
                self._libcuda.destroy_graph(self._libcuda.end_capture(self.stream))
            raise
        return self._libcuda.end_capture(self.stream)

    def synchronize(self) -> None:
        """See `Driver.synchronize`."""
        with _translate_errors():
            self._stream.synchronize()

    def close(self) -> None:
        """See `Driver.close`."""
        if self._context is None:
            return
        with suppress(BackendError), _translate_errors(), self.active():
            for executable in self._graphs:
                self._libcuda.destroy_executable(executable)
            for buffer in self._buffers:
                buffer.free()
            for array in self._arrays:
                _allocation(array).free()
            self._modules.clear()
            del self._stream
        self._graphs, self._buffers, self._arrays = [], [], []
        context, self._context = self._context, None
        with suppress(BackendError), _translate_errors():
            # PyCUDA pushes a context that it releases, and leaves it there.
            context.detach()
            self._libcuda.pop_context()


def _allocation(array: NDArray[np.uint8]) -> HostAllocation:
    """The memory that an array of PyCUDA's lies in."""
    return cast("HostAllocation", array.base)


@contextmanager
def _translate_errors(size: int = 0, free_bytes: Callable[[], int] | None = None) -> Iterator[None]:
    """Raise PyCUDA's errors as ours; one of memory says how much was needed and was free."""
    cuda = import_pycuda()
    try:
        yield
    except cuda.MemoryError as error:
        free = f"{free_bytes() / MIB:.0f}" if free_bytes else "too few"
        raise OutOfMemoryError(
            f"not enough GPU memory: {size / MIB:.0f} MiB needed, {free} MiB free; "
            "end other programs on the GPU (nvidia-smi lists them)"
        ) from error
    except cuda.Error as error:
        raise BackendError(f"CUDA: {error}") from error


def _available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that a new program can have, as Linux estimates it; 0 where it does not say."""
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
