"""Damage tried by seed: some in every test run, as much as one likes by `make fuzz`.

Every kind enters what came of it; the end of the test run shows the table.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pag_ros.errors import PagError

COUNT_VARIABLE = "PAG_ROS_FUZZ"
"""Tries of each kind, where that is more than in a usual run."""

MAX_GROWTH_KIB = 400 << 10

Damage = Callable[[random.Random], object]
"""Damages something anew and reads it."""


@dataclass
class Tally:
    """What came of one kind of damage.

    Attributes:
        kind: for people.
        tried, refused: how often; what was not refused was read.
        slowest_s: of the tries.
        grown_mib: of the process, from its start to its largest.
    """

    kind: str
    tried: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    grown_mib: int = 0


TALLIES: list[Tally] = []


def assert_refusals_are_ours(
    kind: str, damage_and_read: Damage, named: str, count: int, least_refused: float = 1 / 3
) -> None:
    """Try `count` kinds of damage; each must be read, or refused in a line of ours.

    Args:
        kind: for the table.
        named: what every refusal must name; empty for messages, which have no name.
        least_refused: share that must be refused, or the damage does none.
    """
    tally, before = Tally(kind), _peak_kib()
    TALLIES.append(tally)
    for seed in range(tries(count)):
        began, refusal = time.perf_counter(), ""
        try:
            damage_and_read(random.Random(f"{named} {seed}"))
        except PagError as error:
            refusal = str(error)
            tally.refused += 1
        except Exception as error:
            pytest.fail(f"seed {seed} of {kind}: {error!r}")
        tally.tried += 1
        tally.slowest_s = max(tally.slowest_s, time.perf_counter() - began)
        assert "\n" not in refusal, f"seed {seed}: {refusal}"
        assert not refusal or named in refusal, f"seed {seed}: {refusal}"
    tally.grown_mib = (_peak_kib() - before) >> 10
    assert tally.refused > least_refused * tally.tried
    assert tally.grown_mib < MAX_GROWTH_KIB >> 10, f"{tally.grown_mib} MiB"


def seeds(kind: str, count: int) -> Iterator[tuple[int, Tally]]:
    """Seeds of damage that is no error, with the table's row, where refusals are counted."""
    tally = Tally(kind)
    TALLIES.append(tally)
    for seed in range(tries(count)):
        began = time.perf_counter()
        yield seed, tally
        tally.tried += 1
        tally.slowest_s = max(tally.slowest_s, time.perf_counter() - began)


def tries(count: int) -> int:
    """How often to try what a usual test run tries `count` times."""
    return max(count, int(os.environ.get(COUNT_VARIABLE, "0")))


def table() -> list[str]:
    """The tallies as lines of a table in Markdown."""
    heading = ("damaged", "tried", "refused", "read", "slowest, s", "grown, MiB")
    rows = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for t in TALLIES:
        read = t.tried - t.refused
        rows.append(
            f"| {t.kind} | {t.tried} | {t.refused} | {read} | {t.slowest_s:.2f} | {t.grown_mib} |"
        )
    return rows


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
