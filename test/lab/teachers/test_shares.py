"""A teacher's scores become labels of ours where it is sure of itself."""

from __future__ import annotations

import numpy as np
import pytest

from pag_ros.lab.teachers.shares import as_labels, class_shares
from pag_ros.manifest import NO_LABEL


def maps(*values: float) -> np.ndarray:
    """[C,1,1] of one pixel."""
    return np.array(values, np.float32)[:, None, None]


def test_classes_of_the_teachers_are_summed_onto_ours() -> None:
    shares = class_shares(maps(0.1, 0.2, 0.3, 0.4), [(0, 2), (1,)])
    np.testing.assert_allclose(shares[:, 0, 0], [0.4, 0.2, 0.4], atol=1e-6)


def test_logits_become_probabilities_first() -> None:
    shares = class_shares(maps(np.log(1.0), np.log(2.0), np.log(5.0)), [(0, 1), ()])
    np.testing.assert_allclose(shares[:, 0, 0], [3 / 8, 0.0, 5 / 8], atol=1e-6)


def test_logits_that_sum_to_one_are_no_probabilities() -> None:
    shares = class_shares(maps(2.0, -1.0, 0.0), [(0,), (1,)])
    powers = np.exp([2.0, -1.0, 0.0])
    np.testing.assert_allclose(shares[:, 0, 0], powers / powers.sum(), atol=1e-6)


def test_an_id_that_the_teacher_has_not_is_named() -> None:
    with pytest.raises(ValueError, match="gives 2 classes, and the recipe names id 7"):
        class_shares(maps(0.5, 0.5), [(0, 7)])


def test_the_runner_up_has_its_share_of_the_two() -> None:
    shares = maps(0.6, 0.1, 0.2, 0.1)
    labels, runner_up = as_labels(shares, shares, (1, 1))
    assert labels.tolist() == [[0]]
    assert runner_up.tolist() == [[[2, 64]]]


@pytest.mark.parametrize(
    ("picture", "mirrored"),
    [
        ((0.6, 0.3, 0.1), (0.3, 0.6, 0.1)),  # the two disagree
        ((0.3, 0.2, 0.5), (0.3, 0.2, 0.5)),  # neither is a class of ours
        ((0.6, 0.2, 0.2), (0.1, 0.1, 0.8)),
    ],
)
def test_what_it_is_not_sure_of_is_unknown(
    picture: tuple[float, ...], mirrored: tuple[float, ...]
) -> None:
    labels, runner_up = as_labels(maps(*picture), maps(*mirrored), (1, 1))
    assert labels.tolist() == [[NO_LABEL]]
    assert runner_up[0, 0, 0] == NO_LABEL


def test_labels_have_the_size_of_the_picture() -> None:
    shares = np.zeros((3, 2, 4), np.float32)
    shares[0, :, :2], shares[1, :, 2:] = 1.0, 1.0
    labels, runner_up = as_labels(shares, shares, (8, 4))
    assert labels.shape == (4, 8)
    assert runner_up.shape == (4, 8, 2)
    assert (labels[:, :3] == 0).all()
    assert (labels[:, 5:] == 1).all()
