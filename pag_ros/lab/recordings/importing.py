"""Turns bags into two folders of rooms: one to train on, one that is held out.

OUT/train, OUT/held_out    the layout of docs/datasets.md, "rooms"
OUT/account.json           what became of every image; written last, so that it says "complete"

A run that is stopped begins anew; it takes seconds to minutes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros import checks
from pag_ros.errors import DatasetError
from pag_ros.evaluation.bags import Bag, Frame, Topics
from pag_ros.image.camera_info import Intrinsics
from pag_ros.lab.datasets.geometry import edges, normals_of
from pag_ros.lab.datasets.sample import Sample
from pag_ros.lab.recordings.account import Account
from pag_ros.lab.recordings.pictures import (
    index_line,
    truths_of,
    write_header,
    write_index,
    write_sample,
)
from pag_ros.lab.recordings.quality import (
    Look,
    blurred,
    is_dark_or_bright,
    is_shown_in,
    look_at,
    shows_same,
)
from pag_ros.lab.recordings.splitting import MAX_STEP_S, Side, split
from pag_ros.reading import read_limited, reading
from pag_ros.writing import write_text

FORMAT = 1
ACCOUNT = "account.json"
MIN_TRAIN, MIN_HELD_OUT = 8, 3
"""Frames; with fewer there is nothing to learn, or to judge by."""

MAX_WIDTH = 640
"""Of the pictures that are kept, pixels: training crops to three fifths, networks take 320."""

LAG_MS = 10.0
"""Between the stamps of images and depth, from which a user should know: moving edges are off."""

NO_TRUTH = "without usable truth"
REMEDY_FOR_TRUTH = "; record depth as well, name it by --depth-topic, or give a --teacher"

_MAX_ACCOUNT_BYTES = 1 << 20
_EDGE_WINDOW = 7
_MIN_KNOWN = 0.05
"""Share of the pixels that a depth must know to count as one."""
_NORMALS_WINDOW = 9
"""At a width of 320 pixels."""


@dataclass(frozen=True)
class ImportOptions:
    """How recordings are read.

    Attributes:
        topics: of the bags, see `Bag`.
        tolerance_ns: how far truth may be stamped from its image.
        depth_scale: metres per unit of recorded depth; None for the usual unit of its encoding.
        interval_s: shortest time between two frames that are kept.
        normals: derive normals from the depth where it is dense.
        unlabelled: keep frames without any truth: a teacher will label them.
    """

    topics: Topics = field(default_factory=Topics)
    tolerance_ns: int | None = None
    depth_scale: float | None = None
    interval_s: float = 0.2
    normals: bool = True
    unlabelled: bool = False


@dataclass(frozen=True)
class _Kept:
    """A frame that has been written."""

    id: str
    time_s: float
    focal_px: float
    truths: tuple[str, ...]
    look: Look

    def line(self) -> str:
        return index_line(self.id, self.focal_px, self.truths)


def import_recordings(
    bags: Sequence[Path],
    out: Path,
    classes: Sequence[str],
    options: ImportOptions,
    progress: Callable[[], object] = lambda: None,
) -> Account:
    """Make the two folders; does nothing where they are complete.

    Args:
        classes: names of the label ids, the model's.
        progress: called after each image.

    Raises:
        BagError: a bag cannot be read.
        DatasetError: too little is left of them, or `out` cannot be written.
    """
    done = read_account(out)
    if done is not None:
        return done
    _clear(out)
    account = Account()
    sides: dict[Side, list[_Kept]] = {side: [] for side in Side}
    for number, path in enumerate(bags):
        kept = _import_one(path, f"{number:02d}", out / "frames", options, account, progress)
        sharp = _without_blurred(kept, account)
        for frame, side in zip(sharp, split([frame.time_s for frame in sharp]), strict=True):
            sides[side].append(frame)
    account.left_out["filmed just before or after a held-out stretch"] += len(sides[Side.GAP])
    seen = [frame.look for frame in sides[Side.HELD_OUT]]
    fresh = [frame for frame in sides[Side.TRAIN] if not is_shown_in(frame.look, seen)]
    shown = len(sides[Side.TRAIN]) - len(fresh)
    account.left_out["the same as a held-out frame"] += shown
    sides[Side.TRAIN] = fresh
    _require_enough(bags, account, sides)
    for side in (Side.TRAIN, Side.HELD_OUT):
        _write_side(out, side, sides[side], classes)
    shutil.rmtree(out / "frames")
    _complete(account, sides)
    save_account(out, account)
    return account


def save_account(out: Path, account: Account) -> None:
    """Write what `read_account` reads.

    Raises:
        DatasetError: it cannot be written.
    """
    try:
        write_text(out / ACCOUNT, json.dumps({"format": FORMAT, **account.to_json()}, indent=1))
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written to ({error.strerror})") from error


def read_account(out: Path) -> Account | None:
    """What a complete import has counted; None where there is none.

    Raises:
        DatasetError: the file is damaged.
    """
    path = out / ACCOUNT
    if not path.is_file():
        return None
    with reading(path, "the account of an import", DatasetError, "delete the folder"):
        data = checks.entries(json.loads(read_limited(path, _MAX_ACCOUNT_BYTES)), "account")
        if data["format"] != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        return Account.from_json(dict(data))


def forget(out: Path) -> None:
    """Have the next import begin anew."""
    (out / ACCOUNT).unlink(missing_ok=True)


def _clear(out: Path) -> None:
    """Remove what a stopped import has left."""
    try:
        for name in ("frames", Side.TRAIN.value, Side.HELD_OUT.value):
            shutil.rmtree(out / name, ignore_errors=True)
        (out / "frames").mkdir(parents=True)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written to ({error.strerror})") from error


def _import_one(
    path: Path,
    prefix: str,
    folder: Path,
    options: ImportOptions,
    account: Account,
    progress: Callable[[], object],
) -> list[_Kept]:
    """Write the frames of a bag that are worth it."""
    kept: list[_Kept] = []
    with Bag(path, options.topics, options.tolerance_ns, options.depth_scale, rectify=True) as bag:
        bag.require_matched_truth()
        account.images += bag.matching.images
        last_s = -np.inf
        for frame in _counted(bag, progress):
            time_s = frame.time_ns * 1e-9
            if abs(time_s - last_s) < options.interval_s:
                account.left_out[f"within {options.interval_s:g} s of the one before"] += 1
                continue
            last_s = time_s
            reason, one = _keep(frame, f"{prefix}{frame.number:06d}", folder, options, kept)
            if one is None:
                account.left_out[reason] += 1
            else:
                kept.append(one)
        account.left_out["not readable"] += bag.images_left_out
        account.warnings += _warnings(bag)
    return kept


def _counted(bag: Bag, progress: Callable[[], object]) -> Iterator[Frame]:
    for frame in bag.frames():
        yield frame
        progress()


def _keep(
    frame: Frame, name: str, folder: Path, options: ImportOptions, kept: Sequence[_Kept]
) -> tuple[str, _Kept | None]:
    """Write a frame, or say why not."""
    look = look_at(frame.image)
    if is_dark_or_bright(look):
        return "too dark or too bright to see anything", None
    if kept and shows_same(look, kept[-1].look):
        return "the same as the one before", None
    sample = as_sample(frame, options.normals)
    truths = truths_of(sample)
    if not truths and not options.unlabelled:
        return NO_TRUTH, None
    write_sample(folder, name, sample)
    return "", _Kept(name, frame.time_ns * 1e-9, sample.focal_px, truths, look)


def as_sample(frame: Frame, normals: bool = True) -> Sample:
    """A recorded frame at the size that is kept, its depth without doubtful edges.

    Where a depth jumps, recorded depth lies beside its picture by some pixels, or between two
    surfaces; so edges are unknown.

    Args:
        normals: derive them from the depth, where the recording has none.
    """
    height, width = frame.image.shape[:2]
    scale = min(1.0, MAX_WIDTH / width)
    size = (round(width * scale), round(height * scale))
    truth = frame.truth
    depth = _cleaned(_nearest(truth.depth, size)) if truth.depth is not None else None
    camera = _scaled(frame.intrinsics, size[0] / width)
    given = None if truth.normals is None else _nearest(truth.normals, size)
    if given is None and normals and depth is not None:
        given = derive_normals(depth, camera)
    color = frame.image
    if scale < 1.0:
        color = np.asarray(cv2.resize(color, size, interpolation=cv2.INTER_AREA), np.uint8)
    labels = None if truth.labels is None else _nearest(truth.labels, size)
    return Sample(color, camera.fx, depth=depth, normals=given, labels=labels)


def _scaled(camera: Intrinsics, scale: float) -> Intrinsics:
    """A camera at another size of its picture; the first pixel's centre is (0, 0)."""
    centre = ((c + 0.5) * scale - 0.5 for c in (camera.cx, camera.cy))
    return Intrinsics(camera.fx * scale, camera.fy * scale, *centre)


def _nearest(truth: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT))


def _cleaned(depth: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Without edges; None where too little is known."""
    cleaned = depth.copy()
    cleaned[edges(depth, _EDGE_WINDOW)] = np.nan
    return cleaned if np.isfinite(cleaned).mean() >= _MIN_KNOWN else None


def derive_normals(depth: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32] | None:
    """The normals [h,w,3] that a depth [h,w] implies; None where it is too sparse to imply any."""
    window = round(_NORMALS_WINDOW * depth.shape[1] / 320) | 1
    normals = normals_of(depth, camera, window)
    return normals if np.isfinite(normals[..., 0]).mean() >= _MIN_KNOWN else None


def _without_blurred(kept: list[_Kept], account: Account) -> list[_Kept]:
    marks = blurred([frame.look for frame in kept])
    account.left_out["blurred by motion"] += sum(marks)
    return [frame for frame, mark in zip(kept, marks, strict=True) if not mark]


def _require_enough(bags: Sequence[Path], account: Account, sides: dict[Side, list[_Kept]]) -> None:
    train, held_out = len(sides[Side.TRAIN]), len(sides[Side.HELD_OUT])
    if train >= MIN_TRAIN and held_out >= MIN_HELD_OUT:
        return
    left_out = (+account.left_out).most_common(4)
    reasons = "; ".join(f"{n} {reason}" for reason, n in left_out)
    lacks_truth = bool(left_out) and left_out[0][0] == NO_TRUTH
    raise DatasetError(
        f"{', '.join(map(str, bags))}: of {account.images} images {train} are left to train on and "
        f"{held_out} to judge by, expected {MIN_TRAIN} and {MIN_HELD_OUT} or more"
        + (f" ({reasons})" if reasons else "")
        + (REMEDY_FOR_TRUTH if lacks_truth else "; record a minute or more while the robot moves")
    )


def _write_side(out: Path, side: Side, kept: Sequence[_Kept], classes: Sequence[str]) -> None:
    folder = out / side.value
    (folder / "frames").mkdir(parents=True)
    for frame in kept:
        for path in sorted((out / "frames").glob(f"{frame.id}.*")):
            shutil.move(path, folder / "frames")
    write_header(folder, classes)
    write_index(folder, (frame.line() for frame in kept))


def _complete(account: Account, sides: dict[Side, list[_Kept]]) -> None:
    account.train, account.held_out = len(sides[Side.TRAIN]), len(sides[Side.HELD_OUT])
    for name, side in (("to train on", Side.TRAIN), ("held out", Side.HELD_OUT)):
        times = [frame.time_s for frame in sides[side]]
        steps = np.abs(np.diff(times, prepend=times[0] - MAX_STEP_S))
        account.seconds[name] = float(np.minimum(steps, MAX_STEP_S).sum())
        account.truths.update(truth for frame in sides[side] for truth in frame.truths)
    account.left_out = +account.left_out


def _warnings(bag: Bag) -> Iterator[str]:
    """What the reader has found that a user should know."""
    for text, count in bag.problems.items():
        yield f"{bag.path}: {count} x {text}"
    for tally in bag.truth.values():
        yield from tally.warnings()
        lag_ms = tally.offset_ms().get("median", 0.0)
        if abs(lag_ms) >= LAG_MS:
            yield (
                f"{bag.path}: {tally.topic} is stamped {lag_ms:+.0f} ms from its image; while the "
                "camera moves, its truth lies beside the picture"
            )
