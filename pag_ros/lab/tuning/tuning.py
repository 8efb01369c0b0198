"""Tune a network on recordings of one place, and judge it on parts of them that it has not seen.

OUT/data/          frames to train on, and held-out ones
OUT/rendered/      the rendered rooms that ship
OUT/training/      checkpoint, log and curves of the training
OUT/NAME.onnx      the tuned model, with .json, .safetensors and all else that a shipped one has
                   (.int8.json if NNCF is installed)
OUT/report.html    whether it is better, and how much; report.json

Whatever stops a run, the same command goes on where it was.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pag_ros.lab.datasets.rooms import RoomPictures, read_index
from pag_ros.lab.export import ModelCard, export_model
from pag_ros.lab.recordings import Account, import_recordings
from pag_ros.lab.recordings.importing import save_account
from pag_ros.lab.recordings.splitting import Side
from pag_ros.lab.teachers import label_pictures
from pag_ros.lab.training.checkpoint import load_weights, save_weights
from pag_ros.lab.training.curves import write_curves
from pag_ros.lab.training.trainer import Trainer
from pag_ros.lab.tuning.changes import ScoreChange, find_agreements, find_changes, stretch_for
from pag_ros.lab.tuning.folder import DATA, frames_of, locked, remembered
from pag_ros.lab.tuning.frame_pictures import picture_frames
from pag_ros.lab.tuning.judging import Judgement, judge
from pag_ros.lab.tuning.options import TuneOptions, weights_of
from pag_ros.lab.tuning.paired_scores import DEVICE, score_frames
from pag_ros.lab.tuning.precisions import PrecisionLoss, record_precisions
from pag_ros.lab.tuning.progress import Progress
from pag_ros.lab.tuning.recipe import recipe
from pag_ros.lab.tuning.rendered import unpack
from pag_ros.lab.tuning.report import TuningResult, to_json, write_report
from pag_ros.lab.tuning.units import depth_ratio, require_plausible
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime import Session, open_session
from pag_ros.runtime.tensorrt.self_check import write_reference


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning.

    Attributes:
        model: the tuned model's ONNX file.
        report: its report.html.
        judgement: whether it is better.
        held_out, rendered: changes on held-out frames and on rendered rooms.
        account: what became of the recordings' images.
        numbers: all figures as plain JSON values.
    """

    model: Path
    report: Path
    judgement: Judgement
    held_out: tuple[ScoreChange, ...]
    rendered: tuple[ScoreChange, ...]
    account: Account
    numbers: Mapping[str, Any]


def tune(
    options: TuneOptions, progress: Progress, stop: Callable[[], bool] = lambda: False
) -> Tuned:
    """Read the bags, train, export, judge, and write the report.

    Args:
        progress: told of every stage.
        stop: asked during training; what is best so far is then exported and judged.

    Raises:
        PagError: bags, model, folder or options cannot be used; the text says what would be right.
    """
    weights = weights_of(options.model)
    with locked(options.out):
        with remembered(options.out, options.identity()):
            account = _import(options, progress)
        rendered = unpack(options.out / "rendered")
        manifest = load_manifest(options.model)
        trained = _train(options, manifest, weights, rendered[0], progress, stop)
        model = _export(options, manifest, trained, account, progress)
        losses = _record(options, model, rendered[0], progress)
        return _judge(options, model, losses, rendered[1], account, progress)


def _import(options: TuneOptions, progress: Progress) -> Account:
    manifest = load_manifest(options.model)
    classes = [each.name for each in manifest.classes]
    data = options.out / DATA
    progress.stage("reading the recordings", None)
    recording = replace(options.recording, unlabelled=bool(options.teachers))
    account = import_recordings(options.bags, data, classes, recording, progress=progress.step)
    with closing(open_session(options.model, DEVICE)) as session:
        ratio = depth_ratio(frames_of(options.out, Side.TRAIN), session)
    require_plausible(ratio, options.recording.depth_scale, options.bags)
    if options.teachers and not account.taught:
        _teach(options, account, progress)
    for line in account.lines():
        progress.say(line)
    return account


def _teach(options: TuneOptions, account: Account, progress: Progress) -> None:
    """Have the teachers label what has no truth, on both sides: both are judged alike."""
    data = options.out / DATA
    progress.stage("labelling by the teachers", account.train + account.held_out)
    with closing(open_session(options.model, DEVICE)) as session:
        for side in (Side.TRAIN, Side.HELD_OUT):
            added = label_pictures(data / side.value, options.teachers, session, progress.step)
            account.taught.update(added)
    frames = [
        frame for side in (Side.TRAIN, Side.HELD_OUT) for frame in read_index(data / side.value)
    ]
    account.truths.clear()
    account.truths.update(truth for frame in frames for truth in frame.truths)
    save_account(data, account)


def _train(
    options: TuneOptions,
    manifest: Manifest,
    weights: Path,
    rehearsal: Path,
    progress: Progress,
    stop: Callable[[], bool],
) -> Path:
    """The weights that validated best."""
    size = (manifest.width, manifest.height)
    config = recipe(load_weights(weights).config, size, options.minutes, options.seed)
    data = options.out / DATA
    out = options.out / "training"
    progress.stage(f"training for {options.minutes:g} minutes")
    trainer = Trainer(
        config,
        [data / Side.TRAIN.value, rehearsal],
        [data / Side.HELD_OUT.value],
        out,
        pretrained=None,
        initialize=weights,
        on_validation=lambda log: write_curves(log, log.with_name("curves.png")),
        stop=stop,
    )
    trainer.run()
    return out / "network.safetensors"


def _export(
    options: TuneOptions, start: Manifest, trained: Path, account: Account, progress: Progress
) -> Path:
    """The tuned model, with what a shipped one has beside it."""
    progress.stage("writing the model")
    network = load_weights(trained)
    path = options.out / f"{options.name}.onnx"
    export_model(network, card_of(options, start, account), (start.width, start.height), path)
    save_weights(network, path.with_suffix(".safetensors"))
    kernels = options.model.with_suffix(".kernels.zip")
    if kernels.is_file():  # of the same layers, and so the same
        shutil.copyfile(kernels, path.with_suffix(".kernels.zip"))
    with closing(open_session(path, DEVICE)) as session:
        write_reference(session, path)
    return path


def card_of(options: TuneOptions, start: Manifest, account: Account) -> ModelCard:
    """What is said of the tuned model: all of the start, and what it was tuned on."""
    names = ", ".join(bag.name for bag in options.bags)
    truths = ", ".join(account.truths) or "no truth"
    taught = "".join(f", {spec.truth} by {spec.path.name}" for spec in options.teachers)
    return ModelCard(
        name=options.name,
        classes=start.classes,
        depth_range_m=start.depth_range_m,
        focal_range=(start.focal_range[0] / start.width, start.focal_range[1] / start.width),
        license=start.license,
        training_data=(
            f"{start.training_data.rstrip()} Tuned from {start.name} on {account.train} frames of "
            f"{names} ({truths}{taught}), {account.held_out} others of it held out; the scale "
            "of its depth is that of these recordings."
        ),
        size_exponent=start.size_exponent,
    )


def _record(
    options: TuneOptions, model: Path, rehearsal: Path, progress: Progress
) -> list[PrecisionLoss]:
    """Let precision auto choose: scores on held-out frames, ranges on those of the training."""
    held_out, pictures = frames_of(options.out, Side.HELD_OUT), [frames_of(options.out, Side.TRAIN)]
    folder = options.out / DATA / Side.HELD_OUT.value
    pictures.append(RoomPictures([rehearsal]))
    losses = record_precisions(model, held_out, folder, pictures, options.budgets, progress)
    for loss in losses:
        progress.say(f"precision {loss.precision}: {loss.text()}")
    return losses


def _judge(
    options: TuneOptions,
    model: Path,
    losses: Sequence[PrecisionLoss],
    forgetting: Path,
    account: Account,
    progress: Progress,
) -> Tuned:
    held_out, rendered = frames_of(options.out, Side.HELD_OUT), RoomPictures([forgetting])
    with (
        closing(open_session(options.model, DEVICE)) as before,
        closing(open_session(model, DEVICE)) as after,
    ):
        scores = {}
        for title, dataset in (("held-out frames", held_out), ("rendered rooms", rendered)):
            progress.stage(f"judging by the {title}", len(dataset))
            scores[title] = score_frames(dataset, before, after, options.budgets, progress.step)
        own, other = scores["held-out frames"], scores["rendered rooms"]
        changes = find_changes(own, stretch_for(len(held_out)))
        rooms = find_changes(other, stretch_for(len(rendered)))
        judgement = judge(changes, rooms)
        curves = options.out / "training" / "curves.png"
        result = TuningResult(
            title=f"{options.name}, tuned from {before.manifest.name}",
            about=_about(options, account, before, losses),
            judgement=judgement,
            held_out=own,
            changes=changes,
            agreements=find_agreements(own),
            rooms=rooms,
            classes=before.manifest.classes,
            depth_range_m=before.manifest.depth_range_m,
            pictures=picture_frames(held_out, before, after, own, judgement.main),
            curves=curves if curves.is_file() else None,
            losses=losses,
        )
        report = write_report(result, options.out)
    numbers = {**to_json(result), "images": account.to_json()}
    return Tuned(model, report, judgement, tuple(changes), tuple(rooms), account, numbers)


def _about(
    options: TuneOptions, account: Account, session: Session, losses: Sequence[PrecisionLoss]
) -> dict[str, str]:
    return {
        "recordings": ", ".join(str(bag) for bag in options.bags),
        **{f"frames, {n}": line for n, line in enumerate(account.lines(), 1)},
        "minutes of training": f"{options.minutes:g}",
        "judged on": session.backend,
        **{f"precision {loss.precision}": loss.text() for loss in losses},
    }
