"""Whole networks through TensorRT: engine, check of its numbers, time per frame over budgets."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pag_ros.errors import PagError
from pag_ros.runtime.session import Session
from pag_ros.runtime.tensorrt.opening import open_tensorrt
from pag_ros.runtime.tensorrt.requirements import tensorrt_problem
from pag_ros.runtime.tensorrt.self_check import drawn_room

BUDGETS = (0.1, 0.3, 0.5, 0.7, 1.0)
_WARM_UPS = 5


def measure(models: Sequence[Path], rounds: int) -> Iterator[dict[str, Any]]:
    """A row for every model and budget.

    Args:
        models: paths of ONNX files, their manifests, kernels and references beside them.
        rounds: frames at each budget, taken in turns; what is told is their median.

    Yields:
        "model", "outcome" ("ran", "absent" if TensorRT, PyCUDA or the driver is missing, else
        "failed", which includes wrong numbers) and "text"; of those that ran "budget", "frame_ms"
        from the call to the outputs on the host, and "stages_ms".
    """
    problem = tensorrt_problem()
    if problem is not None:
        yield {"model": "all", "outcome": "absent", "text": problem}
        return
    for model in models:
        try:
            session, engine = open_tensorrt(model)
        except PagError as error:
            yield {"model": model.stem, "outcome": "failed", "text": str(error)}
            continue
        told = session.backend if engine.checked else f"{session.backend}, numbers NOT checked"
        try:
            for row in _timed(session, rounds):
                yield {"model": model.stem, "outcome": "ran", "text": told, **row}
        finally:
            session.close()


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
