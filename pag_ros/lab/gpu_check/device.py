"""Run compiled kernels on this machine's GPU: torch's memory and streams, the driver's launches.

It is the very code that a robot gets which is launched here, with the arguments of its program.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import MIN_CAPABILITY, Spec
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.lab.kernel_compiler.compiler import compile_kernel

REHEARSAL = "PAG_ROS_GPU_CHECK_DEVICE"
"""Environment variable for rehearsals without a GPU: module:class of what stands for `Device`."""

_TORCH_DTYPES = {"fp16": "float16", "fp32": "float32", "i32": "int32"}


def import_torch() -> Any:
    """torch with a GPU that our kernels run on.

    Raises:
        BackendError: torch or a usable GPU is missing; the message says which.
    """
    try:
        import torch
    except ImportError as error:
        raise BackendError(f"the GPU check needs torch ({error})") from error
    if not torch.cuda.is_available():
        raise BackendError("the GPU check needs an NVIDIA GPU and a torch that sees it: none found")
    major, minor = torch.cuda.get_device_capability()
    if 10 * major + minor < MIN_CAPABILITY:
        raise BackendError(
            f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}, "
            f"the kernels need {MIN_CAPABILITY / 10}"
        )
    return torch


def open_device() -> Device:
    """The GPU that torch sees.

    Raises:
        BackendError: torch or a usable GPU is missing; the message says which.
    """
    if stand_in := os.environ.get(REHEARSAL):
        module, _, name = stand_in.partition(":")
        device: Device = getattr(importlib.import_module(module), name)()
        return device
    return Device(import_torch())


@dataclass(frozen=True)
class Recording:
    """Work as a CUDA graph.

    Attributes:
        graph: torch's.
        work: what was recorded. The graph knows addresses only; this holds the tensors that lie
            there, so that torch gives their memory to nobody else.
    """

    graph: Any
    work: Callable[[], None]

    def replay(self) -> None:
        """Put the work into torch's current stream."""
        self.graph.replay()


class Device:
    """The GPU that torch uses. Compiles each program once."""

    name = "cuda"
    """The device's name in torch."""

    def __init__(self, torch: Any, driver: Any = None) -> None:
        self.torch = torch
        major, minor = torch.cuda.get_device_capability()
        self.capability = 10 * major + minor
        torch.zeros(1, device="cuda")  # makes the context that modules are loaded into
        self._driver = driver or ctypes.CDLL("libcuda.so.1")
        self._kernels: dict[str, Kernel] = {}

    def facts(self) -> dict[str, Any]:
        """What the GPU is, and what drives it."""
        torch = self.torch
        properties = torch.cuda.get_device_properties(0)
        return {
            "GPU": torch.cuda.get_device_name(),
            "compute capability": f"{self.capability / 10:.1f}",
            "multiprocessors": properties.multi_processor_count,
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "torch": torch.__version__,
        }

    def synchronize(self) -> None:
        """Wait until all is done that was launched."""
        self.torch.cuda.synchronize()

    def kernel(self, spec: Spec) -> Kernel:
        """The program, ready to be launched.

        Raises:
            BackendError: it cannot be compiled or loaded.
        """
        if spec.name not in self._kernels:
            self._kernels[spec.name] = self.load(spec, compile_kernel(spec, self.capability))
        return self._kernels[spec.name]

    def load(self, spec: Spec, compiled: CompiledKernel) -> Kernel:
        """The code of a program, ready to be launched.

        Raises:
            BackendError: the driver refuses it.
        """
        return Kernel(self, self._driver, spec, compiled)

    def upload(self, array: NDArray[Any]) -> Any:
        return self.torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def outputs(self, spec: Spec) -> dict[str, Any]:
        """Memory for the outputs, of undefined content."""
        return {
            tensor.name: self.torch.empty(
                tensor.shape, dtype=getattr(self.torch, _TORCH_DTYPES[tensor.dtype]), device="cuda"
            )
            for tensor in spec.outputs
        }

    def run(
        self, spec: Spec, inputs: Mapping[str, NDArray[Any]], kernel: Kernel | None = None
    ) -> dict[str, NDArray[Any]]:
        """Upload, launch once, download: outputs by their names.

        With `in_place` the result begins as the base.

        Args:
            kernel: from `load`; None compiles the program.
        """
        given = {name: self.upload(array) for name, array in inputs.items()}
        results = self.outputs(spec)
        if getattr(spec, "in_place", False):
            results["y"] = given["base"]
        (kernel or self.kernel(spec)).launch({**given, **results})
        self.torch.cuda.synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in results.items()}

    def side_by_side(self, works: Sequence[Callable[[], None]]) -> Callable[[], None]:
        """All of the works at once, each on a stream of its own, within torch's current one."""
        cuda = self.torch.cuda
        streams = [cuda.Stream() for _ in works]

        def all_works() -> None:
            main = cuda.current_stream()
            for stream, work in zip(streams, works, strict=True):
                stream.wait_stream(main)
                with cuda.stream(stream):
                    work()
            for stream in streams:
                main.wait_stream(stream)

        return all_works

    def record(self, work: Callable[[], None], repeats: int = 1) -> Recording:
        """`work`, so many times over, as a CUDA graph.

        It runs once before: what cuDNN chooses and a driver loads then is there.
        """
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            work()
        cuda.current_stream().wait_stream(side)
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            for _ in range(repeats):
                work()
        return Recording(graph, work)

    def microseconds(self, graphs: Sequence[Recording], rounds: int) -> list[float]:
        """Median duration of a replay of each graph on the GPU; the graphs take turns."""
        cuda = self.torch.cuda
        taken: list[list[float]] = [[] for _ in graphs]
        for _ in range(rounds):
            for graph, each in zip(graphs, taken, strict=True):
                graph.replay()  # untimed: brings clocks and caches to where they stay
                began, ended = (cuda.Event(enable_timing=True) for _ in range(2))
                began.record()
                graph.replay()
                ended.record()
                ended.synchronize()
                each.append(1e3 * began.elapsed_time(ended))
        return [statistics.median(each) for each in taken]


class Kernel:
    """A program's code on the GPU."""

    def __init__(self, device: Device, driver: Any, spec: Spec, compiled: CompiledKernel) -> None:
        self.spec, self.compiled = spec, compiled
        self._device, self._driver = device, driver
        module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        _check(driver, driver.cuModuleLoadData(ctypes.byref(module), compiled.code))
        name = compiled.name.encode()
        _check(driver, driver.cuModuleGetFunction(ctypes.byref(self._function), module, name))

    def launch(self, tensors: Mapping[str, Any]) -> None:
        """Launch on torch's current stream; returns at once.

        Args:
            tensors: argument's name -> contiguous torch tensor on the GPU.
        """
        arguments = (*self.spec.inputs, *self.spec.outputs)
        pointers = [ctypes.c_void_p(tensors[each.name].data_ptr()) for each in arguments]
        addresses = [ctypes.cast(ctypes.byref(pointer), ctypes.c_void_p) for pointer in pointers]
        parameters = (ctypes.c_void_p * len(addresses))(*addresses)
        stream = ctypes.c_void_p(self._device.torch.cuda.current_stream().cuda_stream)
        kernel = self.compiled
        block = (kernel.threads, 1, 1)
        _check(
            self._driver,
            self._driver.cuLaunchKernel(
                self._function, *kernel.grid, *block, kernel.shared_bytes, stream, parameters, None
            ),
        )


def _check(driver: Any, status: int) -> None:
    if status:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        raise BackendError(f"the CUDA driver says: {(text.value or b'?').decode()} ({status})")
