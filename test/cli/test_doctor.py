"""`pag_ros doctor` says what works on any machine, whatever is broken there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engine_builders import KEY

from pag_ros.cli import main
from pag_ros.runtime import doctor
from pag_ros.runtime.doctor import examine, works
from pag_ros.runtime.tensorrt.engine_cache import EngineCache


def found(name: str):
    return next(finding for finding in examine() if finding.name == name)


def test_what_is_here_works(capsys):
    code = main(["doctor", "--json", "-"])
    said = json.loads(capsys.readouterr().out)
    states = {finding["name"]: finding["state"] for finding in said["findings"]}
    assert states["openvino"] == states["kernels"] == states["models"] == "works"
    assert said["verdicts"]["cpu"]
    assert code == (0 if said["verdicts"]["ros"] else 1)


def test_people_read_what_to_do(capsys):
    main(["doctor"])
    text = capsys.readouterr().out
    assert "Networks run on the CPU" in text
    assert "`device: auto` takes " in text
    assert "NVIDIA GPU: TensorRT session" in text


@pytest.mark.parametrize(
    ("content", "state", "text"),
    [
        ("raise RuntimeError('half installed')", "broken", "RuntimeError: half installed"),
        ("import os; os.abort()", "broken", "ends with code -6"),
        ("__version__ = '3.1'", "works", "3.1"),
    ],
)
def test_a_broken_package_ends_only_its_own_process(
    content: str, state: str, text: str, tmp_path: Path, monkeypatch
):
    (tmp_path / "openvino.py").write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = found("openvino")
    assert (finding.state, finding.text) == (state, text)
    assert bool(finding.advice) == (state != "works")


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("8.6.2", "8.6.2, too old: 10.0 is needed"),
        (
            "10.13.3.9",
            "10.13.3.9, where plugins in Python launch our kernels "
            "(engines hold them from 10.14 on)",
        ),
        ("10.14.1.48", "10.14.1.48, which takes our kernels into its engines"),
    ],
)
def test_how_this_tensorrt_runs_our_kernels_is_told(
    version: str, text: str, tmp_path: Path, monkeypatch
):
    (tmp_path / "tensorrt.py").write_text(f"__version__ = {version!r}")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(doctor.__file__).parents[2]}")
    assert found("tensorrt").text == text


def test_what_hangs_is_broken(tmp_path: Path, monkeypatch):
    (tmp_path / "openvino.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "_PATIENCE_S", 3.0)
    assert "does not answer" in found("openvino").text


def test_a_missing_package_is_absent_and_its_part_does_not_work(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", (("CPU", "no_such_package", "install it"),))
    findings = examine()
    (finding,) = [f for f in findings if f.name == "no_such_package"]
    assert (finding.state, finding.text) == ("absent", "not installed")
    assert finding.advice == "install it"
    assert not works(findings, "CPU")


def test_what_a_tensorrt_session_lacks_is_said_in_a_sentence(monkeypatch):
    """On any machine: with no GPU to be seen, it is the driver or the GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    finding = found("TensorRT session")
    assert finding.state in ("absent", "broken")
    assert "NVIDIA driver" in finding.text


def test_a_model_without_kernels_and_a_toolkit_are_named(tmp_path: Path, monkeypatch):
    (tmp_path / "cuda-12.6" / "bin").mkdir(parents=True)
    (tmp_path / "cuda-12.6" / "bin" / "nvcc").touch()
    (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3\nmore")
    monkeypatch.setattr(doctor, "_CUDA_FOLDER", tmp_path)
    monkeypatch.setattr(doctor, "_JETSON_RELEASE", tmp_path / "release")
    assert doctor._toolkit().text == "cuda-12.6, # R36 (release), REVISION: 4.3"
    monkeypatch.setattr(doctor, "shipped_models", lambda: {"a": tmp_path / "a.onnx"})
    finding = doctor._engines()
    assert finding.state == "absent"
    assert "a.kernels.zip" in finding.text
    assert "a.reference.npz" in finding.text


def test_engines_are_counted_as_the_cache_stores_them(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    EngineCache().obtain(KEY, lambda: (b"engine", {}))
    assert doctor._engines().text == f"1 built, in {tmp_path / 'pag_ros' / 'engines'}"


def test_an_instruction_set_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("PAG_ROS_ISA", "abacus")
    assert found("kernels").state == "broken"


@pytest.mark.parametrize(("faster", "said"), [(True, False), (False, True)])
def test_that_bf16_is_not_worth_its_instructions_is_said(monkeypatch, faster: bool, said: bool):
    monkeypatch.setattr(doctor, "has_native_bf16", lambda: True)
    monkeypatch.setattr(doctor, "bf16_is_faster", lambda: faster)
    assert ("bf16 slower than fp32" in found("kernels").text) == said


@pytest.mark.parametrize("look", [doctor._cache, doctor._engines])
def test_a_user_without_a_home_is_told_what_to_set(look: Any, monkeypatch):
    def unknown(number: int) -> Any:
        raise KeyError(number)

    for variable in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr(doctor, "shipped_models", dict)
    finding = look()
    assert finding.state == "broken"
    assert finding.text.endswith("set HOME or XDG_CACHE_HOME")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert found("cache").state == "broken"
