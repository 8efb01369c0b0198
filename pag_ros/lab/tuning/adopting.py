"""An adopted transformer made ready for the rooms of a recording, and judged on parts of it.

Its gates are taught on the frames to learn from, and if it is relative its metres are fitted to
their depth; no weight of the network itself changes.

OUT/data/                      frames to learn from, and held-out ones
OUT/NAME.onnx                  the model, NAME that of the checkpoint, with .json (.int8.json if
                               NNCF is installed)
OUT/NAME.gates.safetensors     its gates alone
OUT/report.html, report.json   what the gates and the fit are worth on held-out frames

The same command takes the frames again that it has, and teaches anew.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.excerpt import Excerpt
from pag_ros.lab.recordings import Account, ImportOptions, import_recordings
from pag_ros.lab.recordings.splitting import Side
from pag_ros.lab.transformers.adopt import export_depth_anything, read_checkpoint, write_model
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.disparities import count_depths, fit_metres, read_disparities
from pag_ros.lab.transformers.gates import save_gates
from pag_ros.lab.transformers.labels import load_label_head
from pag_ros.lab.transformers.pictures import FEWEST, count_pictures, read_pictures
from pag_ros.lab.transformers.scale_fit import ScaleFit
from pag_ros.lab.transformers.teaching import Lesson, Taught, teach
from pag_ros.lab.tuning.changes import ScoreChange, find_agreements, find_changes, stretch_for
from pag_ros.lab.tuning.folder import DATA, frames_of, locked, remembered
from pag_ros.lab.tuning.frame_pictures import picture_frames
from pag_ros.lab.tuning.judging import Judgement, judge
from pag_ros.lab.tuning.options import BUDGETS
from pag_ros.lab.tuning.paired_scores import DEVICE, MAIN_METRICS, MEDIAN_SCALED, score_frames
from pag_ros.lab.tuning.precisions import PrecisionLoss, record_precisions
from pag_ros.lab.tuning.progress import Progress
from pag_ros.lab.tuning.report import ReportWords, TuningResult, to_json, write_report
from pag_ros.lab.tuning.units import depth_ratio, require_plausible
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime import find_model, open_session
from pag_ros.runtime.models import DEFAULT_MODEL
from pag_ros.runtime.precision import score_command

JUDGED_FRAMES = 60
"""Of the held-out frames, at most: each runs six times, three of them without taught gates."""

JUDGED_AT = (0.5, 0.3, 1.0)
"""Budgets, the one that decides first. At 1 no gate leaves anything out."""

SHOWN_FRAMES = 32
"""Held-out frames that the loss of teaching is measured on, at most."""

WORDS = ReportWords(
    "The gates untaught (before) and taught (after), all else alike",
    "The model with taught gates",
    "What was adopted, and for what",
)


@dataclass(frozen=True)
class AdoptOptions:
    """A checkpoint that is adopted for a place.

    Attributes:
        checkpoint: of a Depth Anything, see `read_depth_anything`.
        bags: recordings of the place.
        out: folder of all that is written.
        size: (width, height) of the network's input in pixels.
        max_depth_m: what a metric checkpoint was trained up to, metres; None: it is relative.
        lesson: how the gates are taught.
        label_head: file of a head for labels that was taught on this checkpoint; None: no labels.
        recording: how bags are read.
    """

    checkpoint: Path
    bags: tuple[Path, ...]
    out: Path
    size: tuple[int, int]
    max_depth_m: float | None
    lesson: Lesson = field(default_factory=Lesson)
    label_head: Path | None = None
    recording: ImportOptions = field(default_factory=ImportOptions)

    @property
    def name(self) -> str:
        """Of the model."""
        return self.checkpoint.stem

    @property
    def places(self) -> str:
        """The recordings, for people."""
        return ", ".join(bag.name for bag in self.bags)

    def identity(self) -> dict[str, Any]:
        """What a run must have in common with the one whose frames it takes."""
        return {
            "bags": [str(bag.resolve()) for bag in self.bags],
            "model": str(self.checkpoint.resolve()),
            "recording": repr(self.recording),
        }


@dataclass(frozen=True)
class Adopted:
    """What came of it.

    Attributes:
        model: its ONNX file.
        report: report.html.
        license: of the network.
        judgement: whether taught gates are better than untaught ones.
        lines: what else is to be known, for people.
        numbers: all figures as plain JSON values.
    """

    model: Path
    report: Path
    license: str
    judgement: Judgement
    lines: tuple[str, ...]
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class _Made:
    """What is to be judged, and how it came about. metres: None of a metric checkpoint."""

    manifest: Manifest
    metres: ScaleFit | None
    account: Account
    taught: Taught
    losses: tuple[PrecisionLoss, ...]

    def lines(self) -> Iterator[str]:
        """For people."""
        if self.metres is not None:
            yield f"metres: {self.metres.summary()}"
        yield f"{self.taught.line()} ({self.taught.steps} steps)"
        for loss in self.losses:
            yield f"precision {loss.precision}: {loss.text()}"

    def numbers(self) -> dict[str, Any]:
        """As plain JSON values."""
        metres, taught = self.metres, self.taught
        sides = {"before": taught.before, "after": taught.after}
        fitted = None
        if metres is not None:
            fitted = {**metres.best.numbers(), "wander": metres.wander}
        return {
            "metres": fitted,
            "off_the_whole": {
                side: {f"{budget:.2f}": off for budget, off in values.items()}
                for side, values in sides.items()
            },
            "steps": taught.steps,
            "images": self.account.to_json(),
        }


def adopt_for_recording(
    options: AdoptOptions, progress: Progress, stop: Callable[[], bool] = lambda: False
) -> Adopted:
    """Read the bags, fit metres, teach the gates, export, judge, and write the report.

    Args:
        progress: told of every stage.
        stop: asked while gates are taught; what they have learned is then exported and judged.

    Raises:
        PagError: checkpoint, bags, folder or options cannot be used; the text says what would be
            right.
    """
    network = read_checkpoint(options.checkpoint, options.size, options.max_depth_m)
    if network.idle:
        progress.say(network.idle_line())
    if options.label_head is not None:
        load_label_head(network, options.label_head)
    with locked(options.out), _untaught_model(options) as untaught:
        account = _take_frames(options, network, untaught, progress)
        taught = _teach(options, network, progress, stop)
        progress.stage("writing the model")
        manifest = write_model(network, options.name, options.size, options.out)
        losses = _record(options, progress)
        made = _Made(manifest, network.metres, account, taught, tuple(losses))
        return _judge(options, made, untaught, progress)


@contextmanager
def _untaught_model(options: AdoptOptions) -> Iterator[Path]:
    """Where the model with untaught gates may lie until it is compared with; it is as large."""
    folder = options.out / "untaught"
    try:
        yield folder / f"{options.name}.onnx"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_frames(
    options: AdoptOptions, network: GatedDepthAnything, untaught: Path, progress: Progress
) -> Account:
    """Import the frames, give a relative network its metres, and write it with untaught gates.

    Whether the depth has the unit that it is read in a metric network tells itself; for a relative
    one the shipped model has to.
    """
    is_relative = network.farthest_m is None
    with remembered(options.out, options.identity()):
        account = _import(options, is_relative, progress)
        if not is_relative:
            export_depth_anything(network, options.name, options.size, untaught)
        _require_unit(options, find_model(DEFAULT_MODEL) if is_relative else untaught)
    for line in account.lines():
        progress.say(line)
    if is_relative:
        _fit_metres(options, network, progress)
        export_depth_anything(network, options.name, options.size, untaught)
    return account


def _import(options: AdoptOptions, is_relative: bool, progress: Progress) -> Account:
    """The frames, with depth or without: gates need none."""
    classes = [each.name for each in load_manifest(find_model(DEFAULT_MODEL)).classes]
    recording = replace(options.recording, unlabelled=True)
    progress.stage("reading the recordings", None)
    data = options.out / DATA
    account = import_recordings(options.bags, data, classes, recording, progress=progress.step)
    bags = ", ".join(map(str, options.bags))
    if is_relative and not account.truths["depth"]:
        raise DatasetError(
            f"{bags}: no depth that a relative checkpoint's metres could be fitted to; record "
            "depth as well, name it by --depth-topic, or take a metric checkpoint"
        )
    if account.train < FEWEST:
        raise DatasetError(
            f"{bags}: {account.train} frames to learn from; gates are taught on {FEWEST} or more: "
            "record a minute or more while the robot moves"
        )
    return account


def _require_unit(options: AdoptOptions, model: Path) -> None:
    with closing(open_session(model, DEVICE)) as session:
        ratio = depth_ratio(frames_of(options.out, Side.TRAIN), session)
    require_plausible(ratio, options.recording.depth_scale, options.bags)


def _fit_metres(options: AdoptOptions, network: GatedDepthAnything, progress: Progress) -> None:
    frames = frames_of(options.out, Side.TRAIN)
    progress.stage("fitting metres", count_depths(frames))
    pixels = read_disparities(network, frames, options.size, progress.step)
    metres = fit_metres(network, replace(pixels, source=options.places))
    network.give_metres(metres)
    for line in metres.lines():
        progress.say(line)


def _teach(
    options: AdoptOptions,
    network: GatedDepthAnything,
    progress: Progress,
    stop: Callable[[], bool],
) -> Taught:
    """Teach the gates, and keep them in a file of their own."""
    train = frames_of(options.out, Side.TRAIN)
    held_out = Excerpt(frames_of(options.out, Side.HELD_OUT), SHOWN_FRAMES)
    counted = count_pictures(train, options.size) + len(held_out)
    progress.stage("reading the frames", counted)
    pictures = read_pictures(train, options.size, progress.step)
    unseen = read_pictures(held_out, options.size, progress.step)
    progress.stage(f"teaching the gates for {options.lesson.minutes:g} minutes", 100)
    shown = 0

    def show(share: float, loss: float) -> None:
        nonlocal shown
        while shown < int(100.0 * share):
            progress.step()
            shown += 1

    taught = teach(network, pictures, unseen, options.lesson, show, stop)
    network.taught_on = f"taught on {options.places} ({len(pictures)} frames)"
    save_gates(network, options.out / f"{options.name}.gates.safetensors")
    return taught


def _record(options: AdoptOptions, progress: Progress) -> list[PrecisionLoss]:
    """Let precision auto choose: scores on held-out frames, ranges on those it learned from."""
    model = options.out / f"{options.name}.onnx"
    train, folder = (options.out / DATA / side.value for side in (Side.TRAIN, Side.HELD_OUT))
    otherwise = (
        f"`pag_ros quantize {model} --data rooms:{train}`, then "
        f"`{score_command(model, folder, 'int8')}`"
    )
    return record_precisions(
        model,
        frames_of(options.out, Side.HELD_OUT),
        folder,
        [frames_of(options.out, Side.TRAIN)],
        BUDGETS,
        progress,
        otherwise,
    )


def _judge(options: AdoptOptions, made: _Made, untaught: Path, progress: Progress) -> Adopted:
    model = options.out / f"{options.name}.onnx"
    held_out = Excerpt(frames_of(options.out, Side.HELD_OUT), JUDGED_FRAMES)
    progress.stage("judging by the held-out frames", len(held_out))
    with (
        closing(open_session(untaught, DEVICE)) as before,
        closing(open_session(model, DEVICE)) as after,
    ):
        scores = score_frames(held_out, before, after, JUDGED_AT, progress.step)
        changes = find_changes(scores, stretch_for(len(held_out)))
        judgement = judge([change for change in changes if change.budget < 1.0], None)
        ratio = depth_ratio(held_out, after)
        lines = (*tell_depths(changes, ratio), *made.lines())
        result = TuningResult(
            title=f"{options.name}, adopted for {options.places}",
            about={
                "recordings": ", ".join(map(str, options.bags)),
                **{f"frames, {n}": line for n, line in enumerate(made.account.lines(), 1)},
                **{f"result, {n}": line for n, line in enumerate(lines, 1)},
                "model": made.manifest.training_data,
                "judged on": after.backend,
            },
            judgement=judgement,
            held_out=scores,
            changes=changes,
            agreements=find_agreements(scores),
            rooms=None,
            classes=made.manifest.classes,
            depth_range_m=made.manifest.depth_range_m,
            pictures=picture_frames(held_out, before, after, scores, judgement.main),
            losses=made.losses,
            words=WORDS,
        )
    report = write_report(result, options.out)
    numbers = {
        **to_json(result),
        **made.numbers(),
        "depth_ratio": ratio if math.isfinite(ratio) else None,
    }
    return Adopted(model, report, made.manifest.license, judgement, lines, numbers)


def tell_depths(changes: Sequence[ScoreChange], ratio: float) -> Iterator[str]:
    """How good the depth is on held-out frames: of the whole network, and of its gates below.

    Args:
        ratio: recorded depth over that of the whole network; NaN: it is not known.
    """
    depth = {c.budget: c for c in changes if c.metric == MAIN_METRICS["depth"]}
    scaled = {c.budget: c for c in changes if c.metric == MEDIAN_SCALED}
    if not depth:
        yield "no held-out frame has true depth: how far off the model's is nobody knows"
    for budget, change in sorted(depth.items(), reverse=True):
        text, format_ = change.metric.text, change.metric.format
        if budget < 1.0:
            yield (
                f"budget {budget:.2f}: {text} {format_(change.before)} with untaught gates, "
                f"{format_(change.after)} with taught ones"
            )
            continue
        yield (
            f"whole network: {text} {format_(change.after)}, with each frame's right factor "
            f"{format_(scaled[budget].after)}; things are {ratio:.2f} times as far as it sees them"
        )
