"""Has teachers label pictures that have no truth: those of a folder of rooms, or of any dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError, ModelError, ParameterError
from pag_ros.evaluation.passes import perception_at
from pag_ros.lab.datasets.fitting import fit
from pag_ros.lab.datasets.rooms import INDEX, read_classes, read_frame, read_index
from pag_ros.lab.datasets.sample import Dataset, Sample
from pag_ros.lab.recordings.importing import MAX_WIDTH, derive_normals
from pag_ros.lab.recordings.pictures import (
    index_line,
    truths_of,
    write_header,
    write_index,
    write_sample,
)
from pag_ros.lab.teachers.fitting import fit_inverse, fit_scale
from pag_ros.lab.teachers.network import TeacherNetwork
from pag_ros.lab.teachers.own_model import OwnModel, require_depth
from pag_ros.lab.teachers.shares import as_labels, class_shares
from pag_ros.lab.teachers.spec import TeacherSpec
from pag_ros.runtime import Perception, Session
from pag_ros.runtime.onnx_precheck import own_operators

_FRAMES_PER_INDEX = 20
"""After so many frames the index is written again, and a run that is stopped goes on from there."""


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
    lines = []
    with closing(_Labeller(teachers, read_classes(folder), session)) as label:
        for frame in read_index(folder):
            added = label(read_frame(frame))
            write_sample(folder / "frames", frame.id, added, picture=False)
            lines.append(index_line(frame.id, frame.focal_px, (*frame.truths, *truths_of(added))))
            progress()
    with _writing(folder):
        write_index(folder, lines)
    return label.counted


def label_dataset(
    dataset: Dataset,
    out: Path,
    teachers: Sequence[TeacherSpec],
    session: Session,
    progress: Callable[[], object] = lambda: None,
) -> Counter[str]:
    """Write a dataset's pictures with the teachers' truths, as a folder in the layout "rooms".

    Truths that the dataset has are written as they are. A run that is stopped goes on where it was.

    Args:
        out: folder that is written.
        session: the model that is to be taught.
        progress: called after each picture.

    Returns:
        See `label_pictures`; of this run.

    Raises:
        ModelError, ParameterError, DatasetError: see `label_pictures`.
    """
    classes = tuple(each.name for each in session.manifest.classes)
    if dataset.classes and dataset.classes != classes:
        raise ParameterError(
            f"{dataset.name}: has classes of its own; train on it as it is, beside what is labelled"
        )
    done = {frame.id: frame for frame in read_index(out)} if (out / INDEX).is_file() else {}
    lines = [index_line(frame.id, frame.focal_px, frame.truths) for frame in done.values()]
    with closing(_Labeller(teachers, classes, session)) as label, _writing(out):
        (out / "frames").mkdir(parents=True, exist_ok=True)
        write_header(out, classes)
        for number in range(len(dataset)):
            name = f"{number:06d}"
            if name not in done:
                sample = _reduced(dataset[number])
                added = label(sample)
                truths = {truth: getattr(added, truth) for truth in truths_of(added)}
                whole = replace(sample, boundary=None, **truths)
                write_sample(out / "frames", name, whole)
                lines.append(index_line(name, sample.focal_px, truths_of(whole)))
                # Whole each time: a line that a kill tears off would spoil the next one.
                if number % _FRAMES_PER_INDEX == 0:
                    write_index(out, lines)
            progress()
        write_index(out, lines)
    return label.counted


class _Labeller:
    """Makes truths for a sample as far as it has none.

    Attributes:
        counted: what was added, and what could not be -> frames.
    """

    def __init__(
        self, teachers: Sequence[TeacherSpec], classes: Sequence[str], session: Session
    ) -> None:
        of_labels = [spec for spec in teachers if spec.truth == "labels"]
        self._of_labels = [(_of_labels(spec), _ids(spec, classes)) for spec in of_labels]
        self._of_depth = [_of_depth(spec) for spec in teachers if spec.truth == "depth"]
        self._own = perception_at(session, 1.0)
        self.counted: Counter[str] = Counter()

    def __call__(self, sample: Sample) -> Sample:
        """The picture with what is added, and nothing else."""
        added = Sample(sample.color, sample.focal_px)
        for network, ids in self._of_labels:
            if sample.labels is None and added.labels is None:
                added = _with_labels(added, network, ids)
                self.counted[f"labels by {network.spec.path.name}"] += 1
        for teacher in self._of_depth:
            if sample.depth is None and added.depth is None:
                depth = _depth(teacher, sample, self._own)
                added = _with_depth(added, depth, sample.normals is None)
                self.counted[_outcome(teacher.spec.path.name, added)] += 1
        return added

    def close(self) -> None:
        """Free the teachers that are models of ours."""
        for teacher in self._of_depth:
            if isinstance(teacher, OwnModel):
                teacher.close()


def _of_labels(spec: TeacherSpec) -> TeacherNetwork:
    if own_operators(spec.path):
        require_depth(spec)
    return TeacherNetwork(spec)


def _of_depth(spec: TeacherSpec) -> TeacherNetwork | OwnModel:
    return OwnModel(spec) if own_operators(spec.path) else TeacherNetwork(spec)


def _outcome(name: str, added: Sample) -> str:
    return f"{name} does not fit the picture" if added.depth is None else f"depth by {name}"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written to ({error.strerror})") from error


def _reduced(sample: Sample) -> Sample:
    """A sample no wider than what is kept of recordings."""
    height, width = sample.color.shape[:2]
    scale = min(1.0, MAX_WIDTH / width)
    return fit(sample, (round(width * scale), round(height * scale)))


def _depth(
    network: TeacherNetwork | OwnModel, sample: Sample, own: Perception
) -> NDArray[np.float32] | None:
    """Metres; None where a teacher without a scale does not fit what the model sees."""
    if isinstance(network, OwnModel):
        return network.depth(sample.color, sample.focal_px)
    given = network.depth(sample.color)
    if network.spec.kind == "depth":
        return np.where(given > 0.0, given, np.float32(np.nan)).astype(np.float32)
    result = own.process(sample.color, sample.focal_px, None, frozenset({"depth"}))
    assert result is not None, "without a deadline no frame is skipped"
    assert result.depth is not None, "it was asked for"
    fit = fit_scale if network.spec.kind == "relative-depth" else fit_inverse
    return fit(given, result.depth)


def _with_labels(sample: Sample, network: TeacherNetwork, ids: Sequence[Sequence[int]]) -> Sample:
    """The sample with labels, and the doubt that the teacher has of them."""
    height, width = sample.color.shape[:2]
    mirrored = np.ascontiguousarray(sample.color[:, ::-1])
    try:
        shares = class_shares(network.scores(sample.color), ids)
        turned = class_shares(network.scores(mirrored), ids)[..., ::-1]
    except ValueError as error:
        raise ModelError(f"{network.spec.path}: {error}") from error
    labels, runner_up = as_labels(shares, np.ascontiguousarray(turned), (width, height))
    return replace(sample, labels=labels, runner_up=runner_up)


def _with_depth(sample: Sample, depth: NDArray[np.float32] | None, normals: bool) -> Sample:
    """The sample with a depth, and the normals that it implies if these are wanted."""
    if depth is None:
        return sample
    implied = derive_normals(depth, sample.intrinsics) if normals else None
    return replace(sample, depth=depth, normals=implied)


def _ids(spec: TeacherSpec, classes: Sequence[str]) -> list[tuple[int, ...]]:
    """Of each of our classes the teacher's ids."""
    if unknown := [name for name in spec.classes if name not in classes]:
        raise ParameterError(
            f"{spec.path.name}.yaml: the model has no class {unknown[0]!r}; it has "
            f"{', '.join(classes)}"
        )
    return [spec.classes.get(name, ()) for name in classes]
