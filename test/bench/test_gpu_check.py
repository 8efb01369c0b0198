"""The GPU check as far as it goes without a GPU: what it asks, says and refuses.

No kernel is launched here. That the checks themselves hold on a GPU, only a GPU can show.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pag_ros.bench import (
    gpu_check,
    gpu_correctness,
    gpu_device,
    gpu_report,
    gpu_sanitizer,
    gpu_speed,
    gpu_tensorrt,
)
from pag_ros.bench.gpu_operands import expected, random_inputs, relative_error
from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec
from pag_ros.runtime import open_session

SCRIPT = Path(__file__).parents[2] / "tools" / "gpu_check"

ROWS = [
    {
        "channels": 256,
        "height": 30,
        "width": 40,
        "batch": batch,
        "density": density,
        "ours_us": 10.0,
        "select_us": 4.0,
        "dense_us": 20.0 * density,
        "speedup": 2.0 * density,
    }
    for batch in (1, 8)
    for density in (0.5, 1.0)
]
RESULT = {
    "machine": {"GPU": "none", "torch": "2"},
    "correctness": [
        {"kernel": "pag_stamp", "case": "5 ns later", "error": 0.0, "ok": True},
        {"kernel": "pag_conv", "case": "count 3", "error": 4e-4, "ok": True},
    ],
    "sanitizer": [{"tool": "memcheck", "outcome": "clean", "text": ""}],
    "speed": ROWS,
    "tensorrt": [
        {
            "model": "pag_x",
            "outcome": "ran",
            "text": "tensorrt 10",
            "budget": 0.5,
            "frame_ms": 3.21,
            "stages_ms": [1.0, 2.21],
        }
    ],
}


def test_networks_are_timed_over_budgets(monkeypatch, tiny_model):
    """With the CPU session in the place of TensorRT's."""
    plan = SimpleNamespace(checked=True)
    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: None)
    monkeypatch.setattr(
        gpu_tensorrt, "open_tensorrt", lambda model: (open_session(model, "cpu"), plan)
    )
    rows = list(gpu_tensorrt.measure([tiny_model], rounds=2))
    assert [row["budget"] for row in rows] == list(gpu_tensorrt.BUDGETS)
    for row in rows:
        assert row["outcome"] == "ran"
        assert 0.0 < sum(row["stages_ms"]) <= 2.0 * row["frame_ms"]
    assert gpu_check.is_right({"tensorrt": rows})


def test_a_plan_that_computes_something_else_is_a_failure(monkeypatch, tiny_model):
    def refuse(model):
        raise BackendError("the plan computes something else than the model: depth")

    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: None)
    monkeypatch.setattr(gpu_tensorrt, "open_tensorrt", refuse)
    result = {"machine": {}, "tensorrt": list(gpu_tensorrt.measure([tiny_model], rounds=1))}
    assert not gpu_check.is_right(result)
    assert "FAILED (the plan computes something else" in gpu_report.report(result)


def test_a_machine_without_tensorrt_is_told_and_not_wrong(monkeypatch, tiny_model):
    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: "TensorRT is not installed")
    result = {"machine": {}, "tensorrt": list(gpu_tensorrt.measure([tiny_model], rounds=1))}
    assert gpu_check.is_right(result)
    assert "ABSENT (TensorRT is not installed)" in gpu_report.report(result)


def test_without_a_gpu_it_says_so_in_one_sentence():
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("gpu_check: error: the GPU check needs ")
    assert done.stderr.count("\n") == 1


def test_what_was_measured_before_something_failed_is_not_lost(tmp_path, monkeypatch, capsys):
    def fail():
        raise BackendError("the CUDA driver says: out of memory (2)")

    parts = {"correctness": lambda: RESULT["correctness"], "speed": fail, "tensorrt": fail}
    monkeypatch.setattr(gpu_check, "import_torch", lambda: None)
    monkeypatch.setattr(gpu_check, "Device", lambda torch: None)
    monkeypatch.setattr(gpu_check, "_machine", lambda device: RESULT["machine"])
    monkeypatch.setattr(gpu_check, "_parts", lambda device, args: parts)
    path = tmp_path / "gpu.json"
    assert gpu_check.main(["--only", "speed", "correctness", "--json", str(path)]) == 2
    assert json.loads(path.read_text()) == {k: RESULT[k] for k in ("machine", "correctness")}
    said = capsys.readouterr()
    assert "2 of 2 cases right" in said.out
    assert said.err == "gpu_check: error: the CUDA driver says: out of memory (2)\n"


def test_a_package_that_is_missing_is_no_error_by_itself():
    """What needs Triton says so; TensorRT alone is timed without."""
    assert gpu_check._version("no-such-package") == "not installed"
    assert gpu_check._version("numpy") == np.__version__


def test_an_old_gpu_is_named():
    cuda = SimpleNamespace(
        is_available=lambda: True,
        get_device_capability=lambda: (7, 2),
        get_device_name=lambda: "Xavier",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        with pytest.raises(BackendError, match=r"Xavier has compute capability 7\.2, .*need 8\.0"):
            gpu_device.import_torch()


def test_a_result_as_markdown():
    text = gpu_report.report(RESULT)
    assert "2 of 2 cases right; largest relative error of a convolution 4.0e-04" in text
    assert "compute-sanitizer memcheck: clean" in text
    assert "| basic block | batch | dense us | select us | d=0.5 | d=1 |" in text
    assert "| 256 @ 30x40 | 8 | 10.0 | 4.0 | 1.00x | 2.00x |" in text
    assert "at d=0.5: 1.3x; 1.00x to 1.00x, NOT reached" in text
    assert "at d=1: 0.7x; 2.00x to 2.00x, reached" in text
    assert gpu_check.is_right(RESULT)
    assert json.loads(json.dumps(RESULT)) == RESULT


def test_what_is_wrong_shows_and_counts():
    row = {"kernel": "pag_conv", "case": "count 3", "error": 0.5, "ok": False}
    wrong = {**RESULT, "correctness": [row]}
    assert "WRONG: pag_conv, count 3: 0.5" in gpu_report.report(wrong)
    assert not gpu_check.is_right(wrong)
    errors = {"tool": "racecheck", "outcome": "errors", "text": "hazard"}
    assert not gpu_check.is_right({**RESULT, "sanitizer": [errors]})
    absent = {"tool": "racecheck", "outcome": "not installed", "text": ""}
    assert gpu_check.is_right({**RESULT, "sanitizer": [absent]})
    assert "racecheck: not installed" in gpu_report.report({**RESULT, "sanitizer": [absent]})


@pytest.mark.parametrize(("code", "outcome"), [(0, "clean"), (9, "errors"), (3, "failed")])
def test_a_sanitizers_verdict_is_its_exit_code(tmp_path, code, outcome):
    sanitizer = tmp_path / "compute-sanitizer"
    sanitizer.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    sanitizer.chmod(0o755)
    rows = gpu_sanitizer.sanitize(str(sanitizer), ["python3", "check"])
    assert [(row["tool"], row["outcome"]) for row in rows] == [
        ("memcheck", outcome),
        ("racecheck", outcome),
    ]
    if code:
        assert rows[1]["text"] == "--tool racecheck --error-exitcode 9 python3 check\n"


def test_a_sanitized_command_finds_the_modules_of_this_process(tmp_path, monkeypatch):
    """Of a checkout that is not installed, for one, whatever the folder is."""
    (tmp_path / "only_here.py").write_text("raise SystemExit(9)\n")
    monkeypatch.syspath_prepend(tmp_path)
    sanitizer = tmp_path / "compute-sanitizer"
    sanitizer.write_text('#!/bin/sh\nshift 4\nexec "$@"\n')
    sanitizer.chmod(0o755)
    rows = gpu_sanitizer.sanitize(str(sanitizer), [sys.executable, "-m", "only_here"])
    assert [row["outcome"] for row in rows] == ["errors", "errors"]


def test_no_sanitizer_is_no_error():
    assert {row["outcome"] for row in gpu_sanitizer.sanitize(None, ["x"])} == {"not installed"}


def test_the_counts_lie_around_a_tile():
    spec = ConvSpec(9, 13, 16, 16)
    assert gpu_correctness.counts_of(spec, 32) == [0, 1, 31, 33, 35, 82, 117]
    assert gpu_correctness.counts_of(ConvSpec(1, 2, 16, 16), 32) == [0, 1, 2]


def test_every_form_of_a_convolution_is_checked():
    specs = gpu_correctness.CONVOLUTIONS
    for name in ("x_rows", "out_rows", "base", "residual", "by_map", "in_place"):
        assert {getattr(spec, name) for spec in specs} == {False, True}, name
    assert {spec.kernel for spec in specs} == {1, 3}
    assert {spec.activation for spec in specs} == {"none", "relu", "relu6"}
    assert len(gpu_speed.cases()) == 4 * 4 * 4


def test_the_error_is_that_of_the_worst_value_and_of_listed_rows_only():
    spec = ConvSpec(5, 6, 8, 3, out_rows=True)
    inputs = random_inputs(spec, 10)
    rows = expected(spec, inputs).reshape(30, 3)[inputs["index"][:10]]
    y = np.full((30, 3), np.nan, np.float16)
    y[:10] = rows
    assert relative_error(spec, inputs, y) < 1e-3
    y[7, 1] += 0.5 * np.abs(rows).max()
    assert relative_error(spec, inputs, y) == pytest.approx(0.5, abs=0.01)
    y[7, 1] = np.nan
    assert not relative_error(spec, inputs, y) < gpu_correctness.MAX_RELATIVE_ERROR


class Simulated:
    """A device that answers Select by the definition, with a clock of its own."""

    def __init__(self, broken: bool = False) -> None:
        self.now = 10**12
        self.broken = broken

    def run(self, spec, inputs):
        self.now += 10**6
        clock = np.array([self.now], np.int64).view(np.int32)
        if isinstance(spec, StampSpec):
            return {"clock": clock}
        assert isinstance(spec, SelectSpec)
        score, plan = inputs["score"][0], inputs["plan"]
        wanted = int(inputs["keep"])
        if plan[2] > -np.inf:
            wanted = min(wanted, int((score > plan[2]).sum()))
        late = (self.now - int(inputs["clock"].view(np.int64)[0])) / 1e9 - plan[0]
        if late > 0:
            wanted = int(wanted * max(0.0, 1 - late / plan[1]))
        best = gpu_correctness.reference.select(score, wanted)
        slot = np.full(score.size, -1, np.int32)
        slot[best] = np.arange(wanted)
        slot[0] += self.broken
        count = np.array([wanted], np.int32)
        return {"index": best, "slot": slot, "count": count, "stamp": clock}


def test_a_right_select_passes_and_a_wrong_one_does_not():
    assert gpu_correctness.check_stamp(Simulated())["ok"]
    assert all(row["ok"] for row in gpu_correctness.check_select(Simulated(), ((7, 11),)))
    rows = list(gpu_correctness.check_select(Simulated(broken=True), ((7, 11),)))
    assert len(rows) == 6
    assert not any(row["ok"] for row in rows)


class RecordingDriver:
    """Stands for libcuda: remembers what is asked."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.launched: list[tuple] = []

    def cuModuleLoadData(self, module, image):  # noqa: N802
        assert image.startswith(b"\x7fELF")
        return self.status

    def cuModuleGetFunction(self, function, module, name):  # noqa: N802
        assert name == b"pag_select_h3_w4"
        return 0

    def cuLaunchKernel(self, function, *arguments):  # noqa: N802
        *sizes, stream, parameters, extra = arguments
        pointers = [ctypes.cast(p, ctypes.POINTER(ctypes.c_uint64))[0] for p in parameters]
        self.launched.append((sizes, stream.value, pointers, extra))
        return 0

    def cuGetErrorString(self, status, text):  # noqa: N802
        ctypes.cast(text, ctypes.POINTER(ctypes.c_char_p))[0] = b"no binary for gpu"
        return 0


def _fake_torch():
    cuda = SimpleNamespace(
        get_device_capability=lambda: (8, 7),
        current_stream=lambda: SimpleNamespace(cuda_stream=77),
    )
    return SimpleNamespace(cuda=cuda, zeros=lambda *_, **__: None)


class CudaLog:
    """Stands for torch.cuda: writes down what is recorded and replayed; time goes on at replays."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.now_ms = 0.0

    def current_stream(self):
        return SimpleNamespace(wait_stream=lambda other: None)

    Stream = current_stream

    def synchronize(self) -> None:
        self.said.append("synchronize")

    @contextmanager
    def stream(self, stream):
        yield

    @contextmanager
    def graph(self, graph):
        self.said.append("recording")
        yield
        self.said.append("recorded")

    def CUDAGraph(self):  # noqa: N802
        return SimpleNamespace(replay=lambda: self.said.append("replayed"))

    def Event(self, enable_timing):  # noqa: N802
        event = SimpleNamespace(synchronize=lambda: None)
        event.record = lambda: setattr(event, "at", self.now_ms)
        event.elapsed_time = lambda end: end.at - event.at
        return event


def _device_on(cuda: CudaLog) -> gpu_device.Device:
    cuda.get_device_capability = lambda: (9, 0)
    torch = SimpleNamespace(cuda=cuda, zeros=lambda *_, **__: None)
    return gpu_device.Device(torch, driver=RecordingDriver())


def test_work_runs_once_before_it_is_recorded_so_many_times_over():
    """What is loaded, compiled or chosen in a first run cannot be recorded."""
    cuda = CudaLog()
    _device_on(cuda).record(lambda: cuda.said.append("work"), repeats=2)
    assert cuda.said == ["work", "synchronize", "recording", "work", "work", "recorded"]


def test_what_a_recording_reads_lives_as_long_as_it():
    """A graph knows addresses only; torch would give the memory there to others."""

    class Tensor:
        pass

    tensor = Tensor()
    alive = weakref.ref(tensor)
    cuda = CudaLog()
    recording = _device_on(cuda).record(lambda tensor=tensor: None)
    del tensor
    gc.collect()
    assert alive() is not None
    recording.replay()
    assert cuda.said[-1] == "replayed"


def test_a_graphs_time_is_the_median_of_replays_that_take_turns():
    cuda = CudaLog()
    spent = {"a": iter([0, 1, 0, 3, 0, 2]), "b": iter([0, 5, 0, 9, 0, 7])}

    def graph(name: str) -> SimpleNamespace:
        def replay() -> None:
            cuda.said.append(name)
            cuda.now_ms += next(spent[name])

        return SimpleNamespace(replay=replay)

    assert _device_on(cuda).microseconds([graph("a"), graph("b")], rounds=3) == [2000.0, 7000.0]
    assert cuda.said == ["a", "a", "b", "b"] * 3


def test_a_launch_passes_sizes_and_pointers_in_the_programs_order():
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    driver, spec = RecordingDriver(), SelectSpec(3, 4)
    device = gpu_device.Device(_fake_torch(), driver)
    names = [tensor.name for tensor in (*spec.inputs, *spec.outputs)]
    tensors = {
        name: SimpleNamespace(data_ptr=lambda number=number: 4096 * number)
        for number, name in enumerate(names, 1)
    }
    kernel = device.kernel(spec)
    kernel.launch(tensors)
    assert device.kernel(spec) is kernel
    threads, shared = kernel.compiled.threads, kernel.compiled.shared_bytes
    pointers = [4096 * number for number in range(1, 9)]
    assert driver.launched == [([1, 1, 1, threads, 1, 1, shared], 77, pointers, None)]


def test_what_the_driver_says_is_passed_on():
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    device = gpu_device.Device(_fake_torch(), RecordingDriver(status=209))
    with pytest.raises(BackendError, match=r"the CUDA driver says: no binary for gpu \(209\)"):
        device.kernel(SelectSpec(3, 4))
