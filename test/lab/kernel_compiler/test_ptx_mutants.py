"""Faults in the kernels' code are noticed: PTX with one barrier, wait, fence or predicate less.

What is expected to stay unnoticed is listed with the reason, so that neither the interpreter nor
the kernels can become blind without a test that fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
from ptx import HazardError
from shipped_kernels import assert_computes, assert_selects, assert_trims, model_specs, stored

from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, Spec
from pag_ros.kernels.gpu.store import CompiledKernel

REMOVALS = {
    "barrier": (r"\n\s*bar\.sync[^;\n]*;", ""),
    "wait": (r"\n\s*cp\.async\.wait_group[^;\n]*;", ""),
    "predicate of a write": (r"@!?%p\d+(?=\s+(?:st|atom)\.)", ""),
    "predicate of a copy": (r"(cp\.async\.c[ag][^;\n]*), %r\d+;", r"\1;"),
}
"""What is taken out -> where it stands, and what stays."""

ORDERS_READS = "reads on both sides, and another barrier before the next write"
REPEATS = "another wait, just before or after, asks for the same"
NOTHING_LEFT = "behind the loop: what has not landed is groups without a copy"
ALL_ALIKE = "all threads write the same value"
WEIGHTS = "the first steps' weights: what is read too much lies within them and meets zeros"


@dataclass(frozen=True)
class Case:
    """A stored kernel for 8.7 whose mutants are tried.

    Attributes:
        checks: raises AssertionError or HazardError if it is wrong.
        unnoticed: mutant -> why it is right all the same.
    """

    name: str
    multiprocessors: int
    checks: Callable[[Spec, CompiledKernel], None]
    unnoticed: dict[str, str]


def computes(count: int) -> Callable[[Spec, CompiledKernel], None]:
    def check(spec: Spec, kernel: CompiledKernel) -> None:
        assert isinstance(spec, ConvSpec)
        assert_computes(spec, kernel, count)

    return check


def selects(spec: Spec, kernel: CompiledKernel) -> None:
    assert isinstance(spec, SelectSpec)
    assert_selects(kernel, spec)
    assert_trims(kernel, spec, 0.25, 0.75)


CASES = (
    Case("pag_conv1x1_rows_map_c32_n7_h24_w32_d1_none", 8, computes(21 * 32 + 3), {}),
    Case(
        "pag_conv3x3_rows_rows_c128_n32_h24_w32_d1_relu",
        8,
        computes(64 + 3),
        {
            "barrier 13": ORDERS_READS,
            **{f"wait {number}": REPEATS for number in (4, 5, 6, 7)},
            **{
                f"predicate of a copy {number}": WEIGHTS
                for number in (11, 12, 13, 14, 24, 25, 26, 27, 37, 38, 39, 40)
            },
        },
    ),
    Case(
        "pag_conv3x3_map_rows_c128_n128_h24_w32_d1_relu",
        16,
        computes(128 + 3),
        {
            "barrier 1": ORDERS_READS,
            **{f"wait {number}": REPEATS for number in (1, 2, 3)},
            "wait 4": NOTHING_LEFT,
            **{f"predicate of a copy {number}": WEIGHTS for number in (4, 5, 6, 7, 12, 13, 14, 15)},
        },
    ),
    Case(
        "pag_select_h24_w32",
        16,
        selects,
        {"predicate of a write 1": ALL_ALIKE, "predicate of a write 10": ALL_ALIKE},
    ),
)


HOPPERS = {
    **{what: REMOVALS[what] for what in ("barrier", "wait")},
    "fence of proxies": (r"\n\s*fence\.proxy\.async[^;\n]*;", ""),
    "fence of registers": (r"\n\s*wgmma\.fence[^;\n]*;", ""),
    "wait for products": (r"\n\s*wgmma\.wait_group[^;\n]*;", ""),
    "group of products": (r"\n\s*wgmma\.commit_group[^;\n]*;", ""),
}


def mutants(
    ptx: str, removals: Mapping[str, tuple[str, str]] = REMOVALS
) -> Iterator[tuple[str, str]]:
    """(what is missing, the code without it)."""
    for what, (pattern, left) in removals.items():
        for number, found in enumerate(re.finditer(pattern, ptx)):
            yield f"{what} {number}", ptx[: found.start()] + found.expand(left) + ptx[found.end() :]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_barrier_a_wait_or_a_predicate_less_is_noticed(case: Case) -> None:
    spec, kernel = model_specs()[case.name], stored(87, case.multiprocessors)[case.name]
    case.checks(spec, kernel)
    tried, unnoticed = 0, set()
    for name, code in mutants(kernel.ptx):
        tried += 1
        try:
            case.checks(spec, replace(kernel, ptx=code))
        except (AssertionError, HazardError):
            continue
        unnoticed.add(name)
    assert tried > 10
    assert unnoticed == set(case.unnoticed)


def test_what_orders_hoppers_products_is_not_missed_unnoticed() -> None:
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    from pag_ros.lab.kernel_compiler.compiler import compile_kernel

    spec = ConvSpec(16, 24, 64, 64, out_rows=True, activation="relu")
    kernel = compile_kernel(spec, 90, multiprocessors=2)  # so few that its tiles are large
    assert "wgmma.mma_async" in kernel.ptx
    assert_computes(spec, kernel, 67)
    tried = set()
    for name, code in mutants(kernel.ptx, HOPPERS):
        tried.add(name.rstrip("0123456789 "))
        with pytest.raises((AssertionError, HazardError)):
            assert_computes(spec, replace(kernel, ptx=code), 67)
    assert tried == set(HOPPERS)
