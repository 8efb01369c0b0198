"""Classify gives the labels and probabilities of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pag_ros import kernels
from pag_ros.kernels import Workspace, reference


@given(
    classes=st.integers(1, 40),
    small=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    large=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    seed=st.integers(0, 99),
)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_size_gives_what_the_definition_gives(instruction_set, classes, small, large, seed):
    logits = np.random.default_rng(seed).normal(0, 5, (classes, *small)).astype(np.float32)
    workspace = Workspace(2)
    labels, confidence = kernels.classify(logits, *large, workspace=workspace)
    workspace.close()
    expected, probability = reference.classify(logits, *large)
    np.testing.assert_allclose(confidence, probability, atol=5e-6)
    # Where two classes are as good as equal, rounding may decide between them.
    clear = probability > 0.5 + 1e-5
    assert (labels[clear] == expected[clear]).all()
    assert (labels == expected).mean() > 0.99


@pytest.mark.parametrize("width", [1, 2, 3, 8, 17, 40])
@pytest.mark.parametrize("factor", [1, 2, 4])
def test_whole_factors_give_what_the_definition_gives(instruction_set, workspace, width, factor):
    logits = np.random.default_rng(width).normal(0, 5, (14, 9, width)).astype(np.float32)
    size = (9 * factor, width * factor)
    labels, confidence = kernels.classify(logits, *size, workspace=workspace(2))
    expected, probability = reference.classify(logits, *size)
    np.testing.assert_allclose(confidence, probability, atol=5e-6)
    assert (labels == expected).mean() > 0.99


def test_of_equal_classes_the_lower_one_wins(instruction_set, workspace):
    labels, confidence = kernels.classify(
        np.zeros((4, 3, 3), np.float32), 6, 6, workspace=workspace(1)
    )
    assert (labels == 0).all()
    np.testing.assert_allclose(confidence, 0.25)


def test_extreme_logits_give_probabilities(instruction_set, workspace):
    logits = np.zeros((3, 2, 2), np.float32)
    logits[1], logits[2] = 1e30, -1e30
    labels, confidence = kernels.classify(logits, 4, 4, workspace=workspace(1))
    assert (labels == 1).all()
    assert (confidence == 1.0).all()


def test_it_writes_into_the_arrays_that_it_is_given(workspace):
    labels, confidence = np.empty((4, 6), np.uint8), np.empty((4, 6), np.float32)
    logits = np.zeros((2, 2, 3), np.float32)
    result = kernels.classify(
        logits, 4, 6, labels=labels, confidence=confidence, workspace=workspace(1)
    )
    assert result[0] is labels
    assert result[1] is confidence


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("logits", {"logits": np.zeros((2, 3), np.float32)}),
        ("logits", {"logits": np.zeros((2, 3, 4))}),
        ("logits", {"logits": np.zeros((257, 1, 1), np.float32)}),
        ("logits", {"logits": np.zeros((2, 0, 4), np.float32)}),
        ("height", {"height": 0}),
        ("width", {"width": 2**40}),
        ("labels", {"labels": np.zeros((4, 4), np.int32)}),
        ("confidence", {"confidence": np.zeros((4, 5), np.float32)}),
    ],
)
def test_a_wrong_argument_is_named(workspace, name, change):
    arguments = {"logits": np.zeros((2, 3, 4), np.float32), "height": 4, "width": 4}
    with pytest.raises(ValueError, match=rf"^{name} must be"):
        kernels.classify(**{**arguments, **change}, workspace=workspace(1))
