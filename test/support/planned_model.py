"""A model and a latency table to plan with, and a machine that runs the plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from pag_ros.budget import Controller, LatencyTable, StageLatency
from pag_ros.manifest import BlockSpec, LabelClass, Manifest

PIXELS, BLOCKS = 1200, 8
STAGES = ("encoder", *(f"block{i}" for i in range(BLOCKS)), "heads")


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        name="planned",
        sha256="0" * 64,
        height=240,
        width=320,
        focal_range=(160.0, 352.0),
        depth_range_m=(0.3, 10.0),
        classes=(LabelClass("wall", (0, 0, 0)),),
        blocks=tuple(BlockSpec(f"block{i}", 30, 40, 128, 294912) for i in range(BLOCKS)),
        dense_macs=900_000_000,
        heads=("depth",),
        license="none",
        training_data="none",
    )


@pytest.fixture
def table() -> LatencyTable:
    """11 ms without any pixel, 45 ms with all of them."""
    keep = tuple(range(0, PIXELS + 1, 100))
    seconds = tuple(0.0001 + 0.0042 * k / PIXELS for k in keep)
    blocks = (StageLatency(name, keep, seconds) for name in STAGES[1:-1])
    return LatencyTable(
        (StageLatency("encoder", (0,), (0.008,)), *blocks, StageLatency("heads", (0,), (0.003,)))
    )


@dataclass
class Machine:
    """Plays frames through a controller on a simulated machine; deterministic.

    Attributes:
        table: true latency of the unloaded machine.
        load: slowdown of the machine at a frame's number.
        noise: relative standard deviation of a frame's duration.
    """

    table: LatencyTable
    load: Callable[[int], float]
    noise: float = 0.02
    seed: int = 0
    latency_s: list[float] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)
    skipped: int = 0

    def play(self, controller: Controller, frames: int, deadline_s: float | None) -> Machine:
        rng = np.random.default_rng(self.seed)
        for frame in range(frames):
            plan = controller.plan(deadline_s)
            if plan is None:
                self.skipped += 1
                continue
            pace = self.load(frame) * (1.0 + self.noise * abs(rng.normal()))
            seconds = [pace * s for s in self.table.stage_seconds(plan.keep)]
            controller.observe(plan, plan.keep, seconds)
            self.latency_s.append(sum(seconds))
            self.budgets.append(plan.budget)
        return self

    def missed(self, deadline_s: float) -> float:
        late = sum(latency > deadline_s for latency in self.latency_s)
        return (late + self.skipped) / (len(self.latency_s) + self.skipped)


@pytest.fixture
def machine(table: LatencyTable) -> Callable[..., Machine]:
    def build(load: Callable[[int], float] = lambda frame: 1.0, **options: float) -> Machine:
        return Machine(table, load, **options)  # type: ignore[arg-type]

    return build
