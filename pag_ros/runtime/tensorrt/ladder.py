"""The few lists of counts that a recorded CUDA graph can hold, and which of them a frame gets.

Where counts decide on shapes, a recorded graph cannot be given others. So a handful of graphs are
recorded, and a frame runs the one that computes most without exceeding what was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from pag_ros.manifest import Manifest

BUDGETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
"""Of the rungs; `self_check` asks for .5 and 1, and nodes for .1 at the least unless told."""

Rung = tuple[int, ...]
"""Patches of every block."""


def rungs(manifest: Manifest) -> tuple[Rung, ...]:
    """The lists of counts, from the least; every block computes 1 patch or more in all of them."""
    kept = (manifest.keep_for(budget) for budget in BUDGETS)
    return tuple(dict.fromkeys(tuple(max(1, count) for count in keep) for keep in kept))


def rung_for(ladder: Sequence[Rung], keep: Sequence[int]) -> int:
    """Position of the last rung in which no block computes more than `keep` says.

    The first one where there is none: less cannot be computed.
    """
    fitting = [
        slot
        for slot, rung in enumerate(ladder)
        if all(count <= asked for count, asked in zip(rung, keep, strict=True))
    ]
    return max(fitting, default=0)
