"""One case that fails takes no other along, and is named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import StampSpec
from pag_ros.lab.gpu_check import parts


def rows(cases: list[Any], end: float = math.inf) -> list[dict[str, Any]]:
    def measure(case: Any) -> Iterator[dict[str, Any]]:
        yield {"half": str(case)}
        if isinstance(case, Exception):
            raise case
        if isinstance(case, StampSpec):
            raise RuntimeError("CUDA error:\nan illegal memory access")
        yield {"whole": str(case)}

    return list(parts._each(cases, measure, end))


def test_the_others_go_on_and_what_was_measured_stays() -> None:
    assert rows(["a", BackendError("no kernel"), "b"]) == [
        {"half": "a"},
        {"whole": "a"},
        {"half": "no kernel"},
        {"outcome": "failed", "text": "no kernel: no kernel"},
        {"half": "b"},
        {"whole": "b"},
    ]


def test_what_fails_is_named_in_one_line() -> None:
    failed = rows([StampSpec(), "b"])[1]
    assert failed == {
        "outcome": "failed",
        "text": "pag_stamp: RuntimeError: CUDA error: an illegal memory access",
    }


def test_a_part_that_is_stopped_ends() -> None:
    with_stop = rows(["a", parts._StoppedError(), "b"])
    assert with_stop[-1] == {"outcome": "stopped", "text": "in case 2 of 3, for want of time"}


@pytest.mark.parametrize(("end", "left"), [(-math.inf, "2 of 2 cases, for want of time")])
def test_what_there_is_no_time_for_is_counted(end: float, left: str) -> None:
    assert rows(["a", "b"], end) == [{"outcome": "skipped", "text": left}]
