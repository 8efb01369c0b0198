"""A machine that runs a model's stages one after another, while its speed changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pag_ros.budget.controller import Plan
from pag_ros.budget.latency import LatencyTable, StageLatency
from pag_ros.budget.reserve import Reserve
from pag_ros.lab.simulation.rivals import Planning
from pag_ros.lab.simulation.traces import Trace
from pag_ros.manifest import Manifest

PERIOD_S = 1.0 / 30.0
"""Of the simulated camera; also the deadline, from capture."""

FULL_SHARE_OF_PERIOD = 0.8
"""Time of the whole network on the idle machine."""

TRIM_AT = 0.96
"""Share of the time left that a late frame trims itself to meet, as on the real machine."""

_BLOCK_OVERHEAD_S = 0.0001
_HEADS_SHARE = 0.3
"""Of the work outside the gated blocks; the rest is the encoder."""

_FRAME_NOISE = 0.015
_STAGE_NOISE = 0.02
_SPIKE_RATE = 0.0005
_SPIKE = (1.15, 1.6)


@dataclass(frozen=True)
class SimulatedModel:
    """Durations of a model's stages: seconds = base + keep * per_pixel for each gated block."""

    manifest: Manifest
    table: LatencyTable
    base: tuple[float, ...]
    per_pixel: tuple[float, ...]

    @staticmethod
    def of(manifest: Manifest) -> SimulatedModel:
        """Time in proportion to multiply-adds, so that the whole takes 80 % of the period."""
        gated = [block.pixels * block.macs_per_pixel for block in manifest.blocks]
        macs = manifest.dense_macs + sum(gated)
        busy_s = FULL_SHARE_OF_PERIOD * PERIOD_S - _BLOCK_OVERHEAD_S * len(gated)
        dense_s = busy_s * manifest.dense_macs / macs
        base = [
            (1.0 - _HEADS_SHARE) * dense_s,
            *[_BLOCK_OVERHEAD_S] * len(gated),
            _HEADS_SHARE * dense_s,
        ]
        per_pixel = [busy_s * block.macs_per_pixel / macs for block in manifest.blocks]
        stages = [StageLatency("encoder", (0,), (base[0],))]
        for block, slope in zip(manifest.blocks, per_pixel, strict=True):
            ends = (_BLOCK_OVERHEAD_S, _BLOCK_OVERHEAD_S + slope * block.pixels)
            stages.append(StageLatency(block.name, (0, block.pixels), ends))
        stages.append(StageLatency("heads", (0,), (base[-1],)))
        return SimulatedModel(
            manifest, LatencyTable(tuple(stages)), tuple(base), (0.0, *per_pixel, 0.0)
        )


@dataclass
class Played:
    """What became of every frame of a trace, in order.

    Attributes:
        latency_s: from capture to the end; inf for a frame that was dropped.
        density: share of the gated pixels computed, 0 for a dropped frame.
        error: relative error of the expected duration; NaN for a frame dropped or trimmed.
    """

    trace: Trace
    deadline_s: float = PERIOD_S
    latency_s: list[float] = field(default_factory=list)
    density: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)

    def drop(self) -> None:
        """A frame without outputs."""
        self.latency_s.append(math.inf)
        self.density.append(0.0)
        self.error.append(math.nan)


class Noise:
    """The same for every controller: factors of each frame and stage, drawn beforehand."""

    def __init__(self, seed: int, frames: int, stages: int) -> None:
        rng = np.random.default_rng([seed, 77])
        frame = np.exp(_FRAME_NOISE * rng.normal(size=(frames, 1)))
        frame *= np.where(rng.random((frames, 1)) < _SPIKE_RATE, rng.uniform(*_SPIKE), 1.0)
        self.factors = (frame * np.exp(_STAGE_NOISE * rng.normal(size=(frames, stages)))).tolist()


def play(model: SimulatedModel, trace: Trace, planning: Planning, frames: int) -> Played:
    """Let a controller work through a trace, with a mailbox of one.

    Args:
        planning: the controller under test, new.
        frames: to be captured.
    """
    played = Played(trace)
    noise = Noise(trace.seed, frames, len(model.base)).factors
    overshoot = Reserve()
    free_at, frame = 0.0, 0
    while frame < frames:
        newest = min(int(free_at / PERIOD_S + 1e-9), frames - 1)
        while frame < newest:  # the mailbox holds the newest alone
            played.drop()
            frame += 1
        captured = frame * PERIOD_S
        now = max(free_at, captured)
        left_s = captured + PERIOD_S - now

        run = functools.partial(
            run_frame,
            model,
            trace,
            began=now,
            aim=now + TRIM_AT * left_s - overshoot.seconds,
            factors=noise[frame],
            trims=planning.trims,
        )
        plan = planning.plan(left_s, run)
        if plan is None:
            played.drop()
        else:
            ran = run(plan)
            free_at = now + sum(ran.stage_seconds)
            overshoot.observe(max(0.0, free_at - now - TRIM_AT * left_s))
            planning.observe(plan, ran.keep_used, ran.stage_seconds)
            _enter(played, plan, ran, free_at - captured, model.manifest)
        frame += 1
    return played


@dataclass(frozen=True)
class Ran:
    """What one frame took."""

    keep_used: tuple[int, ...]
    stage_seconds: tuple[float, ...]


def run_frame(
    model: SimulatedModel,
    trace: Trace,
    plan: Plan,
    began: float,
    aim: float,
    factors: Sequence[float],
    trims: bool,
) -> Ran:
    """Run the stages; with `trims`, blocks that start late compute fewer pixels.

    The same arithmetic as `pag_ros.runtime.frame_clock`.

    Args:
        aim: when it tries to end, seconds as `began`.
    """
    due = aim - plan.stage_seconds[-1]
    rest = sum(plan.stage_seconds[1:-1])
    now, used, seconds = began, [], []
    last = len(model.base) - 1
    for stage, base in enumerate(model.base):
        duration = base
        if 0 < stage < last:
            keep = plan.keep[stage - 1]
            late = now - (due - rest)
            if trims and plan.timed and late > 0.0:
                keep = math.floor(keep * (1.0 - late / rest)) if late < rest else 0
            rest -= plan.stage_seconds[stage]
            used.append(keep)
            duration += keep * model.per_pixel[stage]
        duration *= trace.at(now) * factors[stage]
        seconds.append(duration)
        now += duration
    return Ran(tuple(used), tuple(seconds))


def _enter(played: Played, plan: Plan, ran: Ran, latency_s: float, manifest: Manifest) -> None:
    played.latency_s.append(latency_s)
    played.density.append(sum(ran.keep_used) / sum(block.pixels for block in manifest.blocks))
    expected = sum(plan.stage_seconds)
    whole = ran.keep_used == plan.keep and expected > 0.0
    played.error.append(abs(sum(ran.stage_seconds) / expected - 1.0) if whole else math.nan)
