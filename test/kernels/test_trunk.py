"""A trunk gives what its blocks give one after another: scores, choice, convolutions, time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pag_ros import kernels
from pag_ros.budget.trimming import NEVER_TRIMMED, trimmed_keep
from pag_ros.kernels import Branch, Convolution, QuantizedBranch, Trunk, TrunkBlock, reference
from pag_ros.kernels.quantizing import Ranges, Weights, quantized_branch

HEIGHT, WIDTH, CHANNELS = 9, 13, 70
PIXELS = HEIGHT * WIDTH
DILATIONS = (0, 1, 2, 4)
UNTRIMMED = (*NEVER_TRIMMED, -np.inf)

Branches = tuple[Branch | QuantizedBranch, Branch | QuantizedBranch | None]


def random_weights(outputs: int, kernel: int, inputs: int, seed: int, **options: Any) -> Weights:
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 1 / np.sqrt(kernel * kernel * inputs), (outputs, kernel, kernel, inputs))
    bias = rng.normal(0, 0.1, outputs)
    return Weights(weight.astype(np.float32), bias.astype(np.float32), **options)


class Definition:
    """Blocks, of which the second chooses dilations, and what they are to give."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        rng = np.random.default_rng(0)
        self.x = np.maximum(rng.normal(0.5, 1, (HEIGHT, WIDTH, CHANNELS)), 0).astype(np.float32)
        self.gates = rng.normal(0, 1, (3, CHANNELS)).astype(np.float32)
        self.biases = (0.3, -0.2, 0.1)
        self.convolutions = [
            [
                random_weights(CHANNELS, 3, CHANNELS, 10 + at, activation="relu", by_map=at == 1),
                random_weights(CHANNELS, 3, CHANNELS, 20 + at, activation="relu"),
            ]
            for at in range(3)
        ]
        self.predictor = [
            random_weights(8, 1, CHANNELS, 30, activation="relu"),
            random_weights(len(DILATIONS), 3, 8, 31),
        ]
        self.ranges = Ranges(np.zeros(CHANNELS), np.full(CHANNELS, 9.0))

    def branch(self, weights: list[Weights], residual: bool) -> Branch | QuantizedBranch:
        if self.precision == "int8":
            inner = Ranges(np.zeros(weights[0].outputs), np.full(weights[0].outputs, 6.0))
            return quantized_branch(weights, [self.ranges, inner], residual)
        precision: Any = self.precision
        return Branch([each.packed() for each in weights], residual, precision)

    def branches(self, at: int) -> Branches:
        """(branch, predictor) of a block."""
        predictor = self.branch(self.predictor, False) if at == 1 else None
        return self.branch(self.convolutions[at], True), predictor

    def blocks(self) -> list[TrunkBlock]:
        return [
            TrunkBlock(gate, bias, *self.branches(at), dilations=DILATIONS if at == 1 else ())
            for at, (gate, bias) in enumerate(zip(self.gates, self.biases, strict=True))
        ]

    def expected(self, keep: list[int], workspace: kernels.Workspace) -> tuple[Any, list[Any]]:
        """(y, the pixels of each block): block after block, by the lone kernels."""
        y, chosen = self.x, []
        for at, (gate, bias) in enumerate(zip(self.gates, self.biases, strict=True)):
            score = (y @ gate + np.float32(bias)).astype(np.float32)
            index = reference.select(score, keep[at])
            chosen.append(index)
            branch, predictor = self.branches(at)
            options: dict[str, Any] = {}
            if predictor is not None:
                outputs = predictor(y, index, keep[at], workspace=workspace)
                table = np.array(DILATIONS, np.int32)
                options["dilation_map"] = table[outputs.argmax(axis=-1).ravel()]
            y = branch(y, index, keep[at], base=y, workspace=workspace, **options)
        return y, chosen


def run(
    trunk: Trunk,
    x: Any,
    keep: list[int],
    workspace: kernels.Workspace,
    plan: Any = (UNTRIMMED,) * 3,
    elapsed: float = 0.0,
) -> tuple[Any, list[Any], list[float]]:
    y, index = x.copy(), [np.full(PIXELS, -7, np.int32) for _ in keep]
    plan = np.array(plan, np.float32)
    counts, marks = trunk(
        y, np.array(keep, np.int32), plan, elapsed, index=index, out=y, workspace=workspace
    )
    return y, [each[:count] for each, count in zip(index, counts, strict=True)], marks


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("keep", [(0, 0, 0), (1, 60, 0), (40, 33, 90), (PIXELS,) * 3])
def test_it_gives_what_its_blocks_give(instruction_set, workspace, keep, precision, threads):
    definition = Definition(precision)
    work = workspace(threads)
    y, chosen, _ = run(Trunk(definition.blocks()), definition.x, [*keep], work)
    expected, pixels = definition.expected([*keep], work)
    for found, wanted in zip(chosen, pixels, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_leaves_its_input_alone_and_writes_the_result_elsewhere(workspace, threads):
    definition, work = Definition("fp32"), workspace(threads)
    x, keep = definition.x.copy(), [40, 33, 90]
    out, index = np.full_like(x, np.nan), [np.zeros(PIXELS, np.int32) for _ in keep]
    plan = np.array([UNTRIMMED] * 3, np.float32)
    trunk = Trunk(definition.blocks())
    trunk(x, np.array(keep, np.int32), plan, 0.0, index=index, out=out, workspace=work)
    np.testing.assert_array_equal(x, definition.x)
    np.testing.assert_allclose(out, definition.expected(keep, work)[0], atol=1e-5)


class Step:
    """A block of `inputs` channels to `outputs`, by a projection where they differ.

    Where they do not, a block projects if `projects`.
    """

    def __init__(
        self, inputs: int, outputs: int, precision: str, seed: int, projects: bool
    ) -> None:
        self.projects = projects or inputs != outputs
        self.gate = np.random.default_rng(seed).normal(size=inputs).astype(np.float32)
        last = "none" if self.projects else "relu"
        convolutions = [
            random_weights(outputs, 3, inputs, seed + 1, activation="relu"),
            random_weights(outputs, 3, outputs, seed + 2, activation=last),
        ]
        shortcut = random_weights(outputs, 1, inputs, seed + 3)
        self.branch: Branch | QuantizedBranch
        self.projection: Branch | QuantizedBranch | None = None
        if precision == "int8":
            # A map of other channels has other units.
            read = Ranges(np.zeros(inputs), np.full(inputs, 9.0 + inputs / 10))
            inner = Ranges(np.zeros(outputs), np.full(outputs, 6.0))
            self.branch = quantized_branch(convolutions, [read, inner], True)
            shortcuts: Any = quantized_branch([shortcut], [read], False)
        else:
            kind: Any = precision
            self.branch = Branch([each.packed() for each in convolutions], True, kind)
            shortcuts = Branch([shortcut.packed()], False, kind)
        if self.projects:
            self.projection = shortcuts

    def block(self) -> TrunkBlock:
        return TrunkBlock(self.gate, 0.1, self.branch, projection=self.projection)

    def expected(self, x: Any, keep: int, workspace: kernels.Workspace) -> tuple[Any, Any]:
        """(y, pixels) by the lone kernels."""
        score = (x @ self.gate + np.float32(0.1)).astype(np.float32)
        index = reference.select(score, keep)
        if self.projection is None:
            return self.branch(x, index, keep, base=x, workspace=workspace), index
        everywhere = np.arange(PIXELS, dtype=np.int32)
        base = self.projection(x, everywhere, PIXELS, workspace=workspace)
        return np.maximum(self.branch(x, index, keep, base=base, workspace=workspace), 0.0), index


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize(
    "channels",
    [
        (40, 70),  # a projection alone
        (40, 70, 33),  # two, one behind the other
        (40, 40, 70),  # behind a block without one
        (40, 70, 70),  # before one
        (8, 8, 40, 40, 33, 70, 70),
    ],
)
def test_projections_lead_from_one_map_to_another(
    instruction_set, workspace, channels, precision, threads
):
    steps = [
        Step(inputs, outputs, precision, 10 * at, projects=False)
        for at, (inputs, outputs) in enumerate(pairwise(channels))
    ]
    check_steps(steps, [37 * at % PIXELS for at in range(1, len(channels))], workspace(threads))


@pytest.mark.parametrize("keep", [0, PIXELS])
def test_a_projection_stands_alone_where_no_pixel_is_computed(instruction_set, workspace, keep):
    """With as many channels as before: nothing but the projection tells such a block apart."""
    check_steps([Step(40, 40, "fp32", 3, projects=True)], [keep], workspace(2))


def test_maps_in_floats_and_rounded_ones_may_follow_one_another(workspace):
    precisions = ("int8", "fp32", "int8")
    steps = [Step(40, 40, each, 10 * at, True) for at, each in enumerate(precisions)]
    check_steps(steps, [50, 60, 70], workspace(1))


def check_steps(steps: list[Step], keep: list[int], workspace: kernels.Workspace) -> None:
    size = (HEIGHT, WIDTH, len(steps[0].gate))
    given = np.maximum(np.random.default_rng(1).normal(0.5, 1, size), 0).astype(np.float32)
    x, y, pixels = given.copy(), given, []
    for step, count in zip(steps, keep, strict=True):
        y, chosen = step.expected(y, count, workspace)
        pixels.append(chosen)
    out, index = np.full_like(y, np.nan), [np.zeros(PIXELS, np.int32) for _ in keep]
    plan = np.array([UNTRIMMED] * len(keep), np.float32)
    trunk = Trunk([step.block() for step in steps])
    counts, _ = trunk(
        x, np.array(keep, np.int32), plan, 0.0, index=index, out=out, workspace=workspace
    )
    assert counts == keep
    for found, wanted, count in zip(index, pixels, keep, strict=True):
        np.testing.assert_array_equal(found[:count], wanted)
    np.testing.assert_allclose(out, y, atol=1e-5)
    np.testing.assert_array_equal(x, given)


def test_projections_that_do_not_fit_are_refused(workspace):
    step, work = Step(40, 70, "fp32", 0, True), workspace(1)
    narrow = Branch([random_weights(69, 1, 40, 1).packed()])
    with pytest.raises(ValueError, match=r"^projection must take 40 channels and give 70"):
        TrunkBlock(step.gate, 0.1, step.branch, projection=narrow)
    adding = Branch([random_weights(70, 1, 40, 1).packed()], residual=True)
    with pytest.raises(ValueError, match=r"^projection must have no dilation map and no residual"):
        TrunkBlock(step.gate, 0.1, step.branch, projection=adding)
    lone = Branch([random_weights(70, 3, 40, 1).packed()])
    with pytest.raises(ValueError, match=r"^a branch beside a projection must be residual"):
        TrunkBlock(step.gate, 0.1, lone, projection=step.projection)
    with pytest.raises(ValueError, match=r"^branch must take 40 channels and give 40"):
        TrunkBlock(step.gate, 0.1, step.branch)
    with pytest.raises(ValueError, match=r"^blocks must take the channels that the one before"):
        Trunk([step.block(), step.block()])
    exact = Step(40, 70, "fp32", 0, True).projection
    rounded = Step(40, 70, "int8", 0, True)
    with pytest.raises(ValueError, match=r"^blocks must all be quantized"):
        Trunk([TrunkBlock(rounded.gate, 0.1, rounded.branch, projection=exact)])
    same = Trunk([Step(40, 40, "fp32", 0, True).block()])
    x, index = np.zeros((HEIGHT, WIDTH, 40), np.float32), [np.zeros(PIXELS, np.int32)]
    plan, keep = np.array([UNTRIMMED], np.float32), np.array([5], np.int32)
    with pytest.raises(ValueError, match=r"^out must not share a part of its memory with x"):
        same(x, keep, plan, 0.0, index=index, out=x, workspace=work)


def test_a_block_that_is_late_computes_as_many_pixels_as_trimming_says(workspace):
    trunk = Trunk(Definition("fp32").blocks())
    late = 100.0
    plan = [(0.0, 1e4, -np.inf), (0.0, 410.0, -np.inf), (0.0, 50.0, -np.inf)]
    x = Definition("fp32").x
    _, chosen, marks = run(trunk, x, [50, 60, 70], workspace(1), plan, elapsed=late)
    wanted = [
        trimmed_keep(n, late, rest) for n, (_, rest, _) in zip((50, 60, 70), plan, strict=True)
    ]
    assert [len(each) for each in chosen] == wanted == [49, 45, 0]
    assert marks == sorted(marks)
    assert late < marks[0]
    assert marks[-1] < late + 60.0


@pytest.mark.parametrize("limits", [(200.0, 1.0), (np.nan, 1.0), (np.inf, np.nan)])
def test_a_block_in_time_computes_all_that_was_planned(workspace, limits):
    trunk = Trunk(Definition("fp32").blocks())
    plan = [(*limits, -np.inf)] * 3
    _, chosen, _ = run(trunk, Definition("fp32").x, [50, 60, 70], workspace(1), plan, elapsed=100.0)
    assert [len(each) for each in chosen] == [50, 60, 70]


def test_no_pixel_is_computed_whose_score_is_not_above_the_threshold(workspace):
    definition = Definition("fp32")
    scores = (definition.x @ definition.gates[0] + np.float32(definition.biases[0])).ravel()
    threshold = float(np.sort(scores)[-11:-9].mean())
    plan = [(*NEVER_TRIMMED, threshold), (*NEVER_TRIMMED, np.inf), UNTRIMMED]
    trunk = Trunk(definition.blocks())
    _, chosen, _ = run(trunk, definition.x, [50, 60, 70], workspace(1), plan)
    assert [len(each) for each in chosen] == [10, 0, 70]
    np.testing.assert_array_equal(chosen[0], np.flatnonzero(scores > threshold))


def test_a_score_as_high_as_the_threshold_is_not_above_it(workspace):
    definition = Definition("fp32")
    gate = np.zeros(CHANNELS, np.float32)
    gate[3] = 1.0  # a score is then a value of the map, exactly
    values = definition.x[:, :, 3].ravel()
    threshold = float(np.sort(values)[-10])
    trunk = Trunk([TrunkBlock(gate, 0.0, definition.branches(0)[0])])
    plan = [(*NEVER_TRIMMED, threshold)]
    _, chosen, _ = run(trunk, definition.x, [50], workspace(1), plan)
    np.testing.assert_array_equal(chosen[0], np.flatnonzero(values > threshold))
    assert len(chosen[0]) == 9


def test_a_score_that_is_no_number_is_the_lowest(workspace):
    definition = Definition("fp32")
    definition.x[2, 3] = np.nan
    trunk = Trunk(definition.blocks()[:1])
    _, chosen, _ = run(trunk, definition.x, [PIXELS - 1], workspace(1), [UNTRIMMED])
    assert 2 * WIDTH + 3 not in chosen[0]


def test_channels_around_a_vector_are_all_scored(instruction_set, workspace):
    for channels in (1, 3, 15, 16, 17, 33):
        rng = np.random.default_rng(channels)
        x = rng.normal(size=(HEIGHT, WIDTH, channels)).astype(np.float32)
        gate = rng.normal(size=channels).astype(np.float32)
        same = np.zeros((channels, 1, 1, channels), np.float32)
        branch = Branch([Convolution(same, np.zeros(channels, np.float32))], True)
        trunk = Trunk([TrunkBlock(gate, 0.5, branch)])
        y, chosen, _ = run(trunk, x, [30], workspace(1), [UNTRIMMED])
        np.testing.assert_array_equal(chosen[0], reference.select(x @ gate + np.float32(0.5), 30))
        np.testing.assert_array_equal(y, x)


def broken(**changes: Any) -> Callable[[], object]:
    def call() -> object:
        arguments: dict[str, Any] = {
            "x": np.zeros((HEIGHT, WIDTH, CHANNELS), np.float32),
            "keep": np.full(3, 5, np.int32),
            "plan": np.array([UNTRIMMED] * 3, np.float32),
            "elapsed": 0.0,
            "index": [np.zeros(PIXELS, np.int32) for _ in range(3)],
            **changes,
        }
        x, keep, plan, elapsed = (arguments.pop(n) for n in ("x", "keep", "plan", "elapsed"))
        trunk, work = Trunk(Definition("fp32").blocks()), kernels.Workspace(1)
        arguments.setdefault("out", x)
        return trunk(x, keep, plan, elapsed, workspace=work, **arguments)

    return call


SHARED = np.zeros((HEIGHT, WIDTH, CHANNELS), np.float32)
BOTH = np.zeros((HEIGHT + 1, WIDTH, CHANNELS), np.float32)
READ_ONLY = np.zeros(PIXELS, np.int32)
READ_ONLY.flags.writeable = False
LISTS_OF_TWO_LENGTHS = [np.zeros(PIXELS - at % 2, np.int32) for at in range(3)]


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("x must be contiguous", broken(x=np.zeros((HEIGHT, WIDTH, 69), np.float32))),
        ("x must be contiguous", broken(x=np.zeros((HEIGHT, WIDTH, CHANNELS)))),
        ("out must be contiguous", broken(out=np.zeros((HEIGHT, WIDTH, 69), np.float32))),
        ("out must not share a part", broken(x=BOTH[:-1], out=BOTH[1:])),
        ("keep must be .3. int32", broken(keep=np.zeros(2, np.int32))),
        ("keep must be 0 to 117, got 118", broken(keep=np.array([1, 118, 0], np.int32))),
        ("keep must be 0 to 117, got -1", broken(keep=np.array([1, -1, 0], np.int32))),
        ("plan must be .3,3. float32", broken(plan=np.zeros((3, 2), np.float32))),
        ("elapsed must be finite", broken(elapsed=np.nan)),
        ("index must be 3 arrays, got 2", broken(index=[np.zeros(PIXELS, np.int32)] * 2)),
        ("index.1. must be .117. int32", broken(index=LISTS_OF_TWO_LENGTHS)),
        ("index must be 3 arrays", broken(index=[])),
        ("index.0. must be writeable", broken(index=[READ_ONLY] * 3)),
        (
            "index.0. must not share a part of its memory with x",
            broken(x=SHARED, index=[SHARED.view(np.int32).ravel()[:PIXELS]] * 3),
        ),
        (
            "index.0. must not share a part of its memory with out",
            broken(out=SHARED, index=[SHARED.view(np.int32).ravel()[:PIXELS]] * 3),
        ),
    ],
)
def test_a_wrong_argument_of_a_call_is_named(message, call):
    with pytest.raises(ValueError, match=rf"^{message}"):
        call()


def test_blocks_that_do_not_fit_together_are_refused():
    floats, ints = Definition("fp32"), Definition("int8")
    plain, chosen = floats.blocks()[0], floats.branches(1)
    gate = floats.gates[0]
    with pytest.raises(ValueError, match=r"^blocks must hold one block"):
        Trunk([])
    with pytest.raises(ValueError, match=r"^blocks must all be quantized"):
        Trunk([plain, ints.blocks()[0]])
    ints.ranges = Ranges(np.zeros(CHANNELS), np.full(CHANNELS, 8.0))
    with pytest.raises(ValueError, match=r"^blocks must all be quantized"):
        Trunk([ints.blocks()[0], Definition("int8").blocks()[0]])
    with pytest.raises(ValueError, match=r"^gate must be contiguous .70. float32"):
        TrunkBlock(gate[:69], 0.0, floats.branches(0)[0])
    with pytest.raises(ValueError, match=r"dilation map, and no other, needs a predictor"):
        TrunkBlock(gate, 0.0, chosen[0])
    with pytest.raises(ValueError, match=r"dilation map, and no other, needs a predictor"):
        TrunkBlock(gate, 0.0, floats.branches(0)[0], chosen[1], DILATIONS)
    with pytest.raises(ValueError, match=r"^predictor must take 70 channels and give 3"):
        TrunkBlock(gate, 0.0, *chosen, dilations=DILATIONS[:3])
    with pytest.raises(ValueError, match=r"^dilations must not be negative"):
        TrunkBlock(gate, 0.0, *chosen, dilations=(0, 1, -1, 2))
    narrow = floats.branch([random_weights(8, 1, CHANNELS, 1)], False)
    with pytest.raises(ValueError, match=r"^branch must take 70 channels and give 70"):
        TrunkBlock(gate, 0.0, narrow)


def test_a_lone_quantized_convolution_is_refused():
    definition = Definition("int8")
    lone = quantized_branch(definition.convolutions[0][:1], [definition.ranges], True)
    with pytest.raises(ValueError, match=r"needs two convolutions or more"):
        Trunk([TrunkBlock(definition.gates[0], 0.0, lone)])


def test_a_workspace_at_work_is_refused(workspace):
    definition, work = Definition("fp32"), workspace(1)
    trunk, refused, stop = Trunk(definition.blocks()), [], threading.Event()

    def go() -> None:
        while not stop.is_set():
            try:
                run(trunk, definition.x, [PIXELS] * 3, work)
            except RuntimeError as error:
                refused.append(str(error))
                stop.set()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(20)
    stop.set()
    for thread in threads:
        thread.join()
    assert refused
    assert "this workspace is at work in another thread" in refused[0]
