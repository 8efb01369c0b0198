"""What is installed on this machine, what of it works, and what to do about the rest.

Nothing is imported here: a broken installation may end the process that imports it, so that every
package is tried in a process of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pag_ros.budget import table_path
from pag_ros.errors import PagError, ParameterError
from pag_ros.kernels import (
    available_cpus,
    bf16_is_faster,
    chosen_instruction_set,
    has_native_bf16,
)
from pag_ros.kernels.gpu.store import kernels_path
from pag_ros.manifest import load_manifest
from pag_ros.runtime.machine_state import read_machine_state
from pag_ros.runtime.models import shipped_models
from pag_ros.runtime.tensorrt.engine_cache import default_folder
from pag_ros.runtime.tensorrt.self_check import reference_path

State = Literal["works", "absent", "broken"]

_PATIENCE_S = 60.0
_CUDA_FOLDER, _JETSON_RELEASE = Path("/usr/local"), Path("/etc/nv_tegra_release")
_CPU, _GPU, _ROS = "CPU", "NVIDIA GPU", "ROS 2"
_OPTIONAL = "optional"

_GPU_PROBE = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        raise SystemExit(f"{name} gives error {code}")
number, name = ctypes.c_int(), ctypes.create_string_buffer(100)
major, minor, total = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
call("cuInit", 0)
call("cuDriverGetVersion", ctypes.byref(number))
version = number.value
call("cuDeviceGet", ctypes.byref(number), 0)
call("cuDeviceGetName", name, 100, number)
call("cuDeviceGetAttribute", ctypes.byref(major), 75, number)
call("cuDeviceGetAttribute", ctypes.byref(minor), 76, number)
context, free = ctypes.c_void_p(), ctypes.c_size_t()
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
call("cuCtxSetCurrent", context)
call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
print(f"{name.value.decode()}, compute capability {major.value}.{minor.value}, "
      f"{free.value / 2**30:.1f} of {total.value / 2**30:.1f} GiB free, "
      f"driver for CUDA {version // 1000}.{version % 1000 // 10}")
"""

_TENSORRT_PROBE = """
import tensorrt
from pag_ros.runtime.tensorrt.requirements import describe_tensorrt
print(describe_tensorrt(tensorrt))
"""

_SESSION_PROBE = """
from pag_ros.runtime.tensorrt.requirements import tensorrt_problem
problem = tensorrt_problem()
if problem is not None:
    raise SystemExit(problem)
print("nothing that it needs is missing or too old")
"""

_ROS_PROBE = """
import os
import rclpy
from rclpy.utilities import get_rmw_implementation_identifier
rclpy.init()
rclpy.shutdown()
distro = os.environ.get("ROS_DISTRO", "unknown")
print(f"{get_rmw_implementation_identifier()}, distro {distro}")
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: what it belongs to: "CPU", "NVIDIA GPU", "ROS 2", "package", or "optional".
        name: of the thing.
        state: whether it works.
        text: its version, or what is wrong with it.
        advice: what to do about it; empty where there is nothing to do.
    """

    part: str
    name: str
    state: State
    text: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at everything; takes some seconds."""
    jobs: list[Callable[[], Finding]] = [
        _kernels,
        *(_package(*line) for line in _PACKAGES if line[0] == _CPU),
        lambda: _probed(_GPU, "driver and GPU", _GPU_PROBE, "install NVIDIA's driver (JetPack)"),
        *(_package(*line) for line in _PACKAGES if line[0] == _GPU),
        lambda: _probed(_GPU, "TensorRT session", _SESSION_PROBE, "see docs/jetson.md"),
        lambda: _probed(_ROS, "rclpy", _ROS_PROBE, "source ROS 2, or pip install 'pag_ros[ros]'"),
        _models,
        _cache,
        _machine,
        *(_package(*line) for line in _PACKAGES if line[0] == _OPTIONAL),
        _engines,
        _toolkit,
    ]
    with ThreadPoolExecutor(max_workers=available_cpus()) as pool:
        return [each.result() for each in [pool.submit(job) for job in jobs]]


def works(findings: list[Finding], part: str) -> bool:
    """Whether all of a part works."""
    return all(finding.state == "works" for finding in findings if finding.part == part)


_BESIDE_ROS = "beside ROS with its constraints, see docs/jetson.md"
"""Without these constraints pip lays a NumPy over ROS's own that ROS cannot be imported with."""
_PACKAGES = (
    (_CPU, "openvino", f"pip install 'pag_ros[cpu]', {_BESIDE_ROS}"),
    (_GPU, "tensorrt", f"comes with JetPack; else pip install 'pag_ros[gpu]', {_BESIDE_ROS}"),
    (_GPU, "pycuda", f"pip install pycuda, {_BESIDE_ROS}"),
    (_GPU, "onnx", f"pip install onnx, {_BESIDE_ROS}"),
    (_OPTIONAL, "triton", "only `pag_ros build kernels` needs it: pip install 'pag_ros[gpu]'"),
)


def _package(part: str, name: str, advice: str) -> Callable[[], Finding]:
    code = f"import {name} as module; print(getattr(module, '__version__', 'no version told'))"
    if name == "pycuda":
        code = "import pycuda, pycuda.driver; print(pycuda.VERSION_TEXT)"
    if name == "tensorrt":
        code = _TENSORRT_PROBE
    return lambda: _probed(part, name, code, advice)


def _probed(part: str, name: str, code: str, advice: str) -> Finding:
    """Run some code in a process of its own; what it prints last is the text."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return Finding(part, name, "broken", f"does not answer in {_PATIENCE_S:.0f} s", advice)
    said = done.stdout.strip().splitlines() if done.returncode == 0 else done.stderr.splitlines()
    text = said[-1].strip() if said else f"ends with code {done.returncode}"
    if done.returncode == 0:
        return Finding(part, name, "works", text)
    absent = "ModuleNotFoundError" in text or "cannot open shared object" in text
    if text == f"ModuleNotFoundError: No module named '{name}'":
        text = "not installed"
    return Finding(part, name, "absent" if absent else "broken", text, advice)


def _kernels() -> Finding:
    try:
        text = f"{chosen_instruction_set()}, {_cores()}"
        if has_native_bf16() and not bf16_is_faster():
            text += ", bf16 slower than fp32: precision auto does without it"
        return Finding(_CPU, "kernels", "works", text)
    except ValueError as error:
        return Finding(_CPU, "kernels", "broken", str(error), "unset PAG_ROS_ISA")


def _cores() -> str:
    return f"{available_cpus()} CPUs, {platform.machine()}"


def _models() -> Finding:
    found = shipped_models()
    try:
        sizes = {name: load_manifest(path) for name, path in found.items()}
    except PagError as error:
        return Finding("package", "models", "broken", str(error), "install pag_ros anew")
    if not found:
        return Finding("package", "models", "absent", "none found", "install pag_ros anew")
    text = ", ".join(f"{name} {m.width}x{m.height}" for name, m in sizes.items())
    return Finding("package", "models", "works", text)


def _cache() -> Finding:
    try:
        folder = table_path("").parent
    except ParameterError as error:
        return Finding("package", "cache", "broken", str(error))
    present = next(each for each in (folder, *folder.parents) if each.exists())
    if present.is_dir() and os.access(present, os.W_OK):
        return Finding("package", "cache", "works", str(folder))
    advice = "set XDG_CACHE_HOME to a folder that can be written"
    return Finding("package", "cache", "broken", f"{present} cannot be written", advice)


def _engines() -> Finding:
    """Built engines, and models whose kernels or reference outputs are missing."""
    missing = [
        str(path)
        for model in shipped_models().values()
        for path in (kernels_path(model), reference_path(model))
        if not path.exists()
    ]
    if missing:
        advice = "`pag_ros build kernels MODEL`, `pag_ros build reference MODEL`"
        return Finding(_OPTIONAL, "engines", "absent", f"no {', '.join(missing)}", advice)
    try:
        folder = default_folder()
    except ParameterError as error:
        return Finding(_OPTIONAL, "engines", "broken", str(error))
    try:
        count = len(list(folder.glob("*.engine")))
    except OSError as error:
        return Finding(_OPTIONAL, "engines", "broken", f"{folder}: {error.strerror}")
    return Finding(_OPTIONAL, "engines", "works", f"{count} built, in {folder}")


def _toolkit() -> Finding:
    """What compiles PyCUDA, and the Jetson's system release."""
    jetson = _first_line(_JETSON_RELEASE)
    named = [path.parents[1].name for path in sorted(_CUDA_FOLDER.glob("cuda-[0-9]*/bin/nvcc"))]
    found = ", ".join([*named, *([jetson] if jetson else [])])
    if named or shutil.which("nvcc"):
        return Finding(_OPTIONAL, "CUDA toolkit", "works", found or "nvcc is there")
    advice = (
        "only installing PyCUDA needs it: nvcc in PATH (on a Jetson apt install nvidia-jetpack)"
    )
    return Finding(_OPTIONAL, "CUDA toolkit", "absent", found or "no nvcc", advice)


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:120].partition("\n")[0]
    except OSError:
        return ""


def _machine() -> Finding:
    state = read_machine_state()
    hottest: Mapping[str, float] = state.temperatures
    heat = f", hottest {max(hottest.values()):.0f} degrees Celsius" if hottest else ""
    return Finding(
        "package", "machine", "works", f"power mode {state.power_mode or 'unknown'}{heat}"
    )
