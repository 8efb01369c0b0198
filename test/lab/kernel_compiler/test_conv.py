"""The GPU's sparse convolution gives what its definition gives, in every variant.

Run in Triton's interpreter, one program after another on the CPU, with NumPy's sums: this proves
that addresses, masks and arithmetic are right, not that programs which run at once keep out of each
other's way, nor what tensor cores round, nor speed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gpu_operands import assert_close, assert_result

from pag_ros.kernels.gpu.programs import ConvSpec, launch
from pag_ros.lab.gpu_check.operands import expected, random_inputs, random_lists

SIZE = (9, 13)
PIXELS = SIZE[0] * SIZE[1]
TILE = 32
COUNTS = [0, 1, TILE - 1, TILE, TILE + 1, round(0.3 * PIXELS), round(0.7 * PIXELS), PIXELS]


def check(interpreter, spec: ConvSpec, count: int, how=None) -> None:
    inputs = random_inputs(spec, count)
    y = interpreter.run(spec, inputs, how=how)["y"]
    assert_result(spec, inputs, y)


def conv(size=SIZE, channels=16, features=16, **options) -> ConvSpec:
    return ConvSpec(*size, channels, features, **options)


def test_the_counts_below_are_those_around_a_tile():
    assert launch(conv(), 80).constants["BLOCK_M"] == TILE


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("x_rows", [False, True])
@pytest.mark.parametrize("out_rows", [False, True])
def test_maps_and_rows_at_every_density(interpreter, count, kernel, x_rows, out_rows):
    spec = conv(kernel=kernel, x_rows=x_rows, out_rows=out_rows, activation="relu")
    check(interpreter, spec, count)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_base_copied_or_in_place(interpreter, count, in_place, residual):
    spec = conv(x_rows=True, base=True, in_place=in_place, residual=residual, activation="relu")
    check(interpreter, spec, count)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("residual", [False, True])
def test_activations(interpreter, activation, residual):
    check(interpreter, conv(base=True, residual=residual, activation=activation), 50)


@pytest.mark.parametrize("channels", [1, 3, 7, 8, 15, 17, 33, 65])
@pytest.mark.parametrize("x_rows", [False, True])
def test_channels_of_any_number(interpreter, channels, x_rows):
    check(interpreter, conv((5, 7), channels, 7, x_rows=x_rows), 20)
    check(interpreter, conv((5, 7), 5, channels, x_rows=x_rows, kernel=1, out_rows=True), 20)


@pytest.mark.parametrize("dilation", [1, 2, 4, 8, 10, 1000])
@pytest.mark.parametrize("x_rows", [False, True])
def test_dilations_at_the_borders(interpreter, dilation, x_rows):
    check(interpreter, conv(dilation=dilation, x_rows=x_rows), PIXELS)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 5)])
def test_odd_sizes(interpreter, size):
    pixels = size[0] * size[1]
    check(interpreter, conv(size, 5, 9, base=True, residual=True), pixels)
    check(interpreter, conv(size, 5, 9, x_rows=True, base=True, in_place=True), pixels // 2)


@pytest.mark.parametrize("x_rows", [False, True])
@pytest.mark.parametrize("out_rows", [False, True])
@pytest.mark.parametrize("count", [0, 1, 60, PIXELS])
def test_every_pixel_follows_its_own_dilation(interpreter, x_rows, out_rows, count):
    spec = conv(by_map=True, x_rows=x_rows, out_rows=out_rows, activation="relu")
    check(interpreter, spec, count)


def test_a_map_of_dilations_with_base_and_residual(interpreter):
    check(interpreter, conv(by_map=True, base=True, residual=True, activation="relu6"), 60)


def test_at_dilation_zero_the_input_takes_the_place_of_the_convolution(interpreter):
    spec = conv(by_map=True)
    inputs = random_inputs(spec, PIXELS)
    inputs["dilation"][:] = 0
    np.testing.assert_array_equal(interpreter.run(spec, inputs)["y"], inputs["x"])


@pytest.mark.parametrize("capability", [80, 86, 87, 89, 90, 110, 120])
def test_the_tiles_of_every_target(interpreter, capability):
    """The tile that each target uses for a large map, here on a small one."""
    large = launch(ConvSpec(120, 160, 128, 128), capability).constants
    spec = conv((11, 13), 40, 72, x_rows=True, base=True, residual=True)
    here = launch(spec, capability)
    tile = {name: large[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K")}
    grid = (-(-143 // tile["BLOCK_M"]), -(-72 // tile["BLOCK_N"]), 1)
    check(interpreter, spec, 135, replace(here, grid=grid, constants={**here.constants, **tile}))


@pytest.mark.parametrize("garbage", [2**31 - 1, -(2**31), PIXELS])
@pytest.mark.parametrize("x_rows", [False, True])
@pytest.mark.parametrize(("kernel", "by_map"), [(1, False), (3, False), (3, True)])
def test_garbage_in_the_lists_reads_and_writes_nothing_foreign(
    interpreter, garbage, x_rows, kernel, by_map
):
    """The interpreter reads and writes real memory: a foreign address would end this process."""
    spec = conv(by_map=by_map, x_rows=x_rows, kernel=kernel, base=True, residual=True)
    inputs = random_inputs(spec, PIXELS)
    for name in ("index", "slot", "count"):
        inputs[name] = np.full_like(inputs[name], garbage)
    assert interpreter.run(spec, inputs)["y"].shape == inputs["base"].shape


def test_nan_stays_where_it_is(interpreter):
    spec = conv((5, 5), 3, 3, activation="relu6")
    inputs = random_inputs(spec, 25)
    inputs["x"][0, 0, 0] = np.nan
    y = interpreter.run(spec, inputs)["y"][0]
    assert np.isnan(y[:2, :2]).all()
    assert np.isfinite(y[2:]).all()


def test_pixels_past_count_keep_the_base_even_in_their_tile(interpreter):
    spec = conv(x_rows=True, base=True, in_place=True)
    inputs = random_inputs(spec, 40)
    y = interpreter.run(spec, inputs)["y"].reshape(PIXELS, -1)
    others = inputs["slot"] < 0
    np.testing.assert_array_equal(y[others], inputs["base"].reshape(PIXELS, -1)[others])


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("in_place", [False, True])
def test_a_branch_of_rows_is_the_branch_of_maps(interpreter, count, in_place):
    """A bottleneck's three convolutions, with a dilated 3x3 between rows."""
    chain = [
        conv(channels=20, features=9, kernel=1, out_rows=True, activation="relu"),
        conv(channels=9, features=9, dilation=2, x_rows=True, out_rows=True, activation="relu"),
        conv(
            channels=9,
            features=20,
            kernel=1,
            x_rows=True,
            base=True,
            residual=True,
            activation="relu",
            in_place=in_place,
        ),
    ]
    shared = random_lists(PIXELS, count)
    x = random_inputs(chain[0], count)["x"]
    value, wanted = x, x[0].astype(np.float32)
    for number, spec in enumerate(chain):
        inputs = {**random_inputs(spec, count, seed=number), **shared, "x": value}
        if spec.base:
            inputs["base"] = x
        inputs["bias"] *= 0.1
        wanted = _by_maps(spec, inputs, wanted, x)
        value = interpreter.run(spec, inputs)["y"]
    assert_close(value[0], wanted)


def test_the_heads_of_a_multipool_choose_its_dilations(interpreter):
    """1x1, 3x3, 1x1 to seven logits as a map, then the convolution that obeys their argmax."""
    heads = [
        conv(channels=16, features=24, kernel=1, out_rows=True, activation="relu"),
        conv(channels=24, features=8, x_rows=True, out_rows=True, activation="relu"),
        conv(channels=8, features=7, kernel=1, x_rows=True),
    ]
    count = 70
    shared = random_lists(PIXELS, count)
    x = random_inputs(heads[0], count)["x"]
    value, wanted = x, x[0].astype(np.float32)
    for number, spec in enumerate(heads):
        inputs = {**random_inputs(spec, count, seed=number), **shared, "x": value}
        inputs["bias"] *= 0.1
        wanted = _by_maps(spec, inputs, wanted, x)
        value = interpreter.run(spec, inputs)["y"]
    assert_close(value[0], wanted)

    steps = np.array([0, 1, 2, 4, 6, 8, 10], np.int32)
    spec = conv(by_map=True, out_rows=True, activation="relu")
    inputs = {**random_inputs(spec, count), **shared, "x": x}
    inputs["dilation"] = steps[value[0].argmax(-1).ravel()]
    assert len(np.unique(inputs["dilation"][shared["slot"] >= 0])) > 3
    assert_result(spec, inputs, interpreter.run(spec, inputs)["y"])


def _by_maps(spec, inputs, x, base):
    """One convolution of a branch by the definition, from a dense map to a dense map."""
    dense = replace(spec, x_rows=False, out_rows=False, in_place=False)
    given = {**inputs, "x": x[None]}
    if spec.base:
        given["base"] = base
    return expected(dense, given)
