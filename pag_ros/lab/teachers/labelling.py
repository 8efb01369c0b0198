"""Has teachers label the pictures of a folder of rooms, as far as these have no truth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError, ParameterError
from pag_ros.evaluation.passes import perception_at
from pag_ros.image.camera_info import Intrinsics
from pag_ros.lab.datasets.rooms import TRUTHS, read_classes, read_frame, read_index
from pag_ros.lab.datasets.sample import Sample
from pag_ros.lab.recordings.importing import derive_normals
from pag_ros.lab.recordings.pictures import write_sample
from pag_ros.lab.teachers.fitting import fit_inverse, fit_scale
from pag_ros.lab.teachers.network import TeacherNetwork
from pag_ros.lab.teachers.spec import TeacherSpec
from pag_ros.manifest import NO_LABEL
from pag_ros.runtime import Perception, Session
from pag_ros.writing import write_text


def label_pictures(
    folder: Path,
    teachers: Sequence[TeacherSpec],
    session: Session,
    progress: Callable[[], object] = lambda: None,
) -> Counter[str]:
    """Add the teachers' truths to the frames of a folder; those that are there stay.

    Depth without a scale gets the scale that `session` sees, picture by picture: it teaches the
    shape, and leaves the scale as it is.

    Args:
        folder: in the layout "rooms", with `classes` in its dataset.json.
        session: the model that is to be taught.
        progress: called after each frame.

    Returns:
        What was added, "labels by FILE", and what could not be -> frames.

    Raises:
        ModelError, ParameterError: a teacher cannot be run, or has classes that we have not.
        DatasetError: a picture is damaged, or cannot be written.
    """
    classes = read_classes(folder)
    taught = [(TeacherNetwork(spec), _table(spec, classes)) for spec in teachers]
    own = perception_at(session, 1.0)
    counted: Counter[str] = Counter()
    lines = []
    for frame in read_index(folder):
        sample = read_frame(frame)
        added = Sample(sample.color, sample.focal_px)
        for network, table in taught:
            name = network.spec.path.name
            if network.spec.kind == "labels" and sample.labels is None and added.labels is None:
                added = replace(added, labels=table.take(network.run(sample.color)))
                counted[f"labels by {name}"] += 1
            elif network.spec.kind != "labels" and sample.depth is None and added.depth is None:
                added = _with_depth(added, _depth(network, sample, own), sample.normals is None)
                fits = added.depth is not None
                counted[f"depth by {name}" if fits else f"{name} does not fit the picture"] += 1
        write_sample(folder / "frames", frame.id, added, picture=False)
        truths = [*frame.truths, *(name for name in TRUTHS if getattr(added, name) is not None)]
        lines.append(json.dumps({"id": frame.id, "fx": frame.focal_px, "truths": truths}))
        progress()
    try:
        write_text(folder / "frames.jsonl", "".join(line + "\n" for line in lines))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written to ({error.strerror})") from error
    return counted


def _depth(network: TeacherNetwork, sample: Sample, own: Perception) -> NDArray[np.float32] | None:
    """Metres; None where a teacher without a scale does not fit what the model sees."""
    given = network.run(sample.color)
    if network.spec.kind == "depth":
        return np.where(given > 0.0, given, np.float32(np.nan)).astype(np.float32)
    result = own.process(sample.color, sample.focal_px, None, frozenset({"depth"}))
    assert result is not None, "without a deadline no frame is skipped"
    assert result.depth is not None, "it was asked for"
    fit = fit_scale if network.spec.kind == "relative-depth" else fit_inverse
    return fit(given, result.depth)


def _with_depth(sample: Sample, depth: NDArray[np.float32] | None, normals: bool) -> Sample:
    """The sample with a depth, and the normals that it implies if these are wanted."""
    if depth is None:
        return sample
    height, width = depth.shape
    middle = Intrinsics(sample.focal_px, sample.focal_px, (width - 1) / 2, (height - 1) / 2)
    implied = derive_normals(depth, middle) if normals else None
    return replace(sample, depth=depth, normals=implied)


def _table(spec: TeacherSpec, classes: Sequence[str]) -> NDArray[np.uint8]:
    """[256] the teacher's id -> ours, else `NO_LABEL`."""
    table = np.full(256, NO_LABEL, np.uint8)
    for name, ids in spec.classes.items():
        if name not in classes:
            raise ParameterError(
                f"{spec.path.name}.yaml: the model has no class {name!r}; it has "
                f"{', '.join(classes)}"
            )
        table[list(ids)] = classes.index(name)
    return table
