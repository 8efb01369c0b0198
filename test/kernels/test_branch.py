"""Convolutions joined into one branch give what they give one by one."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from kernel_operands import Operands, assert_close, listed
from python_process import run_python

from pag_ros import kernels
from pag_ros.kernels import Branch, Convolution, Workspace, reference

SIZE = (11, 13)
PIXELS = SIZE[0] * SIZE[1]
COUNTS = [0, 1, 2, 5, 6, 7, 11, 12, 13, 70, PIXELS]

Form = dict[str, Any]
BASIC: list[Form] = [
    {"outputs": 20, "kernel": 3, "activation": "relu", "dilation": 2},
    {"outputs": 20, "kernel": 3, "activation": "relu", "dilation": 2},
]
BOTTLENECK: list[Form] = [
    {"outputs": 9, "kernel": 1, "activation": "relu"},
    {"outputs": 9, "kernel": 3, "activation": "relu"},
    {"outputs": 20, "kernel": 1, "activation": "relu"},
]
MBCONV: list[Form] = [
    {"outputs": 60, "kernel": 1, "activation": "relu6"},
    {"outputs": 60, "kernel": 5, "activation": "relu6", "depthwise": True},
    {"outputs": 20, "kernel": 1},
]
MULTIPOOL: list[Form] = [
    {"outputs": 9, "kernel": 1, "activation": "relu"},
    {"outputs": 9, "kernel": 3, "activation": "relu", "by_map": True},
    {"outputs": 20, "kernel": 1},
]

WIDE: list[Form] = [
    {"outputs": 130, "kernel": 3, "activation": "relu"},
    {"outputs": 70, "kernel": 3, "activation": "relu", "dilation": 3},
    {"outputs": 20, "kernel": 5},
    {"outputs": 20, "kernel": 1, "activation": "relu"},
]


class Chain:
    """A branch and the same by the definition.

    In bf16 all sums are exact: else their order would decide to which side an inner result is
    rounded.
    """

    def __init__(
        self, forms: list[Form], precision: Any = "fp32", residual: bool = True, inputs: int = 20
    ) -> None:
        rng = np.random.default_rng(3)
        make = Operands.exact if precision == "bf16" else Operands.random
        self.precision = precision
        self.x = make(SIZE, inputs, 1, 1, 3).x
        self.map = rng.choice([0, 1, 3], PIXELS).astype(np.int32)
        self.residual = residual
        self.steps: list[tuple[Any, Any, Form]] = []
        for form in forms:
            options = {k: v for k, v in form.items() if k not in ("outputs", "kernel")}
            depth = 1 if form.get("depthwise") else inputs
            operands = make(SIZE, depth, form["outputs"], form["kernel"], len(self.steps))
            self.steps.append((operands.weight / 8, operands.bias, options))
            inputs = form["outputs"]
        convolutions = [Convolution(w, b, **options) for w, b, options in self.steps]
        self.branch = Branch(convolutions, residual, precision)
        self.needs_map = any(form.get("by_map") for form in forms)

    def run(self, count: int, workspace: Workspace, **options: Any) -> Any:
        if self.needs_map:
            options["dilation_map"] = self.map
        return self.branch(self.x, listed(PIXELS, count), count, workspace=workspace, **options)

    def expected(self, count: int, base: Any = None) -> Any:
        y = self.x
        for depth, (weight, bias, options) in enumerate(self.steps):
            rest = {k: v for k, v in options.items() if k != "by_map"}
            rest["precision"] = self.precision
            if options.get("by_map"):
                rest["dilation_map"] = self.map
            if depth == len(self.steps) - 1:
                rest |= {"base": base, "residual": self.residual}
            y = reference.sparse_conv2d(y, listed(PIXELS, count), count, weight, bias, **rest)
        return y

    def check(self, y: Any, expected: Any) -> None:
        if self.precision == "bf16":
            np.testing.assert_array_equal(y, expected)
        else:
            assert_close(y, expected)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("forms", [BASIC, BOTTLENECK, MBCONV, MULTIPOOL, WIDE], ids=len)
def test_a_block_gives_what_its_convolutions_give(
    instruction_set, precision, workspace, forms, count
):
    chain = Chain(forms, precision)
    expected = chain.expected(count, base=chain.x)
    for threads in (1, 2, 4):
        chain.check(chain.run(count, workspace(threads), base=chain.x), expected)


@pytest.mark.parametrize("channels", [20, 70])
@pytest.mark.parametrize("count", COUNTS)
def test_a_block_may_work_in_place(instruction_set, precision, workspace, count, channels):
    """Also of more channels than a panel of weights has: each result is written once."""
    forms = [{**form, "outputs": channels} for form in BASIC]
    chain = Chain(forms, precision, inputs=channels)
    expected = chain.expected(count, base=chain.x)
    y = chain.run(count, workspace(2), base=chain.x, out=chain.x)
    assert y is chain.x
    chain.check(y, expected)


def test_bf16_convolutions_give_about_what_float_ones_do(instruction_set, workspace):
    """With operands whose every bit counts: of two factors the rounding costs 2^-8 at most."""
    chain = Chain(BASIC)
    expected = chain.expected(70, base=chain.x)
    rounded = Branch([Convolution(w, b, **o) for w, b, o in chain.steps], True, "bf16")
    y = rounded(chain.x, listed(PIXELS, 70), 70, base=chain.x, workspace=workspace(2))
    assert 0 < np.abs(y - expected).max() < 2**-7 * np.abs(expected).max()


def test_the_same_convolutions_serve_branches_of_both_precisions(workspace):
    chain = Chain(BASIC)
    before = chain.run(70, workspace(1), base=chain.x)
    convolutions = [Convolution(w, b, **options) for w, b, options in chain.steps]
    results = [
        Branch(convolutions, True, precision)(
            chain.x, listed(PIXELS, 70), 70, base=chain.x, workspace=workspace(1)
        )
        for precision in ("fp32", "bf16", "fp32", "bf16")
    ]
    np.testing.assert_array_equal(results[0], before)
    np.testing.assert_array_equal(results[2], before)
    np.testing.assert_array_equal(results[1], results[3])


def test_pixels_that_are_not_listed_are_exact_copies(precision, workspace):
    chain = Chain(BASIC, precision)
    y = chain.run(40, workspace(2), base=chain.x).reshape(PIXELS, -1)
    skipped = np.setdiff1d(np.arange(PIXELS), listed(PIXELS, 40)[:40])
    np.testing.assert_array_equal(y[skipped], chain.x.reshape(PIXELS, -1)[skipped])


def test_without_a_base_they_are_zero(precision, workspace):
    chain = Chain(BASIC, precision, residual=False)
    chain.check(chain.run(40, workspace(2)), chain.expected(40))


def test_the_result_does_not_depend_on_the_threads_or_on_earlier_calls(workspace):
    shared = workspace(3)
    chains = [
        Chain(forms, precision)
        for forms in (BASIC, MBCONV, BOTTLENECK, WIDE)
        for precision in ("fp32", "bf16")
    ]
    first = [chain.run(70, workspace(1), base=chain.x) for chain in chains]
    for _ in range(20):
        for chain, alone in zip(chains, first, strict=True):
            np.testing.assert_array_equal(chain.run(70, shared, base=chain.x), alone)


def test_two_threads_work_at_once_with_a_workspace_each(precision, workspace):
    chain = Chain(BASIC, precision)
    expected = chain.run(PIXELS, workspace(1), base=chain.x)
    results: list[Any] = []

    def work() -> None:
        own = Workspace(2)
        results.extend(chain.run(PIXELS, own, base=chain.x) for _ in range(50))
        own.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 150
    assert all(np.array_equal(result, expected) for result in results)


def test_convolutions_that_do_not_fit_together_are_refused():
    weight, bias = np.zeros((4, 1, 1, 3), np.float32), np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"^layers must fit together, layer 1 takes 3 .* gets 4"):
        Branch([Convolution(weight, bias), Convolution(weight, bias)])


def test_a_branch_needs_a_convolution():
    with pytest.raises(ValueError, match=r"^layers must hold one layer"):
        Branch([])


@pytest.mark.skipif(len(kernels.instruction_sets()) < 2, reason="one instruction set only")
def test_convolutions_packed_for_different_instruction_sets_are_refused(monkeypatch):
    weight, bias = np.zeros((3, 1, 1, 3), np.float32), np.zeros(3, np.float32)
    made = []
    for name in kernels.instruction_sets()[:2]:
        monkeypatch.setenv("PAG_ROS_ISA", name)
        made.append(Convolution(weight, bias))
    with pytest.raises(ValueError, match=r"^layers must be packed for the same instruction set"):
        Branch(made)


def test_a_missing_dilation_map_is_named(workspace):
    chain = Chain(MULTIPOOL)
    with pytest.raises(ValueError, match=r"^dilation_map must be \[143\] int32, got NoneType"):
        chain.branch(chain.x, listed(PIXELS, 5), 5, base=chain.x, workspace=workspace(1))


def test_a_machine_with_more_cpus_than_threads_are_allowed_gets_as_many_as_are(monkeypatch):
    monkeypatch.setattr(kernels, "available_cpus", lambda: 384)
    workspace = Workspace()
    assert workspace.threads == 256
    workspace.close()


def test_a_system_that_gives_no_more_threads_is_an_error_and_not_the_end_of_the_process():
    """Threads want room for their stacks, and there is room for some of them only."""
    code = """
import resource, sys
from pag_ros.kernels import Workspace
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, 8 << 20))
limit = (used + (100 << 20), used + (100 << 20))
resource.setrlimit(resource.RLIMIT_AS, limit)
if resource.getrlimit(resource.RLIMIT_AS) != limit:
    sys.exit("an emulator that does not limit memory")
try:
    Workspace(200)
except RuntimeError:
    print("refused")
Workspace(2).close()
print("goes on")
"""
    done = run_python(code)
    if "an emulator" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.split("\n") == ["refused", "goes on", ""], done.stderr


@pytest.mark.parametrize("threads", [-1, 257])
def test_an_impossible_number_of_threads_is_refused(threads):
    with pytest.raises(ValueError, match=r"^threads must be 1 to 256"):
        Workspace(threads)


def test_a_workspace_takes_all_processors_unless_told():
    workspace = Workspace()
    assert workspace.threads == kernels.available_cpus()
    workspace.close()


def test_a_closed_workspace_is_refused():
    workspace = Workspace(2)
    workspace.close()
    with pytest.raises(RuntimeError, match="closed"):
        Chain(BASIC).run(5, workspace)
