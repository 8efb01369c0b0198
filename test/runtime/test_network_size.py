"""A model at other input sizes: what its manifest says there, and which sizes are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pag_ros.errors import ModelError, ParameterError
from pag_ros.manifest import BlockSpec, LabelClass, Manifest
from pag_ros.runtime.network_size import (
    depth_factor,
    focal_factor,
    parse_size,
    resized,
    scaled_size,
    size_of,
    stride_of,
)

OWN = {"1.00": {"depth delta1": 0.6}}
LARGE = {"1.00": {"depth delta1": 0.7}}


def manifest() -> Manifest:
    return Manifest(
        name="rooms",
        sha256="0" * 64,
        height=240,
        width=320,
        focal_range=(160.0, 512.0),
        depth_range_m=(0.3, 10.0),
        classes=(LabelClass("wall", (0, 0, 0)),),
        blocks=(BlockSpec("block0", 60, 80, 32, 100), BlockSpec("block1", 30, 40, 64, 300)),
        dense_macs=1_000_000,
        heads=("depth",),
        license="none",
        training_data="none",
        budgets={"0.50": (2400, 300)},
        scores=OWN,
        scores_at={"480x360": LARGE},
        size_exponent=0.5,
    )


def test_grids_costs_budgets_and_focal_lengths_follow_the_size() -> None:
    large = resized(manifest(), (480, 360))
    assert size_of(large) == (480, 360)
    assert [(b.width, b.height) for b in large.blocks] == [(120, 90), (60, 45)]
    assert [b.macs_per_pixel for b in large.blocks] == [100, 300]
    assert large.dense_macs == 2_250_000
    assert large.focal_range == (240.0, 768.0)
    assert large.budgets == {"0.50": (5400, 675)}
    assert large.keep_for(1.0) == (120 * 90, 60 * 45)


def test_a_wide_size_shows_more_to_the_sides_at_the_same_scale() -> None:
    wide = resized(manifest(), (640, 240))
    assert [(b.width, b.height) for b in wide.blocks] == [(160, 60), (80, 30)]
    assert wide.focal_range == (160.0, 512.0)
    assert focal_factor(manifest(), wide) == 1.0


def test_scores_are_those_of_the_size() -> None:
    large = resized(manifest(), (480, 360))
    assert large.scores == LARGE
    assert large.scores_at == {"320x240": OWN}
    assert resized(manifest(), (160, 120)).scores == {}
    assert resized(large, (320, 240)) == manifest()


@pytest.mark.parametrize("size", [None, (320, 240)])
def test_the_own_size_changes_nothing(size: tuple[int, int] | None) -> None:
    odd = replace(manifest(), width=321)  # of which no grid is a stride, and none needs to be
    assert resized(manifest(), size) == manifest()
    assert resized(odd, None) == resized(odd, (321, 240)) == odd


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            (484, 360),
            r"484x360: rooms takes sides that are multiples of 8; near are 480x360 and 488",
        ),
        ((480, 364), r"near are 480x360 and 480x368"),
        ((2048, 1536), r"2048x1536: .* at most 2097152 pixels"),
        ((8, 240), r"8x240: .* sides of 16 or more"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size: tuple[int, int], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        resized(manifest(), size)


def test_the_largest_usual_size_is_allowed() -> None:
    assert size_of(resized(manifest(), (1920, 1080))) == (1920, 1080)


def test_a_grid_that_is_no_stride_of_the_input_keeps_the_model_at_its_size() -> None:
    odd = replace(manifest(), width=328)
    with pytest.raises(ModelError, match="rooms runs at 328x240 only: the grid of block0, 80x60"):
        resized(odd, (480, 360))
    with pytest.raises(ModelError, match="`pag_ros adopt` make models of other sizes"):
        resized(odd, (480, 360))


def test_scaled_sizes_are_rounded_up_to_what_the_strides_allow() -> None:
    assert scaled_size(manifest(), 0.5) == (160, 120)
    assert scaled_size(resized(manifest(), (480, 360)), 0.5) == (240, 184)
    assert scaled_size(manifest(), 1.5) == (480, 360)


def test_layers_round_up() -> None:
    assert stride_of((10, 8), (320, 240)) == 32
    assert stride_of((10, 7), (320, 240)) is None
    assert stride_of((320, 240), (320, 240)) == 1


def test_a_graph_is_given_the_focal_length_at_the_size_of_its_export() -> None:
    assert focal_factor(manifest(), resized(manifest(), (640, 480))) == 0.5
    assert focal_factor(manifest(), manifest()) == 1.0


@pytest.mark.parametrize(("exponent", "factor"), [(0.0, 1.0), (0.5, 2.0**0.5), (1.0, 2.0)])
def test_the_depth_follows_what_the_network_goes_by(exponent: float, factor: float) -> None:
    """By shares of the picture: not at all; by pixels: as the picture grows."""
    own = replace(manifest(), size_exponent=exponent)
    assert depth_factor(own, resized(own, (640, 480))) == pytest.approx(factor)
    assert depth_factor(own, own) == 1.0


@pytest.mark.parametrize("text", ["320x240", "320X240"])
def test_a_size_is_width_by_height(text: str) -> None:
    assert parse_size(text) == (320, 240)


@pytest.mark.parametrize(
    "text", ["", "320", "320x", "x240", "320*240", "8x240", "320x5000", "1e3x240"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="is not WIDTHxHEIGHT"):
        parse_size(text)
