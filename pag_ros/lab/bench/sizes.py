"""One model at several input sizes and budgets: what a frame takes, all in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pag_ros.lab.bench.text import markdown
from pag_ros.lab.bench.timing import Progress, take_turns
from pag_ros.runtime import EngineOptions, open_session
from pag_ros.runtime.network_size import Size, size_text


def measure_sizes(
    model: Path,
    sizes: Sequence[Size],
    budgets: Sequence[float],
    threads: int,
    rounds: int,
    precision: str = "auto",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """A row for each size and budget: "size", "budget", "backend", "ms" and "ratio".

    The ratio is to the first size at the first budget. Pictures are noise: their content does not
    change what is computed.

    Args:
        precision: one of `PRECISIONS`; the backend tells what "auto" has taken.

    Raises:
        ParameterError: the model cannot run at a size, or there is no such precision.
        ModelError, BackendError: the model, OpenVINO or the precision cannot be used.
    """
    runs: dict[str, Callable[[], object]] = {}
    backends: dict[Size, str] = {}
    with ExitStack() as stack:
        for place, size in enumerate(sizes):
            told = None if place == 0 else EngineOptions(say=lambda _: None)  # once is enough
            opened = open_session(model, "cpu", threads, size, told, precision)
            session = stack.enter_context(closing(opened))
            backends[size] = session.backend
            image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
            focal_px = sum(session.manifest.focal_range) / 2.0
            for budget in budgets:
                keep = session.manifest.keep_for(budget)
                runs[_name(size, budget)] = partial(session.infer, image, focal_px, keep)
        seconds = take_turns(runs, rounds, progress)
    first = seconds[_name(sizes[0], budgets[0])]
    return [
        {
            "size": size_text(size),
            "budget": budget,
            "backend": backends[size],
            "ms": round(1e3 * seconds[_name(size, budget)], 3),
            "ratio": round(seconds[_name(size, budget)] / first, 3),
        }
        for size in sizes
        for budget in budgets
    ]


def sizes_table(rows: Sequence[dict[str, Any]]) -> str:
    """What they ran on, and a line for each size and budget."""
    lines = [
        [row["size"], f"{row['budget']:g}", f"{row['ms']:.1f}", f"{row['ratio']:.2f}x"]
        for row in rows
    ]
    table = markdown([["size", "budget", "ms", "of the first"], *lines])
    return "\n".join([*dict.fromkeys(row["backend"] for row in rows), "", table])


def _name(size: Size, budget: float) -> str:
    return f"{size_text(size)} {budget}"
