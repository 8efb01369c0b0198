"""The calls that reach NVIDIA's driver library, seen by a stub of it that is built from C.

With that, ctypes' and (where it is installed) PyCUDA's own code runs for real: names, order and
arguments of the calls are those that a driver would get. What a driver makes of them is not seen:
the stub runs no kernel, has no GPU memory, and accepts everything.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nvidia_libraries import SUPPORT, cuda_stub

from pag_ros.errors import BackendError
from pag_ros.runtime.tensorrt.driver import _available_bytes
from pag_ros.runtime.tensorrt.libcuda import Gpu, LibCuda


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(cuda_stub(tmp_path_factory.mktemp("stub")))


@pytest.fixture
def log(tmp_path: Path, monkeypatch) -> Path:
    path = tmp_path / "calls"
    monkeypatch.setenv("CUDA_STUB_LOG", str(path))
    return path


def test_the_gpu_is_described(stub: str) -> None:
    assert LibCuda(stub).gpu() == Gpu("Stub", 87, True, (12, 6), 16)


def test_a_graph_is_recorded_on_a_stream_and_launched(stub: str, log: Path) -> None:
    cuda, stream = LibCuda(stub), 0x7000_1234_5678
    cuda.begin_capture(stream)
    graph = cuda.end_capture(stream)
    executable = cuda.instantiate(graph)
    cuda.destroy_graph(graph)
    cuda.launch(executable, stream)
    cuda.destroy_executable(executable)
    cuda.pop_context()
    assert log.read_text().splitlines() == [
        "cuInit 0",
        "cuStreamBeginCapture_v2 0x700012345678 1",
        "cuStreamEndCapture 0x700012345678, 0 recorded",
        "cuGraphInstantiateWithFlags 0x6000000000 0",
        "cuGraphDestroy 0x6000000000",
        "cuGraphLaunch 0x7000000000 0x700012345678",
        "cuGraphExecDestroy 0x7000000000",
        "cuCtxPopCurrent_v2",
    ]


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ("cuInit=100", "sees no GPU; in a container give it one"),
        ("cuInit=803", "different versions; reboot"),
        ("cuInit=999", "cuInit failed with error 999"),
        ("cuDeviceGetName=1", "cuDeviceGetName failed with error 1"),
    ],
)
def test_what_the_driver_refuses_is_told(
    stub: str, monkeypatch, failure: str, sentence: str
) -> None:
    monkeypatch.setenv("CUDA_STUB_FAIL", failure)
    with pytest.raises(BackendError, match=sentence):
        LibCuda(stub).gpu()


def test_a_driver_without_a_gpu_is_told(stub: str, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_STUB_GPUS", "0")
    with pytest.raises(BackendError, match="sees no GPU"):
        LibCuda(stub).gpu()


def test_an_invalid_capture_is_told_by_its_name(stub: str, monkeypatch) -> None:
    cuda = LibCuda(stub)
    monkeypatch.setenv("CUDA_STUB_FAIL", "cuStreamEndCapture=901")
    with pytest.raises(BackendError, match="cuStreamEndCapture failed with CUDA_ERROR_STREAM_CAPT"):
        cuda.end_capture(1)


def test_no_driver_is_told_with_the_way_to_get_one() -> None:
    with pytest.raises(BackendError, match=r"no NVIDIA driver.*--gpus all"):
        LibCuda("libcuda_that_is_not_there.so.1")


def test_a_library_that_is_no_driver_is_too_old() -> None:
    with pytest.raises(BackendError, match="too old: it has no cuInit"):
        LibCuda("libc.so.6")


def test_memory_that_linux_can_give_up_is_free(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 7800 kB\nMemFree: 100 kB\nMemAvailable:    2000 kB\n")
    assert _available_bytes(meminfo) == 2_048_000
    for damage in ("MemAvailable: many kB", "MemAvailable:", ""):
        meminfo.write_text(damage)
        assert _available_bytes(meminfo) == 0
    assert _available_bytes(tmp_path / "missing") == 0


@pytest.fixture(scope="module")
def pycuda_stub(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stub with all that PyCUDA's library wants to find when it is loaded."""
    found = importlib.util.find_spec("pycuda")
    if found is None or found.origin is None or shutil.which("nm") is None:
        pytest.skip("needs PyCUDA and nm")
    (library,) = Path(found.origin).parent.glob("_driver*.so")
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines() if line}
    wanted = [n for n in names if n.startswith("cu") and n[2:3].isupper()]
    return str(cuda_stub(tmp_path_factory.mktemp("pycuda"), " ".join(wanted)))


def driven(stub: str, log: Path, fail: str = "") -> tuple[dict[str, Any], list[str]]:
    """What `drive_pycuda` says, and the calls."""
    folders = f"{Path(stub).parent}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    environment = {"CUDA_STUB_LOG": str(log), "CUDA_STUB_FAIL": fail, "LD_PRELOAD": stub}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SUPPORT / "drive_pycuda.py")],
        env={**os.environ, **environment, "LD_LIBRARY_PATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), log.read_text().splitlines()


def test_pycuda_makes_the_calls_that_were_meant(pycuda_stub: str, tmp_path: Path) -> None:
    told, calls = driven(pycuda_stub, tmp_path / "calls")
    assert told["mapped"]
    assert told["copied"]
    assert "cuStreamCreate 1" in calls  # does not wait for the default stream of others
    assert "cuMemHostAlloc 1000 2" in calls  # mapped into the GPU's memory
    assert "cuModuleLoadDataEx .ver" in calls
    begin, end = calls.index("cuStreamBeginCapture_v2 0x57 1"), len(calls)
    assert calls[begin + 2 : end][:7] == [
        "cuLaunchKernel grid 3,2,1 block 64,1,1 shared 512 stream 0x57 "
        f"first {told['address']} bytes 8",
        "cuMemcpyHtoDAsync_v2 1000 0x57",
        "cuStreamEndCapture 0x57, 2 recorded",
        "cuGraphInstantiateWithFlags 0x6000000000 0",
        "cuGraphDestroy 0x6000000000",
        "cuGraphLaunch 0x7000000000 0x57",
        "cuGraphLaunch 0x7000000000 0x57",
    ]


@pytest.mark.parametrize("fail", ["", "cuMemAlloc_v2=2", "cuStreamEndCapture=901"])
def test_pycuda_gives_everything_back(pycuda_stub: str, tmp_path: Path, fail: str) -> None:
    told, calls = driven(pycuda_stub, tmp_path / "calls", fail)
    names = [call.split()[0] for call in calls]
    succeeded = {"cuMemAlloc_v2": not fail.startswith("cuMemAlloc")}
    for made, freed in [
        ("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2"),
        ("cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"),
        ("cuStreamCreate", "cuStreamDestroy_v2"),
        ("cuMemHostAlloc", "cuMemFreeHost"),
        ("cuMemAlloc_v2", "cuMemFree_v2"),
        ("cuGraphInstantiateWithFlags", "cuGraphExecDestroy"),
    ]:
        assert names.count(made) * succeeded.get(made, True) == names.count(freed), made
    if fail.startswith("cuMemAlloc"):
        assert told["memory"].startswith("not enough GPU memory: 0 MiB needed, ")
    elif fail:
        assert "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" in told["error"]
