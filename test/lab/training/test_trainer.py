"""A training run in small: it learns, survives a kill, and leaves a network to export."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import (  # noqa: E402
    DatasetError,
    ModelError,
    ParameterError,
    TrainingError,
)
from pag_ros.lab.model import NetworkConfig  # noqa: E402
from pag_ros.lab.model.gating import DenseGating, TopKGating  # noqa: E402
from pag_ros.lab.model.network import camera_normals  # noqa: E402
from pag_ros.lab.training import arithmetic  # noqa: E402
from pag_ros.lab.training.best import is_better  # noqa: E402
from pag_ros.lab.training.checkpoint import load_checkpoint, load_weights  # noqa: E402
from pag_ros.lab.training.distillation import distillation_losses  # noqa: E402
from pag_ros.lab.training.modes import Pass  # noqa: E402
from pag_ros.lab.training.refusals import MAX_REFUSED_STEPS  # noqa: E402
from pag_ros.lab.training.rooms import Rooms  # noqa: E402
from pag_ros.lab.training.scales import drawn_scale  # noqa: E402
from pag_ros.lab.training.trainer import Phase, TrainConfig, Trainer  # noqa: E402

NETWORK = NetworkConfig(
    blocks=2, channels=16, classes=2, heads=("depth", "normals", "segmentation", "boundary")
)


def config(iterations: int) -> TrainConfig:
    phases = (Phase((64, 48), 2, iterations, 2e-3, 1e-3, 1.0),)
    return TrainConfig(NETWORK, phases, frozen_blocks=0, recalibrate=0, workers=0)


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


def test_batches_come_at_the_sizes_that_are_drawn(rooms: Path, tmp_path: Path) -> None:
    settings = replace(config(12), scales=(1.0, 0.5))
    trainer = Trainer(settings, [rooms], [rooms], tmp_path / "run", pretrained=None)
    seen = []
    trainer.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2:]))
    trainer.run()
    expected = [drawn_scale(settings, iteration) for iteration in range(12)]
    assert [tuple(size) for size in seen] == [
        (round(48 * scale), round(64 * scale)) for scale in expected
    ]
    assert set(expected) == {1.0, 0.5}


def test_canonical_normals_are_learned_as_they_are_shipped(rooms: Path, tmp_path: Path) -> None:
    """What is exported turns them back, so a perfect network has no error at any focal length."""
    network = replace(NETWORK, canonical_normals=True)
    settings = replace(config(1), network=network)
    trainer = Trainer(settings, [rooms], [rooms], tmp_path / "run", pretrained=None)
    seen: list[dict] = []
    trainer._guide_losses = lambda outputs, taught, batch: seen.append(batch) or {}
    trainer.run()
    validated, trained = seen[-1], seen[0]
    for batch in (trained, validated):
        turned = camera_normals(batch["normals"], batch["focal_px"], batch["image"].shape[3])
        length = turned.norm(dim=1)
        known = ~length.isnan()
        wall = (batch["labels"] == 0) & known
        slope = (turned[:, 0] / turned[:, 2])[wall]
        torch.testing.assert_close(slope.abs(), torch.full_like(slope, 0.75), atol=0.02, rtol=0)
        flat = (batch["normals"][:, 0] / batch["normals"][:, 2])[wall]
        assert not torch.allclose(flat.abs(), torch.full_like(flat, 0.75), atol=0.02)


def test_finished_weights_of_16_bits_lose_nothing_in_their_file(
    rooms: Path, tmp_path: Path
) -> None:
    sizes = {}
    for half in (False, True):
        out = tmp_path / str(half)
        Trainer(replace(config(2), half=half), [rooms], [rooms], out, pretrained=None).run()
        sizes[half] = (out / "network.safetensors").stat().st_size
    assert sizes[True] < 0.6 * sizes[False]


def test_a_killed_run_goes_on_where_it_stopped(rooms: Path, tmp_path: Path) -> None:
    first = train(rooms, tmp_path / "run", 2)
    resumed = Trainer(config(4), [rooms], [rooms], tmp_path / "run", pretrained=None)
    resumed._resume()
    assert resumed.pacing.done == 2
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    resumed.run()
    assert resumed.pacing.done == 4


def test_a_checkpoint_of_another_network_is_refused(rooms: Path, tmp_path: Path) -> None:
    train(rooms, tmp_path / "run", 1)
    other = replace(config(2), network=replace(NETWORK, blocks=3))
    with pytest.raises(ParameterError, match="another network"):
        Trainer(other, [rooms], [rooms], tmp_path / "run", pretrained=None).run()


def test_a_step_that_overflows_leaves_weights_and_statistics_as_they_were(
    rooms: Path, tmp_path: Path
) -> None:
    trainer = Trainer(config(30), [rooms], [rooms], tmp_path / "run", pretrained=None)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    batch = trainer._frame(Rooms([rooms], (64, 48), train=True)[0])
    overflow = torch.full_like(batch["image"].float(), float("inf"))

    row = trainer._step({**batch, "image": overflow})

    assert row["refused"] == 1.0
    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert trainer._step(batch)["refused"] == 0.0


def test_a_run_whose_steps_are_all_refused_ends_with_the_reason(
    rooms: Path, tmp_path: Path
) -> None:
    trainer = Trainer(config(30), [rooms], [rooms], tmp_path / "run", pretrained=None)
    trainer.network.trunk[1].bn1.running_var.fill_(torch.inf)
    with pytest.raises(TrainingError, match=r"trunk\.1\.bn1\.running_var infinite or NaN"):
        trainer.run()
    assert trainer.pacing.done == MAX_REFUSED_STEPS - 1
    assert not (tmp_path / "run" / "network.safetensors").exists()


def test_a_checkpoint_that_is_no_numbers_is_not_gone_on_from(rooms: Path, tmp_path: Path) -> None:
    first = train(rooms, tmp_path / "run", 1)
    first.network.trunk[0].bn2.running_var.fill_(torch.nan)
    first._save()
    with pytest.raises(ModelError, match=r"checkpoint\.pt: 16 of 16 .*trunk\.0\.bn2\.running_var"):
        train(rooms, tmp_path / "run", 2)


def test_new_statistics_are_kept_where_the_old_ones_give_no_number(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalibrated = replace(config(1), recalibrate=1)
    trainer = Trainer(recalibrated, [rooms], [rooms], tmp_path / "run", pretrained=None)
    losses = iter([0.5, float("nan")])  # with new statistics, with the old ones
    monkeypatch.setattr(trainer, "_loss", lambda scores: next(losses))
    trainer.run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert rows[-1]["recalibrated"] is True


@pytest.mark.parametrize(
    ("loss", "than", "better"),
    [
        (1.0, 2.0, True),
        (2.0, 1.0, False),
        (1.0, 1.0, False),
        (1.0, float("nan"), True),
        (float("nan"), 1.0, False),
        (float("nan"), float("nan"), False),
        (1.0, float("inf"), True),
        (float("inf"), float("nan"), False),
    ],
)
def test_a_loss_that_is_no_number_is_never_better(loss: float, than: float, better: bool) -> None:
    assert is_better(loss, than) is better


def test_a_checkpoint_that_is_cut_off_is_named(rooms: Path, tmp_path: Path) -> None:
    train(rooms, tmp_path / "run", 1)
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"checkpoint\.pt: not a checkpoint"):
        train(rooms, tmp_path / "run", 2)


def test_a_checkpoint_with_other_trained_weights_is_refused(rooms: Path, tmp_path: Path) -> None:
    train(rooms, tmp_path / "run", 1)
    other = replace(config(2), frozen_blocks=2)
    with pytest.raises(ModelError, match=r"checkpoint\.pt: not a checkpoint that fits this run"):
        Trainer(other, [rooms], [rooms], tmp_path / "run", pretrained=None).run()


def test_a_damaged_log_is_named(rooms: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("nothing\n")
    with pytest.raises(DatasetError, match=r"log\.jsonl: not the log of"):
        train(rooms, tmp_path, 1)


def test_a_missing_validation_set_is_found_before_the_first_iteration(
    rooms: Path, tmp_path: Path
) -> None:
    trainer = Trainer(config(1), [rooms], [tmp_path / "none"], tmp_path / "run", pretrained=None)
    with pytest.raises(DatasetError, match="none"):
        trainer.run()
    assert trainer.pacing.done == 0
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_one_line(rooms: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ParameterError, match="file/run: cannot be written to"):
        train(rooms, tmp_path / "file" / "run", 1)


def test_checkpoint_holds_the_averaged_network(rooms: Path, tmp_path: Path) -> None:
    trainer = train(rooms, tmp_path / "run", 1)
    loaded = load_checkpoint(tmp_path / "run" / "checkpoint.pt").state_dict()
    for name, value in trainer.average.module.state_dict().items():
        assert torch.equal(value, loaded[name]), name


def killed_and_resumed(rooms: Path, out: Path, settings: TrainConfig, after: int) -> Trainer:
    """Raises in the middle of an iteration that no checkpoint holds, then starts again."""
    first = Trainer(settings, [rooms], [rooms], out, pretrained=None)
    step = first._step

    def killed(batch: dict[str, torch.Tensor]) -> dict[str, float]:
        if first.pacing.done == after:
            raise KeyboardInterrupt
        return step(batch)

    first._step = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = Trainer(settings, [rooms], [rooms], out, pretrained=None)
    second.run()
    return second


def rows(out: Path) -> list[dict[str, object]]:
    """The log without what a clock says."""
    found = [json.loads(line) for line in (out / "log.jsonl").open()]
    for row in found:
        row.get("train", {}).pop("seconds", None)
    return found


@pytest.mark.parametrize("gating", ["budgets", "paper"])
def test_a_killed_run_ends_exactly_as_an_unbroken_one(
    gating: str, rooms: Path, tmp_path: Path
) -> None:
    settings = replace(config(4), gating=gating, validate_every=2, log_every=2, recalibrate=1)
    settings = replace(settings, phases=(*settings.phases, *config(2).phases))
    unbroken = Trainer(settings, [rooms], [rooms], tmp_path / "unbroken", pretrained=None)
    unbroken.run()
    resumed = killed_and_resumed(rooms, tmp_path / "killed", settings, after=3)
    for kept in ("network", "average"):
        state = getattr(resumed, kept).state_dict()
        for name, value in getattr(unbroken, kept).state_dict().items():
            assert torch.equal(value, state[name]), (kept, name)
    assert rows(tmp_path / "killed") == rows(tmp_path / "unbroken")


def test_paper_mode_reports_the_density_it_has_come_to(rooms: Path, tmp_path: Path) -> None:
    settings = replace(config(4), gating="paper", rho=0.5, rho_weight=1.0, log_every=2)
    Trainer(settings, [rooms], [rooms], tmp_path, pretrained=None).run()
    log = rows(tmp_path)
    assert log[0]["train"]["rate"] > 0.0
    assert set(log[-1]["validation"]) == {"threshold"}
    assert 0.0 <= log[-1]["validation"]["threshold"]["density"] <= 1.0


def test_the_rate_term_moves_the_gates_towards_rho(rooms: Path, tmp_path: Path) -> None:
    phase = Phase((64, 48), 2, 8, 4.0, 4.0, 0.0)
    settings = replace(config(8), gating="paper", rho=0.3, rho_weight=20.0, log_every=1)
    settings = replace(settings, phases=(phase,))
    Trainer(settings, [rooms], [rooms], tmp_path, pretrained=None).run()
    rates = [row["train"]["rate"] for row in rows(tmp_path) if "train" in row]
    assert min(rates) < 0.5 * rates[0]


def test_the_sandwich_trains_small_budgets_on_the_full_one(rooms: Path, tmp_path: Path) -> None:
    settings = replace(config(2), sandwich=True, log_every=1)
    Trainer(settings, [rooms], [rooms], tmp_path, pretrained=None).run()
    first = rows(tmp_path)[0]["train"]
    assert first["distillation"] > 0.0
    assert set(NETWORK.heads) <= set(first)


@pytest.mark.parametrize("heads", [("boundary",), ("segmentation", "depth")])
def test_any_subset_of_heads_trains(heads: tuple[str, ...], rooms: Path, tmp_path: Path) -> None:
    settings = replace(config(1), network=replace(NETWORK, heads=heads), class_weights=(1.0, 2.0))
    Trainer(settings, [rooms], [rooms], tmp_path, pretrained=None).run()
    assert set(heads) <= set(rows(tmp_path)[0]["train"])


@pytest.mark.parametrize(("faster", "precision"), [(False, torch.float32), (True, torch.bfloat16)])
def test_a_network_learns_in_bfloat16_where_that_is_faster(
    faster: bool,
    precision: torch.dtype,
    rooms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arithmetic, "bfloat16_is_faster", lambda device: faster)
    trainer = Trainer(config(1), [rooms], [rooms], tmp_path, pretrained=None)
    seen: list[torch.dtype] = []
    trainer.network.decoder.register_forward_hook(
        lambda _, __, outputs: seen.append(outputs["depth"].dtype)
    )
    trainer.run()
    assert seen == [precision]


def test_the_weights_that_travel_are_the_averaged_network(rooms: Path, tmp_path: Path) -> None:
    trainer = train(rooms, tmp_path / "run", 1)
    loaded = load_weights(tmp_path / "run" / "network.safetensors").state_dict()
    for name, value in trainer.average.module.state_dict().items():
        if ".gate." not in name:  # their scores have a unit there
            assert torch.equal(value, loaded[name]), name


def test_a_frozen_resnet_still_trains_its_gates(rooms: Path, tmp_path: Path) -> None:
    network = NetworkConfig("resnet18", heads=("depth",), output_stride=32)
    phase = replace(config(1).phases[0], encoder_rate=0.0)
    settings = TrainConfig(network, (phase,), frozen_blocks=4, recalibrate=0, workers=0)
    trainer = Trainer(settings, [rooms], [rooms], tmp_path, pretrained=None)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.run()
    after = trainer.network.state_dict()
    assert not torch.equal(
        after["encoder.layer2.1.gate.weight"], before["encoder.layer2.1.gate.weight"]
    )
    assert torch.equal(
        after["encoder.layer2.1.conv1.weight"], before["encoder.layer2.1.conv1.weight"]
    )


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("phases: 3", "training configuration"),
        ("phases: [{size: [8, 8]}]", "batch"),
        ("- 1", "mapping"),
        ("a: [", "not a training configuration"),
        ("phases: []", "at least one"),
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
    assert "train.yaml: " in error
    assert error.count("\n") == 1


def finetuned(rooms: Path, out: Path, stop=lambda: False, **changes: object) -> Trainer:
    """A run that starts from weights that keep what they knew, and has no truth but depth."""
    if not (out / "start" / "network.safetensors").is_file():
        train(rooms, out / "start", 2)
    own = out / "own"
    if not own.is_dir():
        shutil.copytree(rooms, own)
        index = own / "frames.jsonl"
        lines = [json.loads(line) | {"truths": ["depth"]} for line in index.open()]
        index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {"guide": "start", "keeps_best": True, "warm_up": 1, "final_share": 1.0}
    return Trainer(
        replace(config(6), **{"validate_every": 2, **settings, **changes}),
        [own],
        [own],
        out / "run",
        None,
        out / "start" / "network.safetensors",
        stop=stop,
    )


def outputs_of(network: torch.nn.Module, rooms: Path) -> dict[str, torch.Tensor]:
    image = Rooms([rooms], (64, 48), train=False)[3]["image"][None].float()
    with torch.no_grad():
        return network.eval()(image, DenseGating())


def test_heads_without_truth_stay_where_they_were(rooms: Path, tmp_path: Path) -> None:
    """The same run once with and once without the start; what has no truth is to move less."""
    moved = {}
    for name, guide in (("kept", "start"), ("free", "none")):
        phase = replace(config(25).phases[0], learning_rate=5e-3)
        changes = {"guide": guide, "keeps_best": False, "phases": (phase,)}
        trainer = finetuned(rooms, tmp_path / name, **changes)
        before = outputs_of(trainer.network, rooms)
        trainer.run()
        after = outputs_of(trainer.network, rooms)
        moved[name] = {h: float(v) for h, v in distillation_losses(after, before).items()}
    for head in ("normals", "segmentation", "boundary"):
        assert moved["kept"][head] < 0.7 * moved["free"][head], head


def test_a_head_may_be_held_more_firmly_than_others(rooms: Path, tmp_path: Path) -> None:
    gradients = []
    for weight in (1.0, 4.0):
        settings = {"guide_weights": {"segmentation": weight}}
        trainer = finetuned(rooms, tmp_path, **settings)
        torch.manual_seed(1)  # away from the start, both times alike
        torch.nn.init.normal_(trainer.network.decoder.heads["segmentation"].weight)
        batch = trainer._frame(Rooms(trainer.folders, (64, 48), train=False)[3])
        trainer.network.eval()
        trainer._run_pass(Pass(TopKGating(torch.ones(1, 2))), batch, {})
        gradients.append(trainer.network.decoder.heads["segmentation"].weight.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0] * 4.0, rtol=0.05, atol=1e-4)


def test_what_is_finished_never_validates_worse_than_the_start(rooms: Path, tmp_path: Path) -> None:
    phase = replace(config(6).phases[0], learning_rate=10.0, final_learning_rate=10.0)
    trainer = finetuned(rooms, tmp_path, phases=(phase,))
    start = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    assert trainer.best.misses > 0
    for name, value in trainer.average.module.state_dict().items():
        assert torch.equal(value, start[name]), name
    validations = [
        row["validation"]
        for row in map(json.loads, (tmp_path / "run" / "log.jsonl").open())
        if "validation" in row
    ]
    assert trainer.best.loss == pytest.approx(trainer._loss(validations[0]))


def test_without_improvement_the_run_ends_early(rooms: Path, tmp_path: Path) -> None:
    phase = replace(config(60).phases[0], learning_rate=10.0, final_learning_rate=10.0)
    trainer = finetuned(rooms, tmp_path, phases=(phase,), patience=2)
    trainer.run()
    assert trainer.pacing.done == 4
    assert (tmp_path / "run" / "network.safetensors").is_file()


def test_a_run_that_is_stopped_is_finished_with_what_it_has(rooms: Path, tmp_path: Path) -> None:
    trainer = finetuned(rooms, tmp_path, stop=lambda: trainer.pacing.done >= 3)
    trainer.run()
    assert trainer.pacing.done == 3
    assert (tmp_path / "run" / "network.safetensors").is_file()


def test_a_run_by_the_clock_ends_in_time_and_resumes_with_what_is_left(
    rooms: Path, tmp_path: Path
) -> None:
    trainer = finetuned(rooms, tmp_path, minutes=0.05)
    trainer.run()
    steps = trainer.pacing.done
    assert steps > 0
    assert trainer.pacing.progress == 1.0
    again = finetuned(rooms, tmp_path, minutes=0.05)
    again.run()
    assert again.pacing.done == steps
    assert again.best.loss == trainer.best.loss


def test_a_mixture_needs_a_share_of_every_dataset(rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="mixture: 2 for 1 datasets"):
        finetuned(rooms, tmp_path, mixture=(0.5, 0.5)).run()


def test_a_start_to_keep_must_be_given(rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="guide: start needs weights to start from"):
        Trainer(replace(config(2), guide="start"), [rooms], [rooms], tmp_path, None)


def test_the_average_teaches_heads_without_truth_and_is_no_judge(
    rooms: Path, tmp_path: Path
) -> None:
    trainer = finetuned(rooms, tmp_path, guide="average", keeps_best=False)
    trainer.run()
    assert trainer._guide.network is trainer._averaged()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    train, validation = (
        [row[kind] for row in rows if kind in row][-1] for kind in ("train", "validation")
    )
    assert train["normals"] > 0.0
    assert "normals" not in validation["1.00"]


def test_what_is_finished_is_drawn_back_to_the_start_by_its_share(
    rooms: Path, tmp_path: Path
) -> None:
    networks = {}
    for share in (0.0, 0.25):
        trainer = finetuned(rooms, tmp_path / f"{share}", start_share=share, keeps_best=False)
        start = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        networks[share] = trainer.run().state_dict()
    moved = 0.0
    for name, tuned in networks[0.0].items():
        if tuned.is_floating_point():
            expected = 0.75 * tuned + 0.25 * start[name]
            torch.testing.assert_close(networks[0.25][name], expected, atol=1e-5, rtol=1e-4)
            moved += float((tuned - start[name]).abs().sum())
    assert moved > 0.0
