"""A tuned model runs in what it was measured in: scores beside those in float32, and ranges."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino")

from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.tuning import precisions
from pag_ros.lab.tuning.precisions import PrecisionLoss, record_precisions
from pag_ros.manifest import load_manifest
from pag_ros.runtime import open_session
from pag_ros.runtime.openvino.quantization import load_quantization, quantization_path
from pag_ros.runtime.precision import chosen_precision, loss_in

BUDGETS = 1.0, 0.5


class Counting:
    def __init__(self) -> None:
        self.total = self.done = 0

    def stage(self, text: str, total: int | None = 0) -> None:
        self.total += total or 0

    def step(self) -> None:
        self.done += 1

    def say(self, line: str) -> None:
        raise AssertionError(line)


@pytest.fixture(autouse=True)
def both_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor without bfloat16 OpenVINO computes the same, slowly."""
    has(monkeypatch, ["int8", "bf16"])


def has(monkeypatch: pytest.MonkeyPatch, native: list[str]) -> None:
    for module in ("lab.tuning.precisions", "runtime.openvino.session"):
        monkeypatch.setattr(f"pag_ros.{module}.native_precisions", lambda: native)
    monkeypatch.setattr("pag_ros.runtime.openvino.session.slow_precisions", list)


def recorded(model: Path, rooms: Path) -> dict[str, PrecisionLoss]:
    dataset = RoomPictures([rooms])
    found = record_precisions(model, dataset, rooms, [dataset], BUDGETS, Counting())
    return {loss.precision: loss for loss in found}


def test_auto_can_choose_for_a_recorded_model(model: Path, rooms: Path) -> None:
    pytest.importorskip("nncf", reason="needs nncf: pip install 'pag_ros[bench]'")
    losses = recorded(model, rooms)
    manifest = load_manifest(model)
    assert set(manifest.scores_in) == {"bf16", "int8"}
    for name, scores in manifest.scores_in.items():
        assert {b: set(row) for b, row in scores.items()} == {
            b: set(row) for b, row in manifest.scores.items()
        }
        assert losses[name].loss == loss_in(name, manifest) is not None
    assert set(manifest.scores) == {"1.00", "0.50"}
    assert load_quantization(model, manifest.sha256).roundings
    session = open_session(model, "cpu", 1, precision="auto")
    session.close()
    assert f" {chosen_precision('auto', manifest, ['int8', 'bf16'])} " in session.backend


def test_without_nncf_it_is_said_how_to_get_it_and_the_rest_is_recorded(
    model: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    losses = recorded(model, rooms)
    assert "pip install 'pag_ros[bench]', and run the same command again" in losses["int8"].text()
    assert losses["int8"].loss is None
    assert not quantization_path(model).exists()
    assert load_manifest(model).scores_in.keys() == {"bf16"}


def test_where_the_command_would_begin_anew_another_one_is_named(
    model: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    dataset = RoomPictures([rooms])
    found = record_precisions(
        model, dataset, rooms, [dataset], BUDGETS, Counting(), "`pag_ros quantize`"
    )
    told = {loss.precision: loss.text() for loss in found}
    assert "pip install 'pag_ros[bench]', and `pag_ros quantize`" in told["int8"]


def test_what_the_processor_lacks_is_not_scored_and_the_command_is_named(
    model: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    has(monkeypatch, [])
    losses = recorded(model, rooms)
    command = f"`pag_ros score --model {model} --dataset {rooms} --device cpu --precision bf16 "
    assert command + "--record`" in losses["bf16"].text()
    manifest = load_manifest(model)
    assert manifest.scores
    assert manifest.scores_in == {}


def test_frames_without_a_truth_tell_no_loss(
    model: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    index = rooms / "frames.jsonl"
    lines = [json.loads(line) | {"truths": []} for line in index.read_text().splitlines()]
    index.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert recorded(model, rooms)["bf16"].text().endswith("the held-out frames have no truth")


def test_of_many_frames_some_are_scored_in_every_precision(
    model: Path, rooms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    monkeypatch.setattr(precisions, "SCORED_FRAMES", 2)
    dataset, progress = RoomPictures([rooms]), Counting()
    record_precisions(model, dataset, rooms, [dataset], BUDGETS, progress)
    assert progress.total == progress.done == 2 * len(("fp32", "bf16"))


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (0.01, "a task loses 1.0 % at most; precision auto takes it where it is the fastest"),
        (0.023, "a task loses 2.3 % at most; precision auto does not take it"),
        (-0.02, "a task loses 0.0 % at most; precision auto takes it where it is the fastest"),
    ],
)
def test_a_loss_is_told_with_what_auto_makes_of_it(loss: float, text: str) -> None:
    assert PrecisionLoss("bf16", loss).text() == text
