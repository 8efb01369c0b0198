"""The GPU check as far as it goes without a GPU: what it asks, says, keeps and refuses.

Its parts are stood for by programs that fail on purpose (`fake_parts`), the GPU by the interpreter
of PTX (`ptx_device`). That the checks themselves hold on a GPU, only a GPU can show.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import fake_parts
import numpy as np
import pytest

from pag_ros.errors import BackendError, ModelError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec
from pag_ros.lab.gpu_check import correctness as gpu_correctness
from pag_ros.lab.gpu_check import device as gpu_device
from pag_ros.lab.gpu_check import engine_check as gpu_tensorrt
from pag_ros.lab.gpu_check import main as gpu_check
from pag_ros.lab.gpu_check import parts as gpu_parts
from pag_ros.lab.gpu_check import profile as gpu_profile
from pag_ros.lab.gpu_check import report as gpu_report
from pag_ros.lab.gpu_check import sanitizer as gpu_sanitizer
from pag_ros.lab.gpu_check import speed as gpu_speed
from pag_ros.lab.gpu_check.cases import CheckCase, StoppedError, each
from pag_ros.lab.gpu_check.operands import expected, random_inputs, relative_error
from pag_ros.runtime import open_session

SCRIPT = Path(__file__).parents[3] / "tools" / "gpu_check"
SUPPORT = Path(__file__).parents[2] / "support"

SPEED = [
    {
        "part": "speed",
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
ROWS = [
    {"part": "machine", "facts": {"GPU": "none", "torch": "2"}},
    {"part": "build", "kernels": 34, "seconds": 7.6},
    {"part": "small", "kernel": "pag_stamp", "case": "5 ns later", "error": 0.0, "ok": True},
    {"part": "small", "kernel": "pag_conv", "case": "count 3", "error": 4e-4, "ok": True},
    *SPEED,
    {"part": "speed", "outcome": "skipped", "text": "12 of 64 cases, for want of time"},
    {
        "part": "tensorrt",
        "model": "pag_x",
        "outcome": "ran",
        "text": "tensorrt 10",
        "budget": 0.5,
        "frame_ms": 3.21,
        "stages_ms": [1.0, 2.21],
    },
    {"part": "profile", "kernel": "pag_conv", "metrics": {"Duration": "12 us"}},
    {"part": "sanitizer", "tool": "memcheck", "outcome": "clean", "text": ""},
]


def checked(
    monkeypatch, tmp_path, capsys, parts: dict, *arguments: str
) -> tuple[int, list[dict], str, str]:
    """Exit code, rows of the file, and what was printed, of a check whose parts are made up."""
    monkeypatch.setattr(gpu_check, "PARTS_MODULE", "fake_parts")
    monkeypatch.setenv("FAKE_PARTS", json.dumps(parts))
    path = tmp_path / "rows.jsonl"
    code = gpu_check.main([*arguments, "--json", str(path)])
    said = capsys.readouterr()
    return code, rows_of(path), said.out, said.err


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_parts_run_in_the_order_of_their_worth(monkeypatch, tmp_path, capsys):
    parts = ["correctness", "small", "stored"]
    code, rows, _, _ = checked(monkeypatch, tmp_path, capsys, {}, "--only", *parts)
    assert code == 0
    assert [row["part"] for row in rows] == ["machine", "small", "stored", "correctness"]
    assert list(gpu_check.SHARES) == list(gpu_parts.PARTS)


def test_a_part_that_fails_takes_no_other_along(monkeypatch, tmp_path, capsys):
    row = ["row", fake_parts.RIGHT]
    parts = {
        "small": [row, ["exit", 3]],
        "stored": [row, ["signal", int(signal.SIGSEGV)]],
        "correctness": [row],
    }
    options = ["--only", "small", "stored", "correctness"]
    code, rows, out, err = checked(monkeypatch, tmp_path, capsys, parts, *options)
    assert code == 1
    assert [(row["part"], row.get("outcome")) for row in rows[1:]] == [
        ("small", None),
        ("small", "failed"),
        ("stored", None),
        ("stored", "failed"),
        ("correctness", None),
    ]
    assert rows[2]["text"] == "it ended with code 3; what it said is above"
    assert rows[4]["text"] == "it was ended by SIGSEGV"
    assert "- stored: FAILED: it was ended by SIGSEGV" in out
    assert "gpu_check: stored failed: it was ended by SIGSEGV" in err


def test_a_part_that_dies_after_a_case_has_failed_is_noted_as_well(monkeypatch, tmp_path, capsys):
    failed = {"outcome": "failed", "case": "bad", "text": "no such kernel"}
    parts = {
        "small": [["row", failed], ["signal", int(signal.SIGSEGV)]],
        "stored": [["row", {"outcome": "failed", "text": "said why"}], ["exit", 1]],
    }
    options = ["--only", "small", "stored"]
    _, rows, _, err = checked(monkeypatch, tmp_path, capsys, parts, *options)
    assert [(row["part"], row["text"]) for row in rows[1:]] == [
        ("small", "no such kernel"),
        ("small", "it was ended by SIGSEGV"),
        ("stored", "said why"),
    ]
    assert "gpu_check: small failed: bad: no such kernel" in err


def test_a_part_that_has_said_what_is_left_is_not_called_stopped_as_well(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(gpu_check, "_REPORT_S", 0.0)
    skipped = {"outcome": "skipped", "text": "3 of 5 cases, for want of time"}
    parts = {"small": [["row", fake_parts.RIGHT], ["row", skipped], ["sleep", 600]]}
    options = ["--only", "small", "--minutes", "0.1"]
    _, rows, _, _ = checked(monkeypatch, tmp_path, capsys, parts, *options)
    assert [row.get("outcome") for row in rows] == [None, None, "skipped"]


def test_half_a_row_is_noted_and_the_other_parts_go_on(monkeypatch, tmp_path, capsys):
    parts = {"small": [["row", fake_parts.RIGHT], ["text", '{"case": "cou']]}
    code, rows, _, _ = checked(monkeypatch, tmp_path, capsys, parts, "--only", "small", "stored")
    assert code == 1
    assert [row["part"] for row in rows] == ["machine", "small", "small", "stored"]
    assert rows[2]["text"] == 'a row that cannot be read: {"case": "cou'


def test_every_part_is_reported_when_it_ends(tmp_path):
    """Whatever becomes of the check then."""
    parts = {"small": [["row", fake_parts.RIGHT]], "stored": [["sleep", 600]]}
    process, _ = started(tmp_path, parts, "--only", "small", "stored")
    assert process.stdout is not None
    too_long = threading.Timer(60.0, process.kill)
    too_long.start()
    lines = [process.stdout.readline() for _ in range(3)]
    too_long.cancel()
    process.kill()
    rest, _ = process.communicate(timeout=30)
    assert lines[:2] == ["GPU none\n", "\n"]
    assert lines[2].startswith("Correctness of small kernels: 1 of 1 cases right")
    assert rest == ""


@pytest.mark.parametrize("deaf", [[], [["deaf"]]])
def test_a_part_that_hangs_ends_with_its_time(monkeypatch, tmp_path, capsys, deaf):
    monkeypatch.setattr(gpu_check, "_REPORT_S", 0.0)
    hangs = [*deaf, ["row", fake_parts.RIGHT], ["sleep", 600]]
    options = ["--only", "small", "correctness", "--minutes", "0.2"]
    began = time.monotonic()
    code, rows, _, _ = checked(monkeypatch, tmp_path, capsys, {"small": hangs}, *options)
    assert time.monotonic() - began < 30.0
    assert code == 0  # It was not wrong, it was slow.
    assert [row.get("outcome") for row in rows] == [None, None, "stopped", None]
    assert rows[2]["text"].endswith("s were over")
    assert rows[3]["part"] == "correctness"


def test_time_is_shared_by_worth_and_what_is_left_goes_on(monkeypatch, tmp_path):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    check = gpu_check.Check(4.0, 100.0, None, [])
    wanted = ["small", "speed", "profile"]  # 2, 6 and 2 of 10
    assert check._seconds_for("small", wanted) == pytest.approx(235.0 * 0.2)
    now[0] += 5.0
    assert check._seconds_for("speed", wanted) == pytest.approx(230.0 * 0.75)
    now[0] += 220.0
    assert check._seconds_for("profile", wanted) == pytest.approx(10.0)
    assert gpu_check.Check(None, 100.0, None, [])._seconds_for("small", wanted) is None


def test_a_part_without_time_is_skipped_and_said(monkeypatch, tmp_path, capsys):
    options = ["--only", "small", "--minutes", "0.05"]
    monkeypatch.setattr(gpu_check, "_REPORT_S", 2.9)
    code, rows, out, _ = checked(monkeypatch, tmp_path, capsys, {}, *options)
    assert code == 0
    assert rows[-1] == {"part": "small", "outcome": "skipped", "text": "no time was left for it"}
    assert "- small: skipped: no time was left for it" in out


def test_a_part_is_told_its_time_and_options(monkeypatch, tmp_path, capsys):
    options = ["--only", "speed", "--minutes", "1", "--channels", "64", "--rounds", "3"]
    monkeypatch.setattr(gpu_report, "report", lambda rows: "")
    monkeypatch.setattr(gpu_check, "report", lambda rows: "")
    _, rows, _, _ = checked(monkeypatch, tmp_path, capsys, {}, *options)
    limit, seconds, *others = rows[-1]["options"]
    assert limit == "--seconds"
    assert 30.0 < float(seconds) < 0.85 * 55.0
    assert others == ["--rounds", "3", "--channels", "64"]


def test_what_cannot_be_written_or_makes_no_sense_is_told(tmp_path, capsys):
    path = tmp_path / "none" / "rows.jsonl"
    assert gpu_check.main(["--json", str(path)]) == 2
    assert capsys.readouterr().err == f"gpu_check: error: {path}: No such file or directory\n"
    for minutes in ("0", "-1", "nan", "inf", "x"):
        with pytest.raises(SystemExit):
            gpu_check.main(["--minutes", minutes])


def started(tmp_path: Path, parts: dict, *arguments: str) -> tuple[subprocess.Popen, Path]:
    """A check in a process of its own, and the file of its rows."""
    path = tmp_path / "rows.jsonl"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SCRIPT.parents[1]}:{SUPPORT}",
        "PYTHONUNBUFFERED": "",
        "FAKE_PARTS": json.dumps(parts),
    }
    process = subprocess.Popen(
        [sys.executable, str(SUPPORT / "run_gpu_check.py"), *arguments, "--json", str(path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, path


def wait_for_rows(path: Path, count: int) -> None:
    end = time.monotonic() + 60.0
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < end
        time.sleep(0.05)


HANGS = {"small": [["row", fake_parts.RIGHT], ["row", fake_parts.RIGHT], ["sleep", 600]]}


def test_a_killed_check_has_lost_no_row(tmp_path):
    process, path = started(tmp_path, HANGS, "--only", "small", "stored")
    wait_for_rows(path, 3)
    process.kill()
    process.communicate(timeout=30)  # so its part is gone as well: it would hold stderr open
    assert [row["part"] for row in rows_of(path)] == ["machine", "small", "small"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("deaf", [[], [["deaf"]]])
def test_a_signal_ends_it_with_a_report(tmp_path, number, deaf):
    parts = {"small": [*deaf, *HANGS["small"]]}
    process, path = started(tmp_path, parts, "--only", "small", "stored")
    wait_for_rows(path, 3)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "Correctness of small kernels: 2 of 2 cases right" in out
    assert [(row["part"], row.get("text")) for row in rows_of(path)[3:]] == [
        ("small", "by a signal"),
        ("stored", "stopped by a signal"),
    ]


def test_what_libraries_print_is_no_row(tmp_path):
    """A real part, on a stand-in for the GPU that prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{SCRIPT.parents[1]}:{SUPPORT}",
        gpu_device.REHEARSAL: "printing_device:PrintingDevice",
    }
    (tmp_path / "printing_device.py").write_text(
        "import cpu_device\n"
        "class PrintingDevice(cpu_device.DefinedDevice):\n"
        "    def facts(self):\n"
        "        print('a library says hello')\n"
        "        return {'GPU': 'none'}\n"
    )
    environment["PYTHONPATH"] += f":{tmp_path}"
    done = subprocess.run(
        [sys.executable, "-m", "pag_ros.lab.gpu_check.parts", "machine"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout.splitlines()[-1])["facts"]["GPU"] == "none"
    assert all("facts" in json.loads(line) for line in done.stdout.splitlines())
    assert "a library says hello" in done.stderr


def options(**changes: object) -> argparse.Namespace:
    given = {"channels": [64], "batches": [1], "densities": [0.5], "rounds": 1, "end": math.inf}
    return argparse.Namespace(**{**given, **changes})


@pytest.fixture
def interpreted(monkeypatch) -> None:
    """Kernels compiled for 9.0 and run by the interpreter of PTX, in the place of a GPU."""
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    from ptx_device import PtxDevice

    monkeypatch.setattr(gpu_parts, "open_device", PtxDevice)


class Threads(ThreadPoolExecutor):
    """In the place of the processes that compile, so that fakes reach them."""

    def __init__(self, workers: int, context: object) -> None:
        super().__init__(workers)


@pytest.fixture
def compiling(monkeypatch):
    """Sets what compiles in the part `build`."""
    monkeypatch.setattr(gpu_parts, "ProcessPoolExecutor", Threads)
    monkeypatch.setattr(gpu_parts, "open_device", lambda: SimpleNamespace(capability=90))
    return lambda compile_kernel: monkeypatch.setattr(gpu_parts, "compile_kernel", compile_kernel)


def test_kernels_that_the_compiler_refuses_are_a_row_each(compiling):
    """As with a Triton that leaves out the fence of proxies."""
    specs, _ = gpu_parts._all_specs(options())
    refused = {spec.name for spec in specs[5:7]}

    def compile_kernel(spec, capability):
        if spec.name in refused:
            raise BackendError(f"Triton 3.6.0 makes a data race of {spec.name}")

    compiling(compile_kernel)
    *failed, row = gpu_parts.PARTS["build"](options())
    assert {each["case"] for each in failed} == refused
    assert all(each["text"].endswith(each["case"]) for each in failed)
    assert row["kernels"] == len(specs) - 2


def test_compilation_ends_with_its_time_and_says_how_far_it_came(compiling):
    goes_on = threading.Event()
    compiling(lambda spec, capability: goes_on.wait(5))
    rows = gpu_parts.PARTS["build"](options(end=time.monotonic() - 1.0))
    assert next(rows)["kernels"] == 0
    skipped = next(rows)
    goes_on.set()
    assert list(rows) == []
    specs, _ = gpu_parts._all_specs(options())
    left = f"{len(specs)} of {len(specs)}"
    assert skipped == {"outcome": "skipped", "text": f"{left} kernels, for want of time"}


def test_a_process_that_dies_while_it_compiles_is_one_row(compiling):
    def compile_kernel(spec, capability):
        raise BrokenProcessPool("A process was terminated abruptly")

    compiling(compile_kernel)
    rows = list(gpu_parts.PARTS["build"](options()))
    assert [row.get("outcome") for row in rows] == ["failed", None]
    assert rows[0]["text"].startswith("a process that compiles has died")


def test_a_model_that_cannot_be_read_takes_no_kernel_along(compiling, monkeypatch):
    def refuse(model):
        raise ModelError("it is damaged")

    monkeypatch.setattr(gpu_parts, "_specs_of", refuse)
    compiling(lambda spec, capability: None)
    *failed, row = gpu_parts.PARTS["build"](options())
    assert {(each["case"], each["text"]) for each in failed} == {
        (model.stem, "it is damaged") for model in gpu_parts.shipped_models().values()
    }
    assert row["kernels"] > 30
    monkeypatch.setattr(gpu_parts, "open_device", lambda: SimpleNamespace(capability=90))
    stored = list(gpu_parts.PARTS["stored"](options()))
    assert [row["text"] for row in stored] == ["it is damaged"] * len(failed)


def test_one_kernel_that_cannot_be_had_leaves_the_others_checked(interpreted, monkeypatch):
    """The Select among the small ones, and one of the stored ones."""
    from ptx_device import PtxDevice

    device = PtxDevice()
    kernel, load = device.kernel, device.load

    def refuse_select(spec):
        if isinstance(spec, SelectSpec):
            raise BackendError(f"no {spec.name}")
        return kernel(spec)

    def refuse_first(spec, compiled):
        if isinstance(spec, SelectSpec):
            raise BackendError("the CUDA driver says: no")
        return load(spec, compiled)

    monkeypatch.setattr(gpu_parts, "open_device", lambda: device)
    monkeypatch.setattr(gpu_correctness, "counts_of", lambda spec, tile: [1])
    monkeypatch.setattr(device, "kernel", refuse_select)
    rows = list(gpu_parts.PARTS["small"](options()))
    assert [row.get("outcome") for row in rows] == [None, "failed", *[None] * 5]
    assert rows[1]["case"] == "pag_select_h7_w11"
    assert rows[1]["text"] == "no pag_select_h7_w11"
    monkeypatch.setattr(device, "load", refuse_first)
    rows = list(gpu_parts.PARTS["stored"](options()))
    failed = [row for row in rows if row.get("outcome") == "failed"]
    assert len(failed) >= 3
    assert failed[0]["case"].startswith("pag_select_h24_w32 of pag_")
    assert failed[0]["case"].endswith(" for 8.7 and 8 SMs")
    assert len(rows) > 2 * len(failed)


def test_small_kernels_are_right_on_an_interpreted_gpu(interpreted):
    rows = list(gpu_parts.PARTS["small"](options()))
    assert len(rows) == 1 + 6 + sum(
        len(gpu_correctness.counts_of(spec, 32)) for spec in gpu_correctness.SMALL
    )
    assert gpu_report.is_right(rows)


def test_the_stored_code_of_orin_is_run_as_ptx(interpreted, monkeypatch):
    monkeypatch.setattr(gpu_correctness, "counts_of", lambda spec, tile: [tile + 1])
    rows = list(gpu_parts.PARTS["stored"](options()))
    assert gpu_report.is_right(rows)
    kinds = {row["case"].partition(", stored ")[2] for row in rows}
    assert "PTX for 8.7 and 8 SMs" in kinds
    assert "PTX for 8.7 and 16 SMs" in kinds
    assert "machine code for 9.0 and 132 SMs" in kinds


def test_a_block_is_timed_beside_the_dense_one(interpreted, monkeypatch):
    monkeypatch.setattr(gpu_speed, "SIZES", ((7, 11),))
    (row,) = gpu_parts.PARTS["speed"](options(channels=[16]))
    assert row["speedup"] == pytest.approx(row["dense_us"] / row["ours_us"])


def test_where_our_block_fails_the_dense_one_is_timed_all_the_same(interpreted, monkeypatch):
    from ptx_device import PtxDevice

    device = PtxDevice()

    def refuse(spec):
        raise BackendError(f"no {spec.name}")

    monkeypatch.setattr(device, "kernel", refuse)
    monkeypatch.setattr(gpu_parts, "open_device", lambda: device)
    monkeypatch.setattr(gpu_speed, "SIZES", ((7, 11),))
    rows = list(gpu_parts.PARTS["speed"](options(channels=[16], densities=[0.5, 1.0])))
    assert rows[0]["dense_us"] > 0.0
    assert "ours_us" not in rows[0]
    assert rows[1] == {
        "outcome": "failed",
        "case": "16 @ 7x11, batch 1 at d=0.5, 1",
        "text": "no pag_select_h7_w11",
    }
    text = gpu_report.report([{"part": "speed", **row} for row in rows])
    dense = f"{rows[0]['dense_us']:.1f}"
    assert f"| 16 @ 7x11 | 1 | {dense} |  |  |" in text
    assert "- speed, 16 @ 7x11, batch 1 at d=0.5, 1: FAILED: no pag_select_h7_w11" in text


def test_the_profiler_finds_the_kernels_of_a_block(interpreted, monkeypatch):
    from ptx_device import PtxDevice

    device = PtxDevice()
    monkeypatch.setattr(gpu_profile, "open_device", lambda: device)
    assert gpu_profile.main() == 0
    kinds = [type(spec).__name__ for spec in device.launched]
    assert kinds == ["SelectSpec", "ConvSpec", "ConvSpec"]


def test_cases_end_with_the_time_and_the_rest_is_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def measure(number: int) -> list[dict]:
        now[0] += 1.0
        return [{"case": number}]

    cases = [CheckCase(f"case {n}", lambda n=n: measure(n)) for n in range(5)]
    assert list(each(cases, end=2.5)) == [
        {"case": 0},
        {"case": 1},
        {"case": 2},
        {"outcome": "skipped", "text": "2 of 5 cases, for want of time"},
    ]


def failing(error: BaseException):
    """A measurement that gives a row and then fails."""
    yield {"half": "measured"}
    raise error


GOOD = CheckCase("good", lambda: [{"case": "good"}])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BackendError("no such kernel"), "no such kernel"),
        (RuntimeError("CUDA out of memory\nby 3 MiB"), "CUDA out of memory by 3 MiB"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_case_that_fails_is_named_and_the_others_go_on(capfd, error, text):
    """Whatever it raises; what it had measured stays."""
    rows = list(each([CheckCase("bad", lambda: failing(error)), GOOD], math.inf))
    assert rows == [
        {"half": "measured"},
        {"outcome": "failed", "case": "bad", "text": text},
        {"case": "good"},
    ]
    assert not gpu_report.is_right(rows)
    is_foreseen = isinstance(error, BackendError)
    assert ("Traceback" in capfd.readouterr().err) == (not is_foreseen)


def test_a_spoiled_context_ends_the_part_and_the_rest_is_counted():
    """Every other launch would fail for the same reason."""

    def fail() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    cases = [CheckCase("bad", lambda: failing(BackendError("no"))), GOOD, GOOD]
    rows = list(each(cases, math.inf, SimpleNamespace(synchronize=fail)))
    assert [row.get("text") for row in rows] == [
        None,
        "no",
        "2 of 3 cases: the GPU takes no more work from here on",
    ]
    rows = list(each(cases, math.inf, SimpleNamespace(synchronize=lambda: None)))
    assert rows[2:] == [{"case": "good"}] * 2


def test_a_case_that_is_interrupted_is_named():
    rows = list(each([GOOD, CheckCase("slow", lambda: failing(StoppedError())), GOOD], math.inf))
    assert rows[1:] == [
        {"half": "measured"},
        {"outcome": "stopped", "case": "slow", "text": "case 2 of 3, for want of time"},
    ]


def test_an_interruption_is_nobodys_failure():
    """Triton's own errors, for one, are caught whatever they are."""
    with pytest.raises(StoppedError):
        gpu_parts._stop(signal.SIGTERM, None)
    assert not issubclass(StoppedError, Exception)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_the_goals_come_first():
    cases = gpu_speed.cases()
    assert len(cases) == 4 * 4 * 4
    ranks = [gpu_speed._rank(case) for case in cases]
    assert ranks == sorted(ranks)
    assert {(case.batch, case.channels) for case in cases[:8]} == {(8, 256), (8, 512)}


def test_all_kernels_are_compiled_beforehand():
    specs, problems = gpu_parts._all_specs(options(channels=gpu_speed.CHANNELS))
    names = {spec.name for spec in specs}
    assert problems == []
    for case in gpu_speed.cases():
        assert {spec.name for spec in gpu_speed.programs_of(case)} <= names
    for spec in (*gpu_correctness.SMALL, *gpu_correctness.LARGE, StampSpec()):
        assert spec.name in names


@pytest.mark.parametrize("spec", gpu_correctness.SMALL, ids=lambda spec: spec.name)
def test_two_ways_to_the_definition_agree(spec):
    torch = pytest.importorskip("torch")
    for count in (0, 5, spec.pixels):
        inputs = random_inputs(spec, count)
        given = {name: torch.from_numpy(array) for name, array in inputs.items()}
        found = gpu_correctness.gathered(torch, spec, given).numpy()
        wanted = expected(spec, inputs).reshape(spec.pixels, spec.features)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


DETAILS = """==PROF== Connected to process 12
==PROF== Disconnected from process 12
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","12","pag_select_h30_w40","GPU Speed Of Light","Duration","us","11.2"
"0","12","pag_select_h30_w40","GPU Speed Of Light","Elapsed Cycles","cycle","9,876"
"0","12","pag_select_h30_w40","Occupancy","Achieved Occupancy","%","48.9"
"1","12","pag_conv","GPU Speed Of Light","Duration","us","7.1"
"""


def test_a_profile_is_read_from_the_page_of_details():
    assert list(gpu_profile.read_details(DETAILS)) == [
        {
            "kernel": "pag_select_h30_w40",
            "metrics": {"Duration": "11.2 us", "Achieved Occupancy": "48.9 %"},
        },
        {"kernel": "pag_conv", "metrics": {"Duration": "7.1 us"}},
    ]
    assert list(gpu_profile.read_details("==ERROR== no permission")) == []


def test_a_profiler_that_fails_says_why(tmp_path):
    profiler = tmp_path / "ncu"
    profiler.write_text("#!/bin/sh\necho '==ERROR== ERR_NVGPUCTRPERM' >&2\nexit 1\n")
    profiler.chmod(0o755)
    (row,) = gpu_profile.profile(str(profiler), ["python3"])
    assert row["outcome"] == "failed"
    assert "ended with code 1: ==ERROR== ERR_NVGPUCTRPERM" in row["text"]
    profiler.write_text("#!/bin/sh\nexec sleep 60\n")
    (row,) = gpu_profile.profile(str(profiler), ["python3"], time.monotonic() + 0.2)
    assert row == {"outcome": "failed", "text": "ncu was not done after 0 s"}
    assert next(gpu_profile.profile(None, []))["outcome"] == "absent"


def test_networks_are_timed_over_budgets(monkeypatch, tiny_model):
    """With the CPU session in the place of TensorRT's."""
    engine = SimpleNamespace(checked=True)
    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: None)
    monkeypatch.setattr(
        gpu_tensorrt, "open_tensorrt", lambda model, options: (open_session(model, "cpu"), engine)
    )
    rows = list(gpu_tensorrt.measure([tiny_model], rounds=2))
    assert [row["budget"] for row in rows] == list(gpu_tensorrt.BUDGETS)
    for row in rows:
        assert row["outcome"] == "ran"
        assert 0.0 < sum(row["stages_ms"]) <= 2.0 * row["frame_ms"]
    assert gpu_report.is_right(rows)


def test_an_engine_that_computes_something_else_is_a_failure(monkeypatch, tiny_model):
    def refuse(model, options):
        raise BackendError("the engine computes something else than the model: depth")

    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: None)
    monkeypatch.setattr(gpu_tensorrt, "open_tensorrt", refuse)
    rows = [{"part": "tensorrt", **row} for row in gpu_tensorrt.measure([tiny_model], rounds=1)]
    assert not gpu_report.is_right(rows)
    assert "tensorrt, tiny: FAILED: the engine computes something else" in gpu_report.report(rows)


def test_a_build_that_takes_too_long_is_ended_and_named(monkeypatch, tiny_model):
    """TensorRT asks after every step; of two models the first gets half of the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: None)
    limits = []

    def build(model, options):
        began = now[0]
        while not options.is_stopped() and now[0] < began + 9999.0:
            now[0] += 1.0
        limits.append(now[0] - began)
        raise BackendError("the build of the engine was stopped")

    monkeypatch.setattr(gpu_tensorrt, "open_tensorrt", build)
    rows = list(gpu_tensorrt.measure([tiny_model, tiny_model], 1, end=180.0))
    assert limits == [41.0, 39.0 + 1.0]
    assert [row["outcome"] for row in rows] == ["failed", "failed"]
    assert rows[0]["text"] == "the build of the engine was stopped, for its 40 s were over"
    now[0], limits[:] = 100.0, []
    list(gpu_tensorrt.measure([tiny_model], 1, end=180.0, shared_by=4))
    list(gpu_tensorrt.measure([tiny_model], 1))
    assert limits == [21.0, gpu_tensorrt.BUILD_S + 1.0]


def test_a_refusal_in_time_is_no_want_of_time(monkeypatch, tiny_model):
    def refuse(model, options):
        raise BackendError("TensorRT cannot build the engine")

    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: None)
    monkeypatch.setattr(gpu_tensorrt, "open_tensorrt", refuse)
    (row,) = gpu_tensorrt.measure([tiny_model], 1)
    assert row["text"] == "TensorRT cannot build the engine"


def test_a_machine_without_tensorrt_is_told_and_not_wrong(monkeypatch, tiny_model):
    monkeypatch.setattr(gpu_tensorrt, "tensorrt_problem", lambda: "TensorRT is not installed")
    rows = [{"part": "tensorrt", **row} for row in gpu_tensorrt.measure([tiny_model], rounds=1)]
    assert gpu_report.is_right(rows)
    assert "tensorrt, all: absent: TensorRT is not installed" in gpu_report.report(rows)


def test_without_a_gpu_it_says_so_in_one_sentence():
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": "/usr/bin:/bin"}
    environment["PYTHONPATH"] = str(SCRIPT.parents[1])
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    facts, failed = done.stdout.splitlines()
    assert facts.endswith(f"Python {platform.python_version()}")
    assert failed.startswith("- machine: FAILED: the GPU check needs ")
    assert done.stderr.startswith("gpu_check: error: the GPU check needs ")
    assert done.stderr.count("\n") == 1


def test_the_machine_is_described_before_torch_is_imported(tmp_path):
    """Which may end the process, or hang."""
    (tmp_path / "torch.py").write_text("import os\nos._exit(7)\n")
    path = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{tmp_path}:{SCRIPT.parents[1]}", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2
    first, failed = rows_of(path)
    assert first["facts"]["Python"] == platform.python_version()
    assert first["facts"]["torch"]
    assert f"Python {platform.python_version()}" in done.stdout
    assert failed["text"] == "it ended with code 7; what it said is above"


def test_what_the_driver_tells_of_the_gpu_needs_no_torch(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 580.65, 1980 MHz, 2619 MHz, 700.00 W'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    facts = gpu_parts._driver_facts()
    assert facts["GPU"] == "NVIDIA H100"
    assert facts["driver_version"] == "580.65"
    assert facts["power.limit"] == "700.00 W"


def test_facts_that_are_told_twice_are_reported_once():
    rows = [{"part": "machine", "facts": {"GPU": "H100", "torch": "2.9"}}]
    rows.append({"part": "machine", "facts": {"torch": "2.9+cu130"}})
    assert gpu_report.report(rows) == "GPU H100, torch 2.9+cu130"
    rows = [{"part": "machine", "facts": {"torch": "2.9"}}, {**rows[0], "facts": {"GPU": "Orin"}}]
    assert gpu_report.report(rows) == "GPU Orin, torch 2.9"


def test_a_package_that_is_missing_is_no_error_by_itself():
    """What needs Triton says so; TensorRT alone is timed without."""
    assert gpu_parts._version("no-such-package") == "not installed"
    assert gpu_parts._version("numpy") == np.__version__


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


def test_rows_as_markdown():
    text = gpu_report.report(ROWS)
    assert text.startswith("GPU none, torch 2\n\n34 kernels compiled in 8 s.\n")
    assert "Correctness of small kernels: 2 of 2 cases right; largest relative error" in text
    assert "of a convolution 4.0e-04" in text
    assert "- sanitizer, memcheck: clean" in text
    assert "| basic block | batch | dense us | select us | d=0.5 | d=1 |" in text
    assert "| 256 @ 30x40 | 8 | 10.0 | 4.0 | 1.00x | 2.00x |" in text
    assert "at d=0.5: 1.3x; 1.00x to 1.00x, NOT reached" in text
    assert "at d=1: 0.7x; 2.00x to 2.00x, reached" in text
    assert "- speed: skipped: 12 of 64 cases, for want of time" in text
    assert "- TensorRT, pag_x at budget 0.5: 3.21 ms (tensorrt 10)" in text
    assert "- pag_conv: Duration 12 us" in text
    assert gpu_report.is_right(ROWS)


def test_a_goal_is_not_said_to_be_reached_by_what_was_measured_alone():
    dense = {**SPEED[2], "width": 80}
    for name in ("ours_us", "select_us", "speedup"):
        del dense[name]
    assert dense["batch"] == 8
    text = gpu_report.report([dense, *SPEED])
    assert "at d=0.5: 1.3x; 1.00x to 1.00x, NOT reached, 1 of 2 blocks not measured" in text
    assert "at d=1: 0.7x; 2.00x to 2.00x, reached\n" in f"{text}\n"


def test_cases_that_fail_alike_are_one_line():
    failed = {"part": "speed", "outcome": "failed", "text": "no such kernel"}
    rows = [{**failed, "case": f"block {number}"} for number in range(7)]
    rows.append({**failed, "case": "other", "text": "another reason"})
    assert gpu_report.report(rows).splitlines() == [
        "- speed, block 0; block 1; block 2; block 3; and 3 more: FAILED: no such kernel",
        "- speed, other: FAILED: another reason",
    ]


def test_a_network_that_was_not_timed_at_every_budget_is_reported():
    def row(model: str, budget: float) -> dict:
        times = {"ours_ms": 2.0, "dense_ms": 4.0, "dense_plain_ms": 3.0, "speedup": 1.5}
        about = {"part": "torch", "outcome": "ran", "text": "checked"}
        return {**about, "model": model, "budget": budget, **times}

    text = gpu_report.report([row("one", 0.1), row("one", 1.0), row("two", 0.1)])
    assert "| one | 4.000 | 3.000 | 2.000 ms, 1.50x | 2.000 ms, 1.50x |" in text
    assert "| two | 4.000 | 3.000 | 2.000 ms, 1.50x |  |" in text


def test_what_is_wrong_shows_and_counts():
    row = {"part": "stored", "kernel": "pag_conv", "case": "count 3", "error": 0.5, "ok": False}
    assert "WRONG: pag_conv, count 3: 0.5" in gpu_report.report([row])
    assert not gpu_report.is_right([*ROWS, row])
    errors = {"part": "sanitizer", "tool": "racecheck", "outcome": "errors", "text": "hazard"}
    assert not gpu_report.is_right([*ROWS, errors])
    assert "sanitizer, racecheck: ERRORS: hazard" in gpu_report.report([errors])
    for outcome in ("absent", "skipped", "stopped"):
        assert gpu_report.is_right([*ROWS, {**errors, "outcome": outcome}])


@pytest.mark.parametrize(("code", "outcome"), [(0, "clean"), (9, "errors"), (3, "failed")])
def test_a_sanitizers_verdict_is_its_exit_code(tmp_path, code, outcome):
    sanitizer = tmp_path / "compute-sanitizer"
    sanitizer.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    sanitizer.chmod(0o755)
    row = gpu_sanitizer.sanitize(str(sanitizer), "racecheck", ["python3", "check"])
    assert (row["tool"], row["outcome"]) == ("racecheck", outcome)
    if code:
        assert row["text"] == "--tool racecheck --error-exitcode 9 python3 check\n"


def test_a_sanitized_command_finds_the_modules_of_this_process(tmp_path, monkeypatch):
    """Of a checkout that is not installed, for one, whatever the folder is."""
    (tmp_path / "only_here.py").write_text("raise SystemExit(9)\n")
    monkeypatch.syspath_prepend(tmp_path)
    sanitizer = tmp_path / "compute-sanitizer"
    sanitizer.write_text('#!/bin/sh\nshift 4\nexec "$@"\n')
    sanitizer.chmod(0o755)
    command = [sys.executable, "-m", "only_here"]
    assert gpu_sanitizer.sanitize(str(sanitizer), "memcheck", command)["outcome"] == "errors"


def test_no_sanitizer_is_no_error():
    assert gpu_sanitizer.sanitize(None, "memcheck", ["x"])["outcome"] == "absent"


def test_the_counts_lie_around_a_tile():
    spec = ConvSpec(9, 13, 16, 16)
    assert gpu_correctness.counts_of(spec, 32) == [0, 1, 31, 33, 35, 82, 117]
    assert gpu_correctness.counts_of(ConvSpec(1, 2, 16, 16), 32) == [0, 1, 2]


def test_every_form_of_a_convolution_is_checked():
    specs = (*gpu_correctness.SMALL, *gpu_correctness.LARGE)
    for name in ("x_rows", "out_rows", "base", "residual", "by_map", "in_place"):
        assert {getattr(spec, name) for spec in specs} == {False, True}, name
    assert {spec.kernel for spec in specs} == {1, 3}
    assert {spec.activation for spec in specs} == {"none", "relu", "relu6"}


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

    def run(self, spec, inputs, kernel=None):
        self.now += 10**6
        clock = np.array([self.now], np.int64).view(np.int32)
        if isinstance(spec, StampSpec):
            return {"clock": clock}
        assert isinstance(spec, SelectSpec)
        score, limits = inputs["score"][0], inputs["limits"]
        wanted = int(inputs["keep"])
        if limits[2] > -np.inf:
            wanted = min(wanted, int((score > limits[2]).sum()))
        late = (self.now - int(inputs["clock"].view(np.int64)[0])) / 1e9 - limits[0]
        if late > 0:
            wanted = int(wanted * max(0.0, 1 - late / limits[1]))
        best = gpu_correctness.reference.select(score, wanted)
        slot = np.full(score.size, -1, np.int32)
        slot[best] = np.arange(wanted)
        slot[0] += self.broken
        count = np.array([wanted], np.int32)
        return {"index": best, "slot": slot, "count": count, "stamp": clock}


def test_a_right_select_passes_and_a_wrong_one_does_not():
    assert gpu_correctness.check_stamp(Simulated())["ok"]
    assert all(row["ok"] for row in gpu_correctness.check_select(Simulated(), SelectSpec(7, 11)))
    rows = list(gpu_correctness.check_select(Simulated(broken=True), SelectSpec(7, 11)))
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
