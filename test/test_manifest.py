"""The manifest: budgets, and refusing what does not belong together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pag_ros.errors import ModelError
from pag_ros.manifest import (
    BlockSpec,
    LabelClass,
    Manifest,
    load_manifest,
    manifest_path,
    save_manifest,
    sha256_of,
)

BLOCK = {"name": "block0", "height": 8, "width": 12, "channels": 16, "macs_per_pixel": 100}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A stand-in for an ONNX file with its manifest: only its bytes matter here."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights")
    save_manifest(manifest(sha256_of(path)), path)
    return path


def manifest(sha256: str = "0" * 64) -> Manifest:
    return Manifest(
        name="model",
        sha256=sha256,
        height=64,
        width=96,
        focal_range=(48.0, 144.0),
        depth_range_m=(0.3, 10.0),
        classes=(LabelClass("wall", (1, 2, 3)), LabelClass("floor", (4, 5, 6))),
        blocks=(BlockSpec("block0", 8, 12, 16, 100), BlockSpec("block1", 4, 6, 16, 100)),
        dense_macs=1000,
        heads=("depth",),
        license="Apache-2.0",
        training_data="none",
        budgets={"0.50": (60, 6), "1.00": (96, 24)},
    )


def test_what_is_saved_is_loaded(model: Path) -> None:
    assert load_manifest(model) == manifest(sha256_of(model))
    assert list(model.parent.glob("*.part")) == []


def test_scores_of_every_size_are_kept_and_may_be_missing(model: Path) -> None:
    scored = dataclasses.replace(
        load_manifest(model),
        scores={"1.00": {"depth delta1": 0.5}},
        scores_at={"48x32": {"1.00": {"depth delta1": 0.4}}},
        size_exponent=0.5,
    )
    save_manifest(scored, model)
    assert load_manifest(model) == scored
    data = json.loads(manifest_path(model).read_text())
    del data["scores_at"], data["size_exponent"]  # as written before there was any
    manifest_path(model).write_text(json.dumps(data))
    assert load_manifest(model) == dataclasses.replace(scored, scores_at={}, size_exponent=0.0)


@pytest.mark.parametrize(
    ("budget", "keep"),
    [(0.0, (0, 0)), (0.25, (30, 3)), (0.5, (60, 6)), (0.75, (78, 15)), (1.0, (96, 24))],
)
def test_budget_interpolates_between_the_rows(budget: float, keep: tuple[int, ...]) -> None:
    assert manifest().keep_for(budget) == keep


@pytest.mark.parametrize("budget", [-0.01, 1.01, float("nan")])
def test_budget_outside_its_range_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="budget"):
        manifest().keep_for(budget)


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: no such file"):
        load_manifest(tmp_path / "nowhere.onnx")


def test_missing_manifest_is_named(model: Path) -> None:
    manifest_path(model).unlink()
    with pytest.raises(ModelError, match=r"model\.json: no such file"):
        load_manifest(model)


def test_a_model_cut_short_is_refused(model: Path) -> None:
    model.write_bytes(b"weigh")
    with pytest.raises(ModelError, match="sha256"):
        load_manifest(model)


def test_without_labels_there_need_be_no_classes(model: Path) -> None:
    path = manifest_path(model)
    path.write_text(json.dumps({**json.loads(path.read_text()), "classes": []}))
    assert load_manifest(model).classes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"height": 100_000},
        {"classes": [], "heads": ["depth", "segmentation"]},
        {"blocks": [{"name": "block0"}]},
        {"budgets": {"0.50": [1]}},
        {"budgets": {"0.50": [97, 1]}},
        {"budgets": {"1.50": [1, 1]}},
        {"focal_range": [2.0, 1.0]},
        {"depth_range_m": None},
        {"depth_range_m": [1, 10**400]},
        {"height": True},
        {"height": 64.0},
        {"name": "\x1b]0;title\x07"},
        {"classes": [{"name": "wall", "color": [-1, 999, 0]}]},
        {"classes": [{"name": "wall\x1b[31m", "color": [0, 0, 0]}]},
        {"blocks": "block0"},
        {"blocks": []},
        {"blocks": 2 * [BLOCK], "budgets": {}},
        {"blocks": [{**BLOCK, "height": "8"}], "budgets": {}},
        {"blocks": [{**BLOCK, "macs_per_pixel": 0}], "budgets": {}},
        {"blocks": [{**BLOCK, "stride": 8}], "budgets": {}},
        {"heads": ["depth", "bogus"]},
        {"heads": []},
        {"budgets": []},
        {"budgets": {"nan": [1, 2]}},
        {"budgets": {"0.50": [1.5, 1]}},
        {"scores": {"1.00": {"depth delta1": float("nan")}}},
        {"scores": {"1.00": 3}},
        {"scores_at": {"48x32": 3}},
        {"scores_at": {"48x32": {"1.00": {"depth delta1": float("inf")}}}},
        {"scores_at": []},
        {"size_exponent": 1.5},
        {"size_exponent": "0.5"},
        {"sha256": "0" * 63 + "G"},
    ],
)
def test_a_damaged_manifest_is_refused(model: Path, change: dict[str, object]) -> None:
    path = manifest_path(model)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=r"model\.json: not a valid model manifest"):
        load_manifest(model)


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000])
def test_a_manifest_that_is_no_json_is_refused(model: Path, text: str) -> None:
    manifest_path(model).write_text(text)
    with pytest.raises(ModelError, match="not a valid model manifest"):
        load_manifest(model)


def test_manifest_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        manifest().name = "other"  # type: ignore[misc]
