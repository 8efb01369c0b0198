"""Models are found by name and by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pag_ros.errors import ModelError
from pag_ros.runtime import find_model, models, shipped_models


@pytest.fixture
def engines(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(models, "_engine_folders", lambda: iter([tmp_path / "no", tmp_path]))
    (tmp_path / "alpha.onnx").touch()
    (tmp_path / "beta.onnx").touch()
    return tmp_path


def test_a_shipped_model_is_found_by_its_name(engines: Path):
    assert find_model("alpha") == engines / "alpha.onnx"
    assert sorted(shipped_models()) == ["alpha", "beta"]


def test_any_model_is_found_by_its_path(engines: Path):
    assert find_model(engines / "beta.onnx") == engines / "beta.onnx"
    assert find_model(str(engines / "beta.onnx")) == engines / "beta.onnx"


def test_an_unknown_name_tells_which_there_are(engines: Path):
    with pytest.raises(ModelError, match="no model named 'gamma'; shipped: alpha, beta"):
        find_model("gamma")


def test_a_missing_file_is_told_by_its_path(engines: Path):
    with pytest.raises(ModelError, match=r"nowhere\.onnx: no such file"):
        find_model("nowhere.onnx")


def test_the_environments_share_folder_is_searched(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(models.sys, "prefix", str(tmp_path))
    assert tmp_path / "share" / "pag_ros" / "engines" in list(models._engine_folders())
