"""`pag_ros train`: from a file of settings to weights, and on from weights to other heads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch")

from pag_ros.cli import main  # noqa: E402
from pag_ros.lab.training.checkpoint import load_weights  # noqa: E402
from pag_ros.lab.training.config import TrainConfig  # noqa: E402

CONFIGS = sorted((Path(__file__).parents[3] / "config" / "train").glob("*.yaml"))


def write_config(path: Path, **network: Any) -> Path:
    phase = {"size": [64, 48], "batch": 2, "iterations": 1, "encoder_rate": 0.0}
    values = {
        "network": {"blocks": 2, "channels": 16, "classes": ["wall", "floor"], **network},
        "phases": [{**phase, "learning_rate": 1e-3, "final_learning_rate": 1e-4}],
        "workers": 0,
        "recalibrate": 1,
    }
    path.write_text(yaml.safe_dump(values))
    return path


def train(rooms: Path, config: Path, out: Path, *more: str) -> int:
    data = ["--data", str(rooms), "--validation", str(rooms)]
    return main(["train", "--config", str(config), *data, "--out", str(out), *more])


def test_trained_weights_start_another_run_with_another_head(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(rooms, write_config(tmp_path / "a.yaml", heads=["depth"]), first) == 0
    config = write_config(tmp_path / "b.yaml", heads=["depth", "segmentation"])
    start = ["--initialize", str(first / "network.safetensors")]
    assert train(rooms, config, second, *start) == 0
    assert "new heads" in capsys.readouterr().out
    network = load_weights(second / "network.safetensors")
    assert network.config.class_names == ("wall", "floor")
    stem = "encoder._conv_stem.weight"  # frozen, so it shows where the run started
    assert torch.equal(
        network.state_dict()[stem], load_weights(first / "network.safetensors").state_dict()[stem]
    )
    pytest.importorskip("matplotlib")
    assert (second / "curves.png").is_file()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    config = TrainConfig.from_mapping(yaml.safe_load(path.read_text()))
    assert config.iterations > 0
    assert config.gating == ("paper" if path.stem.startswith("paper") else "budgets")
    if config.gating == "paper":
        assert config.network.gate_scope == "conv3x3"


def test_weights_of_another_network_are_one_line(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(rooms, write_config(tmp_path / "a.yaml"), tmp_path / "first") == 0
    other = write_config(tmp_path / "b.yaml", channels=24)
    start = ["--initialize", str(tmp_path / "first" / "network.safetensors")]
    capsys.readouterr()
    assert train(rooms, other, tmp_path / "second", *start) == 2
    error = capsys.readouterr().err
    assert "its channels is 16" in error


def test_export_takes_the_weights_that_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pag_ros.lab.model import NetworkConfig, build_network
    from pag_ros.lab.training.checkpoint import save_weights

    config = NetworkConfig(blocks=2, channels=16, classes=2)
    save_weights(build_network(config), tmp_path / "network.safetensors")
    seen: list[object] = []
    monkeypatch.setattr("pag_ros.lab.export.export_dense", lambda network, *_: seen.append(network))
    arguments = ["--out", str(tmp_path / "a.onnx"), "--size", "64x48", "--dense"]
    assert main(["export", str(tmp_path / "network.safetensors"), *arguments]) == 0
    assert seen[0].config == config


def test_export_writes_the_weights_of_the_file_beside_it(tmp_path: Path) -> None:
    """For the size that is asked for, and rounded as the file's: another export gives the same."""
    from pag_ros.lab.model import NetworkConfig, build_network
    from pag_ros.lab.training.checkpoint import save_weights
    from pag_ros.manifest import load_manifest

    config = NetworkConfig(blocks=2, channels=16, classes=14)
    save_weights(build_network(config), tmp_path / "trained.safetensors")
    card = str(Path(__file__).parents[3] / "engines/pag_lite0_indoor.yaml")

    def export(name: str, out: str, *options: str) -> str:
        arguments = ["--out", str(tmp_path / out), "--size", "48x32", "--card", card, *options]
        assert main(["export", str(tmp_path / name), *arguments]) == 0
        return load_manifest(tmp_path / out).sha256

    weights = str(tmp_path / "small.safetensors")
    first = export("trained.safetensors", "a.onnx", "--trained-size", "96x64", "--weights", weights)
    assert export("small.safetensors", "b.onnx") == first
    trained, small = (load_weights(tmp_path / f"{n}.safetensors") for n in ("trained", "small"))
    moved = small.decoder.heads["depth"].bias - trained.decoder.heads["depth"].bias
    assert moved.item() == pytest.approx(0.65 * math.log(0.5), abs=1e-3)


def test_the_example_of_the_manual_runs() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    exec(manual.split("```python\n")[1].split("```")[0], {})
