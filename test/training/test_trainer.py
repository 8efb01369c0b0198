"""A training run in small: it learns, survives a kill, and leaves a network to export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import ParameterError  # noqa: E402
from pag_ros.model import NetworkConfig  # noqa: E402
from pag_ros.training.checkpoint import load_checkpoint  # noqa: E402
from pag_ros.training.trainer import Phase, TrainConfig, Trainer  # noqa: E402

NETWORK = NetworkConfig(
    blocks=2, channels=16, classes=2, heads=("depth", "normals", "segmentation", "boundary")
)


def config(iterations: int) -> TrainConfig:
    return TrainConfig(NETWORK, (Phase((64, 48), 2, iterations, 2e-3, 1e-3, 1.0),), frozen_blocks=0)


def train(rooms: Path, out: Path, iterations: int) -> Trainer:
    trainer = Trainer(config(iterations), [rooms], [rooms], out, pretrained=None)
    trainer.run()
    return trainer


def test_training_lowers_every_loss(rooms: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(30), [rooms], [rooms], tmp_path / "run", pretrained=None)
    before = trainer.validate((64, 48))["1.00"]
    trainer.run()
    batch_losses = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert batch_losses[-1]["iteration"] == 30
    trainer.average.module.load_state_dict(trainer.network.state_dict())
    after = trainer.validate((64, 48))["1.00"]
    assert all(after[head] < before[head] for head in NETWORK.heads)


def test_a_killed_run_goes_on_where_it_stopped(rooms: Path, tmp_path: Path) -> None:
    first = train(rooms, tmp_path / "run", 2)
    resumed = Trainer(config(4), [rooms], [rooms], tmp_path / "run", pretrained=None)
    resumed._resume()
    assert resumed.done == 2
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    resumed.run()
    assert resumed.done == 4


def test_a_checkpoint_of_another_network_is_refused(rooms: Path, tmp_path: Path) -> None:
    train(rooms, tmp_path / "run", 1)
    other = replace(config(2), network=replace(NETWORK, blocks=3))
    with pytest.raises(ParameterError, match="another network"):
        Trainer(other, [rooms], [rooms], tmp_path / "run", pretrained=None).run()


def test_checkpoint_holds_the_averaged_network(rooms: Path, tmp_path: Path) -> None:
    trainer = train(rooms, tmp_path / "run", 1)
    loaded = load_checkpoint(tmp_path / "run" / "checkpoint.pt").state_dict()
    for name, value in trainer.average.module.state_dict().items():
        assert torch.equal(value, loaded[name]), name


def test_densities_cover_full_smallest_and_everything_between(rooms: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(1), [rooms], [rooms], tmp_path, pretrained=None)
    density = trainer._densities(2000)
    assert float(density.min()) == pytest.approx(0.15)
    assert 0.15 < float((density == 1.0).all(dim=1).float().mean()) < 0.3
    assert 0.08 < float((density == 0.15).all(dim=1).float().mean()) < 0.2


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("phases: 3", "training configuration"),
        ("phases: [{size: [8, 8]}]", "batch"),
        ("- 1", "mapping"),
        ("a: [", "not a readable YAML"),
    ],
)
def test_bad_configuration_is_one_line(
    text: str, culprit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.yaml").write_text(text)
    arguments = ["train", "--config", str(tmp_path / "train.yaml"), "--data", "x"]
    assert main([*arguments, "--validation", "x", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert culprit in error
    assert error.count("\n") == 1
