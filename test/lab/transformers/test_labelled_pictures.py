"""Labelled pictures come in whole: at the network's size, some kept back, none without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pag_ros.errors import DatasetError  # noqa: E402
from pag_ros.evaluation.metrics import DepthProtocol  # noqa: E402
from pag_ros.lab.datasets import Sample  # noqa: E402
from pag_ros.lab.transformers import labelled_pictures  # noqa: E402
from pag_ros.lab.transformers.labelled_pictures import (  # noqa: E402
    count_labelled,
    open_labelled,
    read_labelled,
)
from pag_ros.manifest import NO_LABEL  # noqa: E402

SIZE = (56, 42)


class Numbered:
    """Pictures whose first bytes, and whose labels, are their number; some without labels."""

    protocol = DepthProtocol(cap_m=10.0)

    def __init__(self, count: int, unlabelled: tuple[int, ...] = (), teacher: bool = False) -> None:
        self.name, self.classes = f"numbered {count}", ("a", "b")
        self.count, self.unlabelled, self.teacher = count, unlabelled, teacher

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        width, height = SIZE
        color = np.full((height, width, 3), index, np.uint8)
        labels = np.full((height, width), NO_LABEL, np.uint8)
        if index not in self.unlabelled:
            # Odd rows and columns would give labels away that no network is asked for.
            labels[::2, ::2] = index % 2
        runner_up = np.zeros((height, width, 2), np.uint8)
        runner_up[..., 0], runner_up[..., 1] = 1 - index % 2, index
        return Sample(color, 50.0, labels=labels, runner_up=runner_up if self.teacher else None)


def numbers(pictures: labelled_pictures.LabelledPictures) -> list[int]:
    return [int(image[0, 0, 0]) for image in pictures.images]


def test_the_last_tenth_of_each_dataset_is_kept_back() -> None:
    read: list[None] = []
    learned, unseen = read_labelled([Numbered(30), Numbered(20)], SIZE, lambda: read.append(None))
    assert numbers(learned) == [*range(27), *range(18)]
    assert numbers(unseen) == [27, 28, 29, 18, 19]
    assert len(read) == sum(count_labelled([Numbered(30), Numbered(20)], SIZE)) == 50
    assert learned.images.shape == (45, 3, 42, 56)
    assert learned.labels.shape == (45, 21, 28)
    for image, labels in zip(learned.images, learned.labels, strict=True):
        assert (labels == image[0, 0, 0] % 2).all()
    assert not learned.runner_up.any()


def test_a_small_dataset_keeps_a_picture_back_too() -> None:
    learned, unseen = read_labelled([Numbered(9), Numbered(8)], SIZE)
    assert numbers(learned) == [*range(8), *range(7)]
    assert numbers(unseen) == [8, 7]


def test_a_teachers_doubts_come_along() -> None:
    learned, _ = read_labelled([Numbered(20, teacher=True)], SIZE)
    assert learned.runner_up.shape == (18, 2, 21, 28)
    assert learned.runner_up[7].unique().tolist() == [0, 7]
    assert (learned.runner_up[7, 1] == 7).all()


def test_a_picture_without_any_label_is_left_out() -> None:
    learned, unseen = read_labelled([Numbered(24, unlabelled=(3, 23))], SIZE)
    assert numbers(learned) == [n for n in range(21) if n != 3]
    assert numbers(unseen) == [21, 22]
    with pytest.raises(DatasetError, match=r"numbered 20: labels in 15 of the pictures; 16 or"):
        read_labelled([Numbered(20, unlabelled=tuple(range(5)))], SIZE)


def test_of_many_pictures_each_dataset_gives_the_same_share(monkeypatch) -> None:
    each = int((3 + 3 / 4) * SIZE[0] * SIZE[1])
    monkeypatch.setattr(labelled_pictures, "MAX_BYTES", 26 * each)
    datasets = [Numbered(40), Numbered(12)]
    assert count_labelled(datasets, SIZE) == [20, 6]
    learned, unseen = read_labelled(datasets, SIZE)
    held = sum(each.nbytes for p in (learned, unseen) for each in vars(p).values())
    assert held <= labelled_pictures.MAX_BYTES
    assert numbers(learned)[:3] == [0, 2, 4]
    assert numbers(unseen) == [36, 39, 11]


def write_rooms(folder: Path, classes: str, count: int = 16) -> str:
    cv2 = pytest.importorskip("cv2")
    (folder / "frames").mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(f"{folder}/frames/{number}.color.jpg", np.zeros((42, 56, 3), np.uint8))
        cv2.imwrite(f"{folder}/frames/{number}.label.png", np.zeros((42, 56), np.uint8))
    lines = (f'{{"id": "{n}", "fx": 50.0, "truths": ["labels"]}}\n' for n in range(count))
    (folder / "frames.jsonl").write_text("".join(lines))
    (folder / "dataset.json").write_text(f'{{"classes": {classes}}}')
    return f"rooms:{folder}"


def test_datasets_that_teach_together_have_the_same_classes(tmp_path: Path) -> None:
    one = write_rooms(tmp_path / "one", '["wall", "Big table"]', 8)
    same = write_rooms(tmp_path / "same", '["wall", "big_table"]', 8)
    other = write_rooms(tmp_path / "other", '["big table", "wall"]')
    assert [len(d) for d in open_labelled([one, same])] == [8, 8]
    with pytest.raises(DatasetError) as raised:
        open_labelled([one, other])
    assert str(raised.value) == (
        f"{other}: its classes are big table, wall; those of {one} are wall, Big table; datasets "
        "that teach together have the same"
    )


def test_too_few_pictures_and_labels_without_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="15 pictures; labels are taught on 16 or more"):
        open_labelled([write_rooms(tmp_path / "few", '["wall"]', 15)])
    nameless = write_rooms(tmp_path / "nameless", "[]")
    (tmp_path / "nameless" / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="names 0 classes; labels need some"):
        open_labelled([nameless])
