"""What we use of the module pycuda.driver, which has no types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class PyCuda(Protocol):
    """The module pycuda.driver."""

    MemoryError: type[Exception]
    Error: type[Exception]
    Context: type[CudaContext]
    Device: Callable[[int], CudaDevice]
    Stream: Callable[[int], CudaStream]
    host_alloc_flags: HostFlags

    def init(self) -> None: ...
    def mem_get_info(self) -> tuple[int, int]: ...
    def mem_alloc(self, size: int) -> DeviceAllocation: ...

    def pagelocked_empty(
        self, shape: int, dtype: type[np.uint8], *, mem_flags: int
    ) -> NDArray[np.uint8]:
        """An array whose `base` is a `HostAllocation`."""
        ...

    def memcpy_htod_async(
        self, target: int, source: NDArray[np.uint8], stream: CudaStream
    ) -> None: ...
    def memcpy_dtoh_async(
        self, target: NDArray[np.uint8], source: int, stream: CudaStream
    ) -> None: ...
    def module_from_buffer(self, code: bytes) -> CudaModule: ...


class HostFlags(Protocol):
    """Its host_alloc_flags."""

    DEVICEMAP: int


class CudaContext(Protocol):
    """A pycuda.driver.Context."""

    def push(self) -> None: ...
    def detach(self) -> None: ...
    @staticmethod
    def pop() -> None: ...


class CudaDevice(Protocol):
    """A pycuda.driver.Device."""

    def retain_primary_context(self) -> CudaContext: ...


class CudaStream(Protocol):
    """A pycuda.driver.Stream."""

    @property
    def handle(self) -> int: ...
    def synchronize(self) -> None: ...


class HostAllocation(Protocol):
    """Page-locked memory of the host."""

    def get_device_pointer(self) -> int: ...
    def free(self) -> None: ...


class DeviceAllocation(Protocol):
    """Memory of the GPU; as a number it is the address."""

    def __int__(self) -> int: ...
    def free(self) -> None: ...


class CudaFunction(Protocol):
    """A kernel that has been loaded."""

    def __call__(
        self,
        *arguments: np.uintp,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        stream: CudaStream,
    ) -> object: ...


class CudaModule(Protocol):
    """A pycuda.driver.Module."""

    def get_function(self, name: str) -> CudaFunction: ...
