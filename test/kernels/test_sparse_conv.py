"""One sparse convolution gives what its definition gives, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_operands import Operands, assert_close, listed

from pag_ros import kernels
from pag_ros.kernels import reference


def check(operands: Operands, count: int, **options: Any) -> None:
    """Compare with the definition at `count` random pixels."""
    pixels = operands.x.shape[0] * operands.x.shape[1]
    arguments = (operands.x, listed(pixels, count), count, operands.weight, operands.bias)
    workspace = options.pop("workspace", None)
    y = kernels.sparse_conv2d(*arguments, workspace=workspace, **options)
    assert_close(y, reference.sparse_conv2d(*arguments, **options))


@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    inputs=st.integers(1, 35),
    outputs=st.integers(1, 70),
    kernel=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 10),
    density=st.floats(0, 1),
    has_base=st.booleans(),
    activation=st.sampled_from(["none", "relu", "relu6"]),
    residual=st.booleans(),
    precision=st.sampled_from(["fp32", "bf16"]),
)
@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_shape_and_option(
    instruction_set,
    size,
    inputs,
    outputs,
    kernel,
    dilation,
    density,
    has_base,
    activation,
    residual,
    precision,
):
    operands = Operands.random(size, inputs, outputs, kernel)
    check(
        operands,
        round(density * size[0] * size[1]),
        base=operands.base if has_base else None,
        dilation=dilation,
        activation=activation,
        residual=residual and has_base,
        precision=precision,
    )


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    "count", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 17, 24, 25, 32, 33, 300, 357]
)
def test_every_count_around_a_tile_on_every_number_of_threads(
    instruction_set, precision, workspace, count, threads
):
    operands = Operands.random((17, 21), 12, 50, 3)
    check(
        operands,
        count,
        base=operands.base,
        residual=True,
        precision=precision,
        workspace=workspace(threads),
    )


@pytest.mark.parametrize(
    "channels", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 65, 127, 128, 130]
)
def test_channels_around_a_vector_and_a_panel(instruction_set, precision, channels):
    check(Operands.random((5, 6), 3, channels, 3), 20, activation="relu", precision=precision)
    check(Operands.random((5, 6), channels, 3, 3), 20, precision=precision)


def test_weights_larger_than_a_cache_group(instruction_set, precision, workspace):
    operands = Operands.random((6, 7), 512, 96, 3)
    check(operands, 40, precision=precision, workspace=workspace(2))


@pytest.mark.parametrize("dilation", range(1, 11))
def test_dilations_at_the_borders(instruction_set, precision, dilation):
    check(Operands.random((9, 12), 6, 5, 3), 108, dilation=dilation, precision=precision)


@pytest.mark.parametrize("dilation", [1000, 2**31 - 1])
def test_a_dilation_beyond_the_map_sees_the_middle_tap_only(precision, dilation):
    operands = Operands.random((3, 4), 2, 3, 3)
    arguments = (operands.x, listed(12, 12), 12)
    y = kernels.sparse_conv2d(
        *arguments, operands.weight, operands.bias, dilation=dilation, precision=precision
    )
    middle = np.ascontiguousarray(operands.weight[:, 1:2, 1:2])
    expected = reference.sparse_conv2d(*arguments, middle, operands.bias, precision=precision)
    assert_close(y, expected)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 5, 16, 21, 96, 230])
@pytest.mark.parametrize("count", [0, 1, 13, 63])
def test_depthwise(instruction_set, precision, kernel, channels, count):
    operands = Operands.random((7, 9), 1, channels, kernel)
    operands.x = operands.base
    check(operands, count, depthwise=True, activation="relu6", dilation=2, precision=precision)


@pytest.mark.parametrize("activation", ["none", "relu"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_pixel_follows_its_own_dilation(
    instruction_set, precision, workspace, activation, residual
):
    operands = Operands.random((13, 15), 8, 8, 3)
    choice = np.random.default_rng(2).choice([0, 1, 2, 4, 6, 8, 10], 13 * 15).astype(np.int32)
    check(
        operands,
        120,
        base=operands.base,
        dilation_map=choice,
        activation=activation,
        residual=residual,
        precision=precision,
        workspace=workspace(2),
    )


def test_at_dilation_zero_the_input_takes_the_place_of_the_convolution(precision):
    operands = Operands.random((3, 3), 4, 4, 3)
    y = kernels.sparse_conv2d(
        operands.x,
        listed(9, 9),
        9,
        operands.weight,
        operands.bias,
        dilation_map=np.zeros(9, np.int32),
        precision=precision,
    )
    expected = operands.x if precision == "fp32" else reference.to_bf16(operands.x)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("has_base", [False, True])
@pytest.mark.parametrize("count", [0, 11, 30])
def test_out_may_be_the_input_though_neighbours_read_it(
    instruction_set, precision, has_base, count
):
    operands = Operands.random((6, 5), 4, 4, 3)
    options: dict[str, Any] = {
        "base": operands.base if has_base else None,
        "precision": precision,
    }
    arguments = (listed(30, count), count, operands.weight, operands.bias)
    expected = reference.sparse_conv2d(operands.x, *arguments, **options)
    y = kernels.sparse_conv2d(operands.x, *arguments, **options, out=operands.x)
    assert y is operands.x
    assert_close(y, expected)


def test_out_may_be_the_base(precision):
    operands = Operands.random((6, 5), 4, 4, 3)
    arguments = (operands.x, listed(30, 11), 11, operands.weight, operands.bias)
    options: dict[str, Any] = {"base": operands.base, "residual": True, "precision": precision}
    expected = reference.sparse_conv2d(*arguments, **options)
    y = kernels.sparse_conv2d(*arguments, **options, out=operands.base)
    assert y is operands.base
    assert_close(y, expected)


def test_out_may_be_input_and_base_at_once(precision):
    operands = Operands.random((6, 5), 4, 4, 3)
    x = operands.x
    arguments = (x, listed(30, 11), 11, operands.weight, operands.bias)
    options: dict[str, Any] = {"base": x, "residual": True, "precision": precision}
    expected = reference.sparse_conv2d(*arguments, **options)
    assert_close(kernels.sparse_conv2d(*arguments, **options, out=x), expected)


def test_the_order_of_the_list_does_not_matter(precision):
    operands = Operands.random((6, 5), 4, 4, 3)
    index = listed(30, 12)[:12]
    arguments = (12, operands.weight, operands.bias)
    np.testing.assert_array_equal(
        kernels.sparse_conv2d(operands.x, index[::-1].copy(), *arguments, precision=precision),
        kernels.sparse_conv2d(operands.x, index, *arguments, precision=precision),
    )


def test_nan_stays_where_it_is(instruction_set, precision):
    operands = Operands.random((5, 5), 3, 3, 3)
    operands.x[0, 0, 0] = np.nan
    y = kernels.sparse_conv2d(
        operands.x,
        listed(25, 25),
        25,
        operands.weight,
        operands.bias,
        activation="relu",
        precision=precision,
    )
    assert np.isnan(y[:2, :2]).all()
    assert np.isfinite(y[2:]).all()


@pytest.mark.parametrize("depthwise", [False, True])
def test_bf16_is_the_nearest_and_of_two_the_even_one(instruction_set, depthwise):
    """Of inputs and of weights, through a convolution that multiplies by one."""
    even, odd = 1.0, 1.0 + 1 / 128
    halves = [(even + odd) / 2, odd + 1 / 256, -(even + odd) / 2]
    beside = np.nextafter(np.float32(halves), np.float32(9), dtype=np.float32)
    limits = [0.0, 3.4e38, 1e-37, np.finfo(np.float32).max, np.inf, -np.inf, np.nan]
    values = np.array([*halves, *beside, *limits], np.float32)
    one, none = np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32)
    options: dict[str, Any] = {"depthwise": depthwise, "precision": "bf16"}
    x = values.reshape(1, -1, 1)
    y = kernels.sparse_conv2d(x, listed(x.size, x.size), x.size, one, none, **options)
    np.testing.assert_array_equal(y, reference.to_bf16(x))
    assert y.ravel()[:3].tolist() == [1.0, 1.0 + 1 / 64, -1.0]
    for value in values[np.isfinite(values)]:
        y = kernels.sparse_conv2d(one[0], listed(1, 1), 1, one * value, none, **options)
        assert y.item() == reference.to_bf16(value.reshape(1)).item()


def test_bf16_is_native_where_the_processor_multiplies_it(instruction_set):
    native = instruction_set in ("amx", "avx512_bf16", "neon_bf16")
    assert kernels.has_native_bf16() is native


def test_the_definition_agrees_with_a_convolution_by_hand():
    x = np.arange(9, dtype=np.float32).reshape(3, 3, 1)
    weight = np.ones((1, 3, 3, 1), np.float32)
    y = reference.convolve(x, weight, np.array([0.5], np.float32), 1)
    assert y[..., 0].tolist() == [[8.5, 15.5, 12.5], [21.5, 36.5, 27.5], [20.5, 33.5, 24.5]]


X = np.zeros((4, 4, 3), np.float32)
WEIGHT = np.zeros((2, 3, 3, 3), np.float32)
PIXELS = np.arange(16, dtype=np.int32)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x", {"x": np.zeros((4, 4, 3))}),
        ("x", {"x": X[0]}),
        ("x", {"x": np.zeros((4, 4, 6), np.float32)[:, :, ::2]}),
        ("x", {"x": X.transpose(1, 0, 2)}),
        ("x", {"x": np.zeros((4, 4, 4), np.float32)}),
        ("x", {"x": X.astype(">f4")}),
        ("x", {"x": None}),
        ("weight", {"weight": np.zeros((2, 4, 4, 3), np.float32)}),
        ("weight", {"weight": np.zeros((2, 3, 1, 3), np.float32)}),
        ("weight", {"weight": np.zeros((0, 3, 3, 3), np.float32)}),
        ("weight", {"weight": WEIGHT.astype(np.float16)}),
        ("weight", {"depthwise": True}),
        ("bias", {"bias": np.zeros(3, np.float32)}),
        ("base", {"base": np.zeros((4, 4, 3), np.float32)}),
        ("out", {"out": np.zeros((4, 4, 2))}),
        ("out", {"out": np.zeros((4, 4, 4), np.float32)[:, :, :2]}),
        ("count", {"count": 17}),
        ("count", {"count": -1}),
        ("count", {"count": 5, "index": PIXELS[:4]}),
        ("index", {"index": np.full(16, 16, np.int32)}),
        ("index", {"index": np.full(16, -1, np.int32)}),
        ("index", {"index": np.full(16, 3, np.int32)}),
        ("index", {"index": PIXELS.astype(np.int64)}),
        ("index", {"index": np.arange(32, dtype=np.int32)[::2]}),
        ("residual", {"residual": True}),
        ("activation", {"activation": "tanh"}),
        ("precision", {"precision": "fp16"}),
        ("precision", {"precision": "BF16"}),
        ("dilation", {"dilation": 0}),
        ("dilation_map", {"dilation_map": np.ones(16, np.int32)}),
        (
            "dilation_map",
            {
                "dilation_map": np.ones(15, np.int32),
                "weight": np.zeros((3, 3, 3, 3), np.float32),
                "bias": np.zeros(3, np.float32),
            },
        ),
        (
            "dilation_map",
            {
                "dilation_map": np.full(16, -1, np.int32),
                "bias": np.zeros(3, np.float32),
                "weight": np.zeros((3, 3, 3, 3), np.float32),
            },
        ),
    ],
)
def test_a_wrong_argument_is_named(name, change, precision):
    arguments: dict[str, Any] = {
        "precision": precision,
        "x": X,
        "index": PIXELS,
        "count": 4,
        "weight": WEIGHT,
        "bias": np.zeros(2, np.float32),
    }
    with pytest.raises(ValueError, match=rf"^{name} "):
        kernels.sparse_conv2d(**{**arguments, **change})


def test_out_may_not_share_a_part_of_the_inputs():
    room = np.zeros(100, np.float32)
    x, out = room[:48].reshape(4, 4, 3), room[16:64].reshape(4, 4, 3)
    weight = np.zeros((3, 3, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"^out must not share a part of its memory with x"):
        kernels.sparse_conv2d(x, PIXELS, 4, weight, np.zeros(3, np.float32), out=out)


def test_nothing_is_written_when_the_list_is_wrong(precision):
    out = np.full((4, 4, 2), 7.0, np.float32)
    index = np.array([0, 1, 99], np.int32)
    with pytest.raises(ValueError, match=r"^index "):
        kernels.sparse_conv2d(
            X, index, 3, WEIGHT, np.zeros(2, np.float32), out=out, precision=precision
        )
    assert (out == 7.0).all()


def test_an_unknown_instruction_set_is_named_beside_the_known_ones(monkeypatch):
    monkeypatch.setenv("PAG_ROS_ISA", "mmx")
    with pytest.raises(
        ValueError, match=r"PAG_ROS_ISA is mmx, this processor has .*(portable|neon)"
    ):
        kernels.sparse_conv2d(X, PIXELS, 4, WEIGHT, np.zeros(2, np.float32))
