"""NVIDIA's driver library through ctypes, for what PyCUDA lacks and for a look before it is loaded.

Only functions are called whose signature the driver keeps stable, so nothing has to be installed.
They are described in the CUDA driver API's reference ("Device Management", "Module Management",
"Memory Management", "Stream Management", "Execution Control", "Graph Management").
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pag_ros.errors import BackendError

LIBRARY = "libcuda.so.1"

_COMPUTE_MAJOR, _COMPUTE_MINOR, _INTEGRATED, _MULTIPROCESSORS = 75, 76, 18, 16
"""Values of CUdevice_attribute."""
_THREAD_LOCAL = 1
"""A value of CUstreamCaptureMode: what other threads do meanwhile does not spoil the capture."""
_NO_DEVICE, _DRIVER_MISMATCH = 100, 803
"""Values of CUresult."""
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver describes it.

    Attributes:
        name: for people, "Orin" or "NVIDIA H200".
        capability: compute capability times ten.
        integrated: whether it shares the memory of the CPU, as on Jetson.
        driver: CUDA version that the driver offers, (12, 6).
        multiprocessors: how many; every kind of Orin is called "Orin", this tells them apart.
    """

    name: str
    capability: int
    integrated: bool
    driver: tuple[int, int]
    multiprocessors: int


class LibCuda:
    """The driver library, initialised.

    Args:
        library: its name or path; tests give another one.

    Raises:
        BackendError: there is no driver, or no GPU that it can use.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise BackendError(
                "no NVIDIA driver: install it (a Jetson's JetPack has it), and start a container "
                f"with the GPU (--gpus all, on a Jetson --runtime nvidia); {error}"
            ) from error
        result = self._function("cuInit")(ctypes.c_uint(0))
        if result == _NO_DEVICE:
            raise BackendError("the NVIDIA driver sees no GPU; in a container give it one")
        if result == _DRIVER_MISMATCH:
            raise BackendError(
                "the NVIDIA driver's library and its kernel module have different versions; reboot"
            )
        self._check(result, "cuInit")

    def gpu(self) -> Gpu:
        """The first GPU; CUDA_VISIBLE_DEVICES decides which one that is.

        Raises:
            BackendError: there is none.
        """
        if self._integer("cuDeviceGetCount") < 1:
            raise BackendError("the NVIDIA driver sees no GPU; in a container give it one")
        device = self._integer("cuDeviceGet", ctypes.c_int(0))
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), ctypes.c_int(device))
        version = self._integer("cuDriverGetVersion")
        return Gpu(
            name=name.value.decode(errors="replace"),
            capability=10 * self._attribute(_COMPUTE_MAJOR, device)
            + self._attribute(_COMPUTE_MINOR, device),
            integrated=bool(self._attribute(_INTEGRATED, device)),
            driver=(version // 1000, version % 1000 // 10),
            multiprocessors=self._attribute(_MULTIPROCESSORS, device),
        )

    def begin_capture(self, stream: int) -> None:
        """Record what is put into the stream from now on, in place of doing it."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """Handle of the graph that was recorded."""
        return self._pointer("cuStreamEndCapture", ctypes.c_void_p(stream), first=False)

    def instantiate(self, graph: int) -> int:
        """Handle of an executable copy of a graph."""
        flags = ctypes.c_ulonglong(0)
        return self._pointer("cuGraphInstantiateWithFlags", ctypes.c_void_p(graph), flags)

    def launch(self, executable: int, stream: int) -> None:
        """Have a graph done in a stream; returns at once."""
        self._call("cuGraphLaunch", ctypes.c_void_p(executable), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Free a graph that was recorded."""
        self._call("cuGraphDestroy", ctypes.c_void_p(graph))

    def destroy_executable(self, executable: int) -> None:
        """Free an executable graph."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(executable))

    def load_function(self, code: bytes, name: str) -> int:
        """Handle of a kernel of machine code or PTX (which ends with a zero byte).

        It is on the GPU then, ready to be launched into a stream that is being captured, and is
        freed with the context that is this thread's.
        """
        module = self._pointer("cuModuleLoadData", ctypes.c_char_p(code))
        function = self._pointer(
            "cuModuleGetFunction", ctypes.c_void_p(module), ctypes.c_char_p(name.encode())
        )
        # Without this call drivers load lazily, at the first launch.
        self._call("cuFuncLoad", ctypes.c_void_p(function))
        return function

    def launch_kernel(
        self,
        function: int,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        stream: int,
        addresses: Sequence[int],
    ) -> None:
        """Put a kernel whose arguments are addresses into a stream."""
        values = [ctypes.c_uint64(address) for address in addresses]
        places = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        sizes = (*grid, threads, 1, 1, shared_bytes)
        self._call(
            "cuLaunchKernel",
            ctypes.c_void_p(function),
            *map(ctypes.c_uint, sizes),
            ctypes.c_void_p(stream),
            places,
            None,
        )

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Put a copy from the GPU to the GPU into a stream."""
        addresses = (ctypes.c_uint64(target), ctypes.c_uint64(source))
        self._call(
            "cuMemcpyDtoDAsync_v2", *addresses, ctypes.c_size_t(size), ctypes.c_void_p(stream)
        )

    def pop_context(self) -> None:
        """Take the top of this thread's stack of contexts away."""
        self._pointer("cuCtxPopCurrent_v2")

    def _function(self, name: str) -> Callable[..., int]:
        function = getattr(self._library, name, None)
        if function is None:
            raise BackendError(f"the NVIDIA driver is too old: it has no {name}")
        function.restype = ctypes.c_int
        found: Callable[..., int] = function
        return found

    def _call(self, name: str, *arguments: object) -> None:
        self._check(self._function(name)(*arguments), name)

    def _integer(self, name: str, *arguments: object) -> int:
        """The result of a function that writes an integer to its first argument."""
        value = ctypes.c_int()
        self._call(name, ctypes.byref(value), *arguments)
        return value.value

    def _pointer(self, name: str, *arguments: object, first: bool = True) -> int:
        """The result of a function that writes a handle to its first, or else last, argument."""
        value = ctypes.c_void_p()
        given = (ctypes.byref(value), *arguments) if first else (*arguments, ctypes.byref(value))
        self._call(name, *given)
        return value.value or 0

    def _attribute(self, number: int, device: int) -> int:
        return self._integer("cuDeviceGetAttribute", ctypes.c_int(number), ctypes.c_int(device))

    def _check(self, result: int, name: str) -> None:
        if result:
            raise BackendError(f"CUDA: {name} failed with {self._error_name(result)}")

    def _error_name(self, result: int) -> str:
        text = ctypes.c_char_p()
        if self._function("cuGetErrorName")(ctypes.c_int(result), ctypes.byref(text)):
            return f"error {result}"
        return (text.value or b"").decode(errors="replace")
