"""Whole networks through TensorRT: engine, check of its numbers, time per frame over budgets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pag_ros.errors import PagError
from pag_ros.runtime.session import Session
from pag_ros.runtime.tensorrt.opening import open_tensorrt
from pag_ros.runtime.tensorrt.options import EngineOptions
from pag_ros.runtime.tensorrt.requirements import tensorrt_problem
from pag_ros.runtime.tensorrt.self_check import drawn_room

BUDGETS = (0.1, 0.3, 0.5, 0.7, 1.0)
BUILD_S = 600.0
"""Time that building an engine may take, however much there is."""
_WARM_UPS = 5


def measure(
    models: Sequence[Path], rounds: int, end: float = math.inf, shared_by: int | None = None
) -> Iterator[dict[str, Any]]:
    """A row for every model and budget.

    Args:
        models: paths of ONNX files, their manifests, kernels and references beside them.
        rounds: frames at each budget, taken in turns; what is told is their median.
        end: `time.monotonic()` by which all is to be done.
        shared_by: number of models, from the first of these on, that share the time until then;
            None is these alone. A build ends when its share, or `BUILD_S`, is over.

    Yields:
        "model", "outcome" ("ran", "absent" if TensorRT, PyCUDA or the driver is missing, else
        "failed", which includes wrong numbers) and "text"; of those that ran "budget", "frame_ms"
        from the call to the outputs on the host, and "stages_ms".
    """
    problem = tensorrt_problem()
    if problem is not None:
        yield {"model": "all", "outcome": "absent", "text": problem}
        return
    shares = shared_by or len(models)
    for number, model in enumerate(models):
        seconds = min(BUILD_S, (end - time.monotonic()) / (shares - number))
        is_over = _over_after(seconds)
        try:
            session, engine = open_tensorrt(model, EngineOptions(is_stopped=is_over))
        except PagError as error:
            late = f", for its {seconds:.0f} s were over" if is_over() else ""
            yield {"model": model.stem, "outcome": "failed", "text": f"{error}{late}"}
            continue
        told = session.backend if engine.checked else f"{session.backend}, numbers NOT checked"
        try:
            for row in _timed(session, rounds):
                yield {"model": model.stem, "outcome": "ran", "text": told, **row}
        finally:
            session.close()


def _over_after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _timed(session: Session, rounds: int) -> list[dict[str, Any]]:
    manifest = session.manifest
    image, focal_px = drawn_room(manifest), sum(manifest.focal_range) / 2.0
    frames: dict[float, list[float]] = {budget: [] for budget in BUDGETS}
    stages: dict[float, list[tuple[float, ...]]] = {budget: [] for budget in BUDGETS}
    for number in range(_WARM_UPS + rounds):
        for budget in BUDGETS:
            began = time.perf_counter()
            prediction = session.infer(image, focal_px, manifest.keep_for(budget))
            seconds = time.perf_counter() - began
            if number >= _WARM_UPS:
                frames[budget].append(seconds)
                stages[budget].append(prediction.stage_seconds)
    return [
        {
            "budget": budget,
            "frame_ms": 1e3 * float(np.median(frames[budget])),
            "stages_ms": (1e3 * np.median(stages[budget], axis=0)).tolist(),
        }
        for budget in BUDGETS
    ]
