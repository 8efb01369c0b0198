"""How depth follows the input size: the exponent is found whatever the manifest says before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.cli import main
from pag_ros.errors import DatasetError
from pag_ros.lab.datasets import size_exponent
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.datasets.size_exponent import SCALES, fit_sizes
from pag_ros.manifest import load_manifest, manifest_path
from pag_ros.runtime import Session


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("known", [0.0, 0.25])
@pytest.mark.parametrize(("power", "exponent"), [(0.7, 0.7), (-0.2, 0.0), (1.2, 1.0)])
def test_the_power_is_found_beside_what_is_corrected_already(
    known: float,
    power: float,
    exponent: float,
    rooms: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scale(dataset: object, session: Session, count: int, progress: object) -> float:
        return 1.1 * float((session.manifest.width / 64) ** (known - power))

    monkeypatch.setattr(size_exponent, "_depth_scale", scale)
    _set_exponent(model, known)
    assert fit_sizes(RoomPictures([rooms]), model, "cpu").exponent == exponent


def test_depth_follows_the_exponent_and_stays_at_the_own_size(rooms: Path, model: Path) -> None:
    frames: list[int] = []
    before = fit_sizes(RoomPictures([rooms]), model, "cpu", 3, lambda: frames.append(0))
    assert list(before.scales) == ["32x24", "48x40", "64x48", "96x72"]
    assert len(frames) == 3 * len(SCALES)
    _set_exponent(model, 0.25)
    after = fit_sizes(RoomPictures([rooms]), model, "cpu", 3)
    assert after.scales["64x48"] == pytest.approx(before.scales["64x48"], rel=1e-5)
    assert after.scales["96x72"] == pytest.approx(1.5**0.25 * before.scales["96x72"], rel=1e-3)


def test_the_command_tells_it_and_keeps_it(
    rooms: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--dataset", str(rooms), "--model", str(model), "--device", "cpu"]
    assert main([*command, "--fit-sizes", "--record", "--limit", "2", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert load_manifest(model).size_exponent == told["exponent"]
    assert load_manifest(model).scores == {}
    assert main([*command, "--fit-sizes", "--limit", "2"]) == 0
    assert "size_exponent" in capsys.readouterr().out
    for option in (["--size", "96x72"], ["--camera-height", "1.2"]):
        assert main([*command, "--fit-sizes", *option]) == 2
        assert "--fit-sizes takes one --dataset" in capsys.readouterr().err
    for option in (["--budgets", "1"], ["--mode", "fixed"], ["--trivial"], ["--out", "report"]):
        assert main([*command, "--fit-sizes", *option]) == 2
        assert f"{option[0]} is of no use with --fit-sizes" in capsys.readouterr().err
    assert main([*command, "--fit-sizes", "--precision", "bf16"]) == 2
    assert "--precision is of no use with --fit-sizes" in capsys.readouterr().err


def test_another_exponent_makes_scores_at_other_sizes_void(
    rooms: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["score", "--dataset", str(rooms), "--model", str(model), "--device", "cpu"]
    command += ["--limit", "2", "--record"]
    assert main([*command, "--size", "32x24"]) == 0
    assert load_manifest(model).scores_at.keys() == {"32x24"}
    assert main([*command, "--fit-sizes"]) == 0
    assert load_manifest(model).scores_at.keys() == {"32x24"}, "the exponent is the same"
    _set_exponent(model, 0.25)
    assert main([*command, "--fit-sizes"]) == 0
    assert "dropped from the manifest: scores at 32x24" in capsys.readouterr().err
    assert load_manifest(model).scores_at == {}


def test_rooms_without_depth_are_refused(rooms: Path, model: Path) -> None:
    index = rooms / "frames.jsonl"
    lines = [json.loads(line) | {"truths": ["labels"]} for line in index.read_text().splitlines()]
    index.write_text("\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(DatasetError, match="no sample has a true depth"):
        fit_sizes(RoomPictures([rooms]), model, "cpu", 1)


def _set_exponent(model: Path, exponent: float) -> None:
    path = manifest_path(model)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size_exponent": exponent}))
