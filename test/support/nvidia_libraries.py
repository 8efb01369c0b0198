"""Libraries that stand where a GPU machine has NVIDIA's, compiled for the tests that need them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parent


def with_nvidia_front_end(
    script: str, arguments: Sequence[object], folder: Path, **environment: str
) -> dict[str, Any]:
    """What a program of this folder prints last, a JSON object, run with TensorRT's bindings."""
    for package in ("tensorrt_bindings", "tensorrt_lean_libs"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: pip install '.[nvidia-check]'")
    paths = f"{nvidia_libraries(folder)}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run(
        [sys.executable, str(SUPPORT / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(SUPPORT.parents[1]),
            "LD_LIBRARY_PATH": paths,
            **environment,
        },
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def nvidia_libraries(folder: Path) -> Path:
    """A folder with what TensorRT's bindings link to: the lean runtime, and stubs for the rest."""
    compiler = _compiler()
    found = importlib.util.find_spec("tensorrt_lean_libs")
    assert found is not None
    assert found.origin is not None
    (lean,) = Path(found.origin).parent.glob("libnvinfer_lean.so.*")
    major = lean.suffix
    (folder / f"libnvinfer.so{major}").symlink_to(lean)
    for name in ("libnvinfer_plugin", "libnvonnxparser"):
        command = [compiler, "-shared", "-fPIC", str(SUPPORT / "nvidia_stub.c")]
        target = str(folder / f"{name}.so{major}")
        libraries = [f"-L{folder}", f"-l:libnvinfer.so{major}"]
        subprocess.run([*command, "-o", target, *libraries], check=True)
    return folder


def cuda_stub(folder: Path, symbols: str = "") -> Path:
    """The stub of CUDA's driver library; `symbols` are more functions, which all fail."""
    library, more = folder / "libcuda.so.1", folder / "more.c"
    more.write_text(
        "".join(f"__attribute__((weak)) int {s}(void) {{ return 801; }}\n" for s in symbols.split())
    )
    flags = ["-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o", str(library)]
    subprocess.run([_compiler(), *flags, str(SUPPORT / "cuda_stub.c"), str(more)], check=True)
    return library


def _compiler() -> str:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler for the libraries that only a GPU machine has")
    return "cc"
