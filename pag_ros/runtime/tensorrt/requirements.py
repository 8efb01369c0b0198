"""What a TensorRT session needs of a machine; what is missing, with the way to get it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import MIN_CAPABILITY
from pag_ros.runtime.tensorrt.api import TensorRt
from pag_ros.runtime.tensorrt.cuda_api import PyCuda
from pag_ros.runtime.tensorrt.libcuda import Gpu, LibCuda

CLASS_PLUGINS = (10, 0)
"""First TensorRT that takes plugins which are Python classes and launch kernels themselves."""
AHEAD_OF_TIME = (10, 14)
"""First TensorRT that takes kernels compiled ahead of time, so that its engines need no plugin.

10.9 was meant to be it, but until 10.13 the bindings hand over a kernel's name from a string that
is gone by the time it is read (`getKernel` in NVIDIA's pyPlugin.cpp)."""
MIN_DRIVER = (12, 4)
"""CUDA version of a driver that reads our PTX 8.4; JetPack 6.1 has 12.6."""
MIN_PYCUDA = (2020, 1)

_JETSON = Path("/etc/nv_tegra_release")
_BROKEN = (ImportError, OSError, AttributeError, RuntimeError, ValueError, TypeError)
"""What importing a damaged or mismatched installation raises."""


def tensorrt_problem() -> str | None:
    """Why this machine cannot run TensorRT sessions, in a sentence; None if it can."""
    try:
        require_gpu()
        import_tensorrt()
        import_pycuda()
    except BackendError as error:
        return str(error)
    return None


def require_gpu() -> Gpu:
    """The GPU.

    Raises:
        BackendError: there is no driver or GPU, or one of them is too old.
    """
    gpu = LibCuda().gpu()
    if gpu.capability < MIN_CAPABILITY:
        raise BackendError(
            f"{gpu.name} has compute capability {gpu.capability / 10}; the GPU kernels need "
            f"{MIN_CAPABILITY / 10} or later (Ampere, Orin); use device cpu"
        )
    if gpu.driver < MIN_DRIVER:
        raise BackendError(
            f"the NVIDIA driver offers CUDA {_text(gpu.driver)}; {_text(MIN_DRIVER)} is needed: "
            "install a newer driver (on a Jetson JetPack 6.1 or later)"
        )
    return gpu


def import_tensorrt() -> TensorRt:
    """The module tensorrt.

    Raises:
        BackendError: it is missing, broken or too old.
    """
    remedy = (
        "JetPack has it (apt install nvidia-jetpack); a virtual environment sees it if made with "
        "--system-site-packages"
        if _JETSON.exists()
        else "pip install 'pag_ros[gpu]'"
    )
    trt: TensorRt = _imported("tensorrt", "TensorRT", remedy)
    if tensorrt_version(trt) < CLASS_PLUGINS:
        raise BackendError(
            f"TensorRT {trt.__version__} is too old, {_text(CLASS_PLUGINS)} is needed: {remedy}"
        )
    return trt


def import_pycuda() -> PyCuda:
    """The module pycuda.driver.

    Raises:
        BackendError: it is missing, broken or too old.
    """
    remedy = "pip install pycuda (it is compiled: nvcc of the CUDA toolkit has to be in PATH)"
    pycuda = _imported("pycuda", "PyCUDA", remedy)
    if tuple(pycuda.VERSION[:2]) < MIN_PYCUDA:
        raise BackendError(f"PyCUDA {pycuda.VERSION_TEXT} is too old: {remedy}")
    driver: PyCuda = _imported("pycuda.driver", "PyCUDA", remedy)
    return driver


def takes_kernels_ahead_of_time(trt: object) -> bool:
    """Whether engines of the module tensorrt hold our kernels; else Python plugins launch them."""
    return tensorrt_version(trt) >= AHEAD_OF_TIME


def describe_tensorrt(trt: object) -> str:
    """The version of the module tensorrt and how it runs our kernels, for people."""
    version = getattr(trt, "__version__", "no version told")
    if tensorrt_version(trt) < CLASS_PLUGINS:
        return f"{version}, too old: {_text(CLASS_PLUGINS)} is needed"
    if takes_kernels_ahead_of_time(trt):
        return f"{version}, which takes our kernels into its engines"
    since = _text(AHEAD_OF_TIME)
    return (
        f"{version}, where plugins in Python launch our kernels (engines hold them from {since} on)"
    )


def tensorrt_version(trt: object) -> tuple[int, int]:
    """(10, 13) of the module tensorrt; (0, 0) where it does not say."""
    found = re.match(r"(\d+)\.(\d+)", str(getattr(trt, "__version__", "")))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _imported(module: str, name: str, remedy: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module.partition(".")[0]:
            raise BackendError(f"{name} is not installed: {remedy}") from error
        raise BackendError(f"{name} cannot be loaded ({error}): {remedy}") from error
    except _BROKEN as error:
        raise BackendError(f"{name} cannot be loaded ({error}): {remedy}") from error


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
