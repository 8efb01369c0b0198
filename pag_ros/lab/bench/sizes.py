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
from pag_ros.runtime import open_session
from pag_ros.runtime.network_size import Size, size_text


def measure_sizes(
    model: Path,
    sizes: Sequence[Size],
    budgets: Sequence[float],
    threads: int,
    rounds: int,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """A row for each size and budget: "size", "budget", "ms" and "ratio".

    The ratio is to the first size at the first budget. Pictures are noise: their content does not
    change what is computed.

    Raises:
        ParameterError: the model cannot run at a size.
        ModelError, BackendError: the model or OpenVINO cannot be used.
    """
    runs: dict[str, Callable[[], object]] = {}
    with ExitStack() as stack:
        for size in sizes:
            opened = open_session(model, "cpu", threads, size)
            session = stack.enter_context(closing(opened))
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
            "ms": round(1e3 * seconds[_name(size, budget)], 3),
            "ratio": round(seconds[_name(size, budget)] / first, 3),
        }
        for size in sizes
        for budget in budgets
    ]


def sizes_table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each size and budget."""
    lines = [
        [row["size"], f"{row['budget']:g}", f"{row['ms']:.1f}", f"{row['ratio']:.2f}x"]
        for row in rows
    ]
    return markdown([["size", "budget", "ms", "of the first"], *lines])


def _name(size: Size, budget: float) -> str:
    return f"{size_text(size)} {budget}"
