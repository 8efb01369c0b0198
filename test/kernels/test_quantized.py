"""Quantized convolutions give the bits of their definition, on every instruction set."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_operands import listed
from python_process import run_python

from pag_ros import kernels
from pag_ros.kernels import QuantizedBranch, QuantizedConvolution, Workspace, reference
from pag_ros.kernels.reference import QuantizedStep

SIZE = (9, 11)
PIXELS = SIZE[0] * SIZE[1]


def random_step(
    inputs: int, outputs: int, kernel: int, seed: int = 0, spread: float = 60.0, **options: Any
) -> QuantizedStep:
    """A step whose results spread by about so many units."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-128, 128, (outputs, kernel, kernel, inputs)).astype(np.int8)
    typical = 74.0 * 100.0 * np.sqrt(inputs * kernel * kernel)
    return QuantizedStep(
        weight,
        rng.integers(-(2**15), 2**15, outputs).astype(np.int32),
        (rng.uniform(0.5, 1.5, outputs) * spread / typical).astype(np.float32),
        **options,
    )


def branch_of(
    steps: list[QuantizedStep], input_scale: Any = 0.02, residual: bool = False
) -> QuantizedBranch:
    return QuantizedBranch(
        [QuantizedConvolution(**vars(step)) for step in steps], input_scale, residual
    )


def random_map(channels: int, size: tuple[int, int] = SIZE, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(1.0, 2.0, (*size, channels)).astype(np.float32)


def basic_block(channels: int, **options: Any) -> list[QuantizedStep]:
    return [
        random_step(channels, channels, 3, 1, activation="relu", zero_point=31, **options),
        random_step(channels, channels, 3, 2, spread=2.0, activation="relu", **options),
    ]


def bottleneck(channels: int, inner: int) -> list[QuantizedStep]:
    return [
        random_step(channels, inner, 1, 1, activation="relu", zero_point=100),
        random_step(inner, inner, 3, 2, zero_point=0),
        random_step(inner, channels, 1, 3, spread=2.0, zero_point=128),
    ]


@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    kernels_=st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3),
    dilation=st.integers(1, 10),
    density=st.floats(0, 1),
    zero_points=st.lists(st.integers(0, 255), min_size=3, max_size=3),
    activation=st.sampled_from(["none", "relu"]),
    has_base=st.booleans(),
    residual=st.booleans(),
)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_shape_and_option(
    instruction_set,
    size,
    inputs,
    outputs,
    kernels_,
    dilation,
    density,
    zero_points,
    activation,
    has_base,
    residual,
):
    steps = [
        random_step(
            inputs if depth == 0 else outputs,
            outputs,
            kernel,
            depth,
            zero_point=zero_points[depth],
            dilation=dilation,
            activation=activation,
        )
        for depth, kernel in enumerate(kernels_)
    ]
    base = random_map(outputs, size, 2) if has_base else None
    count = round(density * size[0] * size[1])
    arguments = (random_map(inputs, size), listed(size[0] * size[1], count), count)
    residual = residual and has_base
    expected = reference.quantized_branch(*arguments, steps, 0.02, base=base, residual=residual)
    workspace = Workspace(1)
    y = branch_of(steps, residual=residual)(*arguments, base=base, workspace=workspace)
    workspace.close()
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 4, 11, 12, 13, 15, 16, 17, 31, 32, 33, 64, 65, PIXELS])
@pytest.mark.parametrize("steps", [basic_block(20), bottleneck(20, 9)], ids=len)
def test_every_count_around_a_tile_on_every_number_of_threads(
    instruction_set, workspace, steps, count, threads
):
    x = random_map(20)
    arguments = (x, listed(PIXELS, count), count)
    expected = reference.quantized_branch(*arguments, steps, 0.02, base=x, residual=True)
    branch = branch_of(steps, residual=True)
    y = branch(*arguments, base=x, workspace=workspace(threads))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("channels", [1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 127, 128, 130])
def test_channels_around_a_vector_and_a_step(instruction_set, workspace, channels):
    steps = [
        random_step(3, channels, 3, zero_point=7, activation="relu"),
        random_step(channels, 3, 1),
    ]
    arguments = (random_map(3), listed(PIXELS, 50), 50)
    expected = reference.quantized_branch(*arguments, steps, 0.02)
    np.testing.assert_array_equal(branch_of(steps)(*arguments, workspace=workspace(1)), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_weights_larger_than_a_cache_group(instruction_set, workspace, threads):
    """Seven panels of output channels, four at a time and then the rest."""
    steps = [
        random_step(512, 200, 3, 1, zero_point=9, activation="relu"),
        random_step(200, 512, 3, 2, spread=2.0, zero_point=31),
    ]
    x = random_map(512)
    arguments = (x, listed(PIXELS, 40), 40)
    expected = reference.quantized_branch(*arguments, steps, 0.02, base=x, residual=True)
    y = branch_of(steps, residual=True)(*arguments, base=x, workspace=workspace(threads))
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("value", [-1e9, 1e9])
@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("zero_point", [0, 128, 255])
def test_sums_of_the_largest_products_are_exact(
    instruction_set, workspace, value, weight, zero_point
):
    """Where 16 bits would not hold two of the products, nor a float all of them."""
    channels = 7000
    step = QuantizedStep(
        np.full((2, 3, 3, channels), weight, np.int8),
        np.array([5, -7], np.int32),
        np.ones(2, np.float32),
        zero_point,
    )
    x = np.full((3, 3, channels), value, np.float32)
    arguments = (x, listed(9, 9), 9)
    expected = reference.quantized_branch(*arguments, [step], 1.0)
    y = branch_of([step], 1.0)(*arguments, workspace=workspace(1))
    np.testing.assert_array_equal(y, expected)


def test_halves_are_rounded_to_even_integers_and_nan_is_the_lowest(instruction_set, workspace):
    """Through a convolution that changes nothing but the zero point."""
    values = [-300.0, -100.0, -99.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 154.5, 155.0, 300.0]
    values += [np.nan, np.inf, -np.inf]
    x = np.array(values, np.float32).reshape(3, 5, 1)
    one = QuantizedStep(
        np.ones((1, 1, 1, 1), np.int8), np.zeros(1, np.int32), np.ones(1, np.float32), 100
    )
    y = branch_of([one, replace(one, zero_point=90)], 1.0)(
        x, listed(15, 15), 15, workspace=workspace(1)
    )
    expected = [-90.0, -90, -90, -2, -2, 0, 0, 2, 2, 154, 155, 155, -90, 155, -90]
    assert y.ravel().tolist() == expected


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("count", [0, 11, PIXELS])
def test_out_may_be_the_input_though_neighbours_read_it(instruction_set, workspace, kernel, count):
    step = random_step(20, 20, kernel, zero_point=40, activation="relu")
    x = random_map(20)
    arguments = (listed(PIXELS, count), count)
    expected = reference.quantized_branch(x, *arguments, [step], 0.02, base=x, residual=True)
    y = branch_of([step], residual=True)(x, *arguments, base=x, out=x, workspace=workspace(2))
    assert y is x
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("count", [0, 33, PIXELS])
def test_blocks_that_follow_one_another_keep_the_rounded_map(instruction_set, workspace, count):
    """The same as if each rounded its input, and a map that is the rounded result."""
    blocks = [basic_block(20), basic_block(20), basic_block(20)]
    expected = x = random_map(20)
    index, y, stream = listed(PIXELS, count), x.copy(), branch_of(blocks[0]).quantize(x)
    for steps in blocks:
        expected = reference.quantized_branch(
            expected, index, count, steps, 0.02, base=expected, residual=True
        )
        branch = branch_of(steps, residual=True)
        branch(y, index, count, base=y, stream=stream, out=y, workspace=workspace(2))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(stream, branch_of(blocks[0]).quantize(expected))


def units_of(channels: int, seed: int = 8) -> Any:
    return np.random.default_rng(seed).uniform(0.005, 0.05, channels).astype(np.float32)


def multipool_block(channels: int, place: int) -> list[QuantizedStep]:
    """A block whose convolution at `place` takes its dilations from the map."""
    steps = basic_block(channels)
    passed = units_of(channels, 9) * (20 if place == 0 else 1)
    steps[place] = replace(steps[place], by_map=True, passed=passed)
    return steps


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("with_stream", [False, True])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("count", [0, 5, 40, PIXELS])
def test_every_pixel_may_have_a_dilation_of_its_own(
    instruction_set, workspace, count, place, with_stream, threads
):
    x, steps, units = random_map(20), multipool_block(20, place), units_of(20)
    dilations = np.random.default_rng(5).integers(0, 12, PIXELS).astype(np.int32)
    index = listed(PIXELS, count)
    expected = reference.quantized_branch(
        x, index, count, steps, units, base=x, dilation_map=dilations, residual=True
    )
    branch = branch_of(steps, units, residual=True)
    y, stream = x.copy(), branch.quantize(x) if with_stream else None
    more = {"out": y, "stream": stream, "workspace": workspace(threads)}
    branch(y, index, count, base=y, dilation_map=dilations, **more)
    np.testing.assert_array_equal(y, expected)
    if stream is not None:
        np.testing.assert_array_equal(stream, branch.quantize(expected))


def test_every_channel_may_have_units_of_its_own(instruction_set, workspace):
    x, steps, units = random_map(37), basic_block(37), units_of(37)
    expected = reference.quantized_branch(x, INDEX, 16, steps, units, base=x, residual=True)
    branch = branch_of(steps, units, residual=True)
    y = branch(x, INDEX, 16, base=x, workspace=workspace(1))
    np.testing.assert_array_equal(y, expected)
    rounded = np.rint(np.clip(x * (np.float32(1) / units), -31, 224)) + 31
    np.testing.assert_array_equal(branch.quantize(x), rounded)


def test_an_input_that_is_no_number_passes_through_as_the_lowest(instruction_set, workspace):
    x, steps = random_map(20), multipool_block(20, 1)
    x[2, 3] = np.nan
    dilations = np.zeros(PIXELS, np.int32)
    options = {"dilation_map": dilations, "base": x, "residual": True}
    expected = reference.quantized_branch(x, INDEX, 16, steps, 0.02, **options)
    branch = branch_of(steps, residual=True)
    y, stream = x.copy(), branch.quantize(x)
    branch(
        y, INDEX, 16, base=y, dilation_map=dilations, stream=stream, out=y, workspace=workspace(1)
    )
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(stream, branch.quantize(expected))


def test_the_rounded_map_is_that_of_the_definition(instruction_set):
    x, steps = random_map(20, (7, 5)), basic_block(20)
    expected = np.rint(np.clip(x * np.float32(1 / np.float32(0.02)), -31, 224)) + 31
    np.testing.assert_array_equal(branch_of(steps).quantize(x), expected)
    with pytest.raises(ValueError, match=r"^x must be contiguous \[H,W,20\] float32"):
        branch_of(steps).quantize(x[:, :, :10])


@pytest.mark.parametrize(
    ("message", "steps", "stream"),
    [
        ("must be contiguous .*uint8", basic_block(20), np.zeros((*SIZE, 20), np.int8)),
        ("must be contiguous .*uint8", basic_block(20), np.zeros((*SIZE, 19), np.uint8)),
        ("needs two", [random_step(20, 20, 3)], np.zeros((*SIZE, 20), np.uint8)),
        (
            "needs two",
            [random_step(20, 20, 3), random_step(20, 9, 3)],
            np.zeros((*SIZE, 20), np.uint8),
        ),
    ],
)
def test_a_wrong_stream_is_refused(workspace, message, steps, stream):
    arguments = (random_map(20), listed(PIXELS, 9), 9)
    with pytest.raises(ValueError, match=rf"^stream {message}"):
        branch_of(steps)(*arguments, stream=stream, workspace=workspace(1))


def test_a_stream_may_not_share_memory_with_another_array(workspace):
    x = random_map(20)
    stream = x.reshape(-1).view(np.uint8)[: x.size].reshape(x.shape)
    with pytest.raises(ValueError, match=r"^stream must not share a part of its memory with x"):
        branch_of(basic_block(20))(x, listed(PIXELS, 9), 9, stream=stream, workspace=workspace(1))


def test_it_computes_about_what_the_float_convolutions_do(instruction_set, workspace):
    """With scales made of real weights, as a network's would be."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.05, (20, 3, 3, 20)).astype(np.float32)
    bias = rng.normal(0, 0.2, 20).astype(np.float32)
    x = np.maximum(random_map(20), 0)
    arguments = (x, listed(PIXELS, 60), 60)
    floats = kernels.Convolution(weight, bias, activation="relu")
    expected = kernels.Branch([floats, floats], True)(*arguments, base=x, workspace=workspace(1))

    input_scale, inner_scale = float(x.max()) / 255, 6.0 / 255
    unit = np.abs(weight).max(axis=(1, 2, 3)) / 127
    rounded = np.rint(weight / unit[:, None, None, None]).astype(np.int8)
    steps = [
        QuantizedStep(
            rounded,
            np.rint(bias / (unit * scale)).astype(np.int32),
            (unit * scale / following).astype(np.float32),
            activation="relu",
        )
        for scale, following in [(input_scale, inner_scale), (inner_scale, 1.0)]
    ]
    branch = branch_of(steps, input_scale, True)
    y = branch(*arguments, base=x, workspace=workspace(1))
    assert np.abs(y - expected).max() < 0.02 * np.abs(expected).max()


def test_the_result_does_not_depend_on_earlier_calls(instruction_set, workspace):
    """Larger maps and other zero points leave nothing behind in the workspace."""
    shared = workspace(3)
    blocks = [(basic_block(20), 70), (bottleneck(33, 40), PIXELS), (basic_block(5), 12)]
    for _ in range(5):
        for steps, count in blocks:
            x = random_map(steps[0].weight.shape[3])
            arguments = (x, listed(PIXELS, count), count)
            expected = reference.quantized_branch(*arguments, steps, 0.02)
            np.testing.assert_array_equal(branch_of(steps)(*arguments, workspace=shared), expected)


def test_two_threads_work_at_once_with_a_workspace_each(workspace):
    steps, x = basic_block(20), random_map(20)
    branch = branch_of(steps)
    expected = branch(x, listed(PIXELS, 70), 70, workspace=workspace(1))
    results: list[Any] = []

    def work() -> None:
        own = Workspace(2)
        results.extend(branch(x, listed(PIXELS, 70), 70, workspace=own) for _ in range(50))
        own.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 150
    assert all(np.array_equal(result, expected) for result in results)


def test_a_list_that_another_thread_changes_gives_another_result_and_nothing_worse(workspace):
    steps, x = basic_block(20), random_map(20)
    branch, index, running = branch_of(steps), listed(PIXELS, PIXELS), True

    def disturb() -> None:
        while running:
            index[:] = 10**9
            index[:] = np.arange(PIXELS)

    thread = threading.Thread(target=disturb)
    thread.start()
    own = workspace(2)
    for _ in range(300):
        with contextlib.suppress(ValueError):
            branch(x, index, PIXELS, workspace=own)
    running = False
    thread.join()
    expected = branch(x, listed(PIXELS, PIXELS), PIXELS, workspace=workspace(1))
    np.testing.assert_array_equal(branch(x, index, PIXELS, workspace=own), expected)


@pytest.mark.skipif("amx" not in kernels.instruction_sets(), reason="a processor without AMX")
def test_a_system_that_refuses_amx_gets_the_next_best_instruction_set():
    """Linux refuses the tiles where a stack for signals has no room to save them."""
    code = """
import ctypes
class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
memory = ctypes.create_string_buffer(8192)
stack = Stack(ctypes.addressof(memory), 0, len(memory))
assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
from pag_ros import kernels
print(kernels.chosen_instruction_set(), "amx" in kernels.instruction_sets())
"""
    done = run_python(code)
    following = kernels.instruction_sets()[kernels.instruction_sets().index("amx") + 1]
    assert done.stdout == f"{following} False\n", done.stderr


WEIGHT = np.zeros((2, 3, 3, 4), np.int8)
BIAS = np.zeros(2, np.int32)
SCALE = np.ones(2, np.float32)
SQUARE = np.ones((2, 3, 3, 2), np.int8)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("weight", {"weight": WEIGHT.astype(np.uint8)}),
        ("weight", {"weight": WEIGHT.astype(np.float32)}),
        ("weight", {"weight": WEIGHT[0]}),
        ("weight", {"weight": WEIGHT[:, :, :1]}),
        ("weight", {"weight": WEIGHT[:, :, :, ::2]}),
        ("weight", {"weight": np.zeros((2, 7, 7, 4), np.int8)}),
        ("weight", {"weight": np.zeros((0, 3, 3, 4), np.int8)}),
        ("weight", {"weight": np.zeros((2, 3, 3, 0), np.int8)}),
        ("weight", {"weight": np.full((2, 1, 1, 70000), -128, np.int8)}),
        ("weight", {"weight": np.ones_like(WEIGHT), "bias": np.array([0, 2**31 - 1], np.int32)}),
        ("weight", {"weight": np.ones_like(WEIGHT), "bias": np.array([-(2**31), 0], np.int32)}),
        ("bias", {"bias": BIAS.astype(np.int64)}),
        ("bias", {"bias": BIAS[:1]}),
        ("scale", {"scale": SCALE.astype(np.float64)}),
        ("scale", {"scale": np.ones(3, np.float32)}),
        ("scale", {"scale": np.array([1, np.nan], np.float32)}),
        ("scale", {"scale": np.array([1, np.inf], np.float32)}),
        ("zero_point", {"zero_point": -1}),
        ("zero_point", {"zero_point": 256}),
        ("dilation", {"dilation": 0}),
        ("dilation_map", {"by_map": True, "passed": SCALE}),
        ("passed", {"weight": SQUARE, "by_map": True}),
        ("passed", {"weight": SQUARE, "by_map": True, "passed": np.ones(3, np.float32)}),
        ("passed", {"weight": SQUARE, "by_map": True, "passed": SCALE * np.float32(np.inf)}),
        ("activation", {"activation": "relu6"}),
    ],
)
def test_a_wrong_argument_of_a_convolution_is_named(name, change):
    arguments: dict[str, Any] = {"weight": WEIGHT, "bias": BIAS, "scale": SCALE}
    with pytest.raises(ValueError, match=rf"^{name} "):
        QuantizedConvolution(**{**arguments, **change})


X = np.zeros((4, 4, 4), np.float32)
INDEX = np.arange(16, dtype=np.int32)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x", {"x": X.astype(np.uint8)}),
        ("x", {"x": X[0]}),
        ("x", {"x": X[:, :, :3]}),
        ("x", {"x": None}),
        ("index", {"index": np.full(16, 16, np.int32)}),
        ("index", {"index": np.full(16, -1, np.int32)}),
        ("index", {"index": np.full(16, 3, np.int32)}),
        ("index", {"index": INDEX.astype(np.int64)}),
        ("count", {"count": 17}),
        ("count", {"count": -1}),
        ("base", {"base": np.zeros((4, 4, 3), np.float32)}),
        ("residual", {"base": None}),
        ("out", {"out": np.zeros((4, 4, 2))}),
    ],
)
def test_a_wrong_argument_of_a_call_is_named_and_nothing_is_written(workspace, name, change):
    step = QuantizedConvolution(WEIGHT, BIAS, SCALE)
    out = np.full((4, 4, 2), 7.0, np.float32)
    arguments: dict[str, Any] = {
        "x": X,
        "index": INDEX,
        "count": 4,
        "base": np.zeros((4, 4, 2), np.float32),
        "out": out,
        "workspace": workspace(1),
    }
    with pytest.raises(ValueError, match=rf"^{name} "):
        QuantizedBranch([step], 1.0, residual=True)(**{**arguments, **change})
    assert (out == 7.0).all()


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e-45])
def test_a_wrong_input_scale_is_named(scale):
    scales = np.array([1.0, 1.0, 1.0, scale], np.float32)
    for each in (scale, scales):
        with pytest.raises(ValueError, match=r"^input_scale must be positive numbers"):
            QuantizedBranch([QuantizedConvolution(WEIGHT, BIAS, SCALE)], each)


def test_there_is_an_input_scale_for_every_channel():
    with pytest.raises(ValueError, match=r"^input_scale must be \[4\] float32, got \[3\]"):
        QuantizedBranch([QuantizedConvolution(WEIGHT, BIAS, SCALE)], np.ones(3, np.float32))


def test_convolutions_that_do_not_fit_together_are_refused():
    step = QuantizedConvolution(WEIGHT, BIAS, SCALE)
    with pytest.raises(ValueError, match=r"^layers must fit together, layer 1 takes 4 .* gets 2"):
        QuantizedBranch([step, step], 1.0)
    with pytest.raises(ValueError, match=r"^layers must hold one layer"):
        QuantizedBranch([], 1.0)
