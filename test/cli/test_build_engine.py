"""`pag_ros build`: which kind is meant, and what is told of an engine.

The opening of a session is a double; that an engine is really built only a GPU machine shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pag_ros.cli import build, build_engine, main
from pag_ros.runtime.tensorrt.engine_cache import BuiltEngine
from pag_ros.runtime.tensorrt.libcuda import LibCuda
from pag_ros.runtime.tensorrt.self_check import reference_path

SUMMARY = {
    "build_seconds": 93.6,
    "engine_bytes": 24 << 20,
    "device_bytes": 30 << 20,
    "precisions": {"fp16": 71, "fp32": 12},
    "plugins": [f"block{i}" for i in range(24)],
}


@pytest.fixture
def opened(monkeypatch) -> dict[str, Any]:
    """What a session was opened with; the engine that comes out may be replaced."""
    seen: dict[str, Any] = {
        "engine": BuiltEngine(b"engine", SUMMARY, True, Path("/cache/a.engine"), "none yet")
    }

    def open_tensorrt(model: Path, options: Any, precision: str) -> Any:
        seen.update(model=model, options=options, precision=precision)
        options.report(0.5, 40.0, "timing")
        options.say("building")
        session = SimpleNamespace(backend="tensorrt 10.13 fp16 Orin", close=lambda: None)
        return session, seen["engine"]

    monkeypatch.setattr(build_engine, "open_tensorrt", open_tensorrt)
    return seen


def test_a_models_name_means_its_engine() -> None:
    assert build.completed(["x.onnx", "--json", "-"]) == ["engine", "x.onnx", "--json", "-"]
    assert build.completed(["--force"]) == ["engine", "--force"]
    assert build.completed(["kernels", "x.onnx"]) == ["kernels", "x.onnx"]
    assert build.completed(["reference"]) == ["reference"]
    assert build.completed([]) == []
    assert build.completed(["-h"]) == ["-h"]


def test_people_read_what_the_engine_is(opened: dict[str, Any], tiny_model: Path, capsys) -> None:
    assert main(["build", str(tiny_model), "--force"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "engine: /cache/a.engine (built in 94 s)",
        "runs on: tensorrt 10.13 fp16 Orin",
        "numbers: those of the model",
        "layers by the type of what they give: 71 fp16, 12 fp32",
        "our kernels in it: 24",
        "size: 24 MiB, works in 30 MiB of GPU memory",
    ]
    assert "pag_ros: building" in told.err
    assert opened["model"] == tiny_model
    assert opened["options"].force
    assert opened["precision"] == "fp16"


def test_programs_read_json(opened: dict[str, Any], tiny_model: Path, capsys) -> None:
    opened["engine"] = BuiltEngine(b"engine", SUMMARY, False, Path("/cache/a.engine"))
    assert main(["build", str(tiny_model), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "backend": "tensorrt 10.13 fp16 Orin",
        "path": "/cache/a.engine",
        "built": False,
        "reason": "",
        "checked": False,
        **SUMMARY,
    }
    assert not opened["options"].force


def test_an_engine_that_tells_nothing_is_told_so(opened: dict[str, Any], tiny_model: Path, capsys):
    opened["engine"] = BuiltEngine(b"engine", {}, False, Path("/cache/a.engine"))
    assert main(["build", str(tiny_model)]) == 0
    printed = capsys.readouterr().out
    assert "numbers: NOT checked" in printed
    assert "our kernels in it: not told" in printed


def test_an_engine_that_could_not_be_stored_is_an_error(
    opened: dict[str, Any], tiny_model: Path, capsys
) -> None:
    opened["engine"] = BuiltEngine(b"engine", SUMMARY, True, None, "none yet")
    assert main(["build", str(tiny_model)]) == 2
    assert "could not be stored" in capsys.readouterr().err


def test_without_a_gpu_a_line_says_so(tiny_model: Path, capsys) -> None:
    try:
        LibCuda().gpu()
    except Exception:
        assert main(["build", str(tiny_model)]) == 2
        assert "NVIDIA driver" in capsys.readouterr().err
    else:
        pytest.skip("there is a GPU")


def test_a_reference_is_written_beside_the_model(model: Path, capsys) -> None:
    assert main(["build", "reference", str(model)]) == 0
    assert str(reference_path(model)) in capsys.readouterr().out
    first = reference_path(model).read_bytes()
    assert main(["build", "reference", str(model)]) == 0
    assert reference_path(model).read_bytes() == first
