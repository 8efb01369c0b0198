"""A machine that runs a model's stages one after another, while its speed changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pag_ros.budget.capture import FrameTiming
from pag_ros.budget.controller import Plan
from pag_ros.budget.deadline import Conditions, Outcome, Ran, Timekeeper
from pag_ros.budget.latency import LatencyTable, StageLatency
from pag_ros.budget.trimming import block_limits, trimmed_keep
from pag_ros.lab.simulation.rivals import Planning
from pag_ros.lab.simulation.traces import Trace
from pag_ros.manifest import Manifest

PERIOD_S = 1.0 / 30.0
"""Of the simulated camera; also the deadline, from capture."""

FULL_SHARE_OF_PERIOD = 0.8
"""Time of the whole network on the idle machine."""

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
        missed: whether it was late or dropped.
        density: share of the gated pixels computed, 0 for a dropped frame.
        error: relative error of the expected duration; NaN for a frame dropped or trimmed.
    """

    trace: Trace
    deadline_s: float = PERIOD_S
    latency_s: list[float] = field(default_factory=list)
    missed: list[bool] = field(default_factory=list)
    density: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)

    def drop(self) -> None:
        """A frame without outputs."""
        self.latency_s.append(math.inf)
        self.missed.append(True)
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

    The time of every frame, and what becomes of it, is the node's own arithmetic (`Timekeeper`).
    Decoding, resizing and publishing take no time here.

    Args:
        planning: the controller under test, new.
        frames: to be captured.
    """
    played = Played(trace)
    noise = Noise(trace.seed, frames, len(model.base)).factors
    timekeeper = Timekeeper()
    free_at, frame = 0.0, 0
    while frame < frames:
        newest = min(int(free_at / PERIOD_S + 1e-9), frames - 1)
        while frame < newest:  # the mailbox holds the newest alone
            played.drop()
            frame += 1
        captured = frame * PERIOD_S
        now = max(free_at, captured)
        timing = FrameTiming(captured, 0.0, PERIOD_S)
        conditions = Conditions(planning.floor_s, drops=planning.drops)
        allowance = timekeeper.allow(timing, now, now, conditions)
        run = functools.partial(
            run_stages,
            model,
            trace,
            began_s=now,
            trim_at_s=allowance.trim_at_s if planning.trims else math.inf,
            factors=noise[frame],
        )
        plan = planning.plan(allowance.network_s, run, allowance.may_drop)
        stages = None if plan is None else run(plan)
        if stages is not None and plan is not None:
            free_at = now + sum(stages.seconds)
            planning.observe(plan, stages.keep_used, stages.seconds)
        ran = None if stages is None else Ran(free_at, aimed=planning.trims)
        verdict = timekeeper.judge(allowance, free_at, ran)
        if plan is None or stages is None or verdict.is_dropped:
            played.drop()
        else:
            played.latency_s.append(free_at - captured)
            played.missed.append(verdict.outcome is not Outcome.IN_TIME)
            _enter(played, plan, stages, model.manifest)
        frame += 1
    return played


@dataclass(frozen=True)
class Stages:
    """What the stages of one frame took."""

    keep_used: tuple[int, ...]
    seconds: tuple[float, ...]


def run_stages(
    model: SimulatedModel,
    trace: Trace,
    plan: Plan,
    began_s: float,
    trim_at_s: float,
    factors: Sequence[float],
) -> Stages:
    """Run the stages of a frame; blocks that start too late compute fewer pixels.

    Args:
        trim_at_s: when the frame is to have ended; infinity trims nothing.
    """
    limits = block_limits(trim_at_s - began_s, plan.stage_seconds).tolist()
    now, used, seconds = began_s, [], []
    last = len(model.base) - 1
    for stage, base in enumerate(model.base):
        duration = base
        if 0 < stage < last:
            keep = plan.keep[stage - 1]
            if plan.timed:
                start, rest = limits[stage - 1]
                keep = trimmed_keep(keep, now - began_s - start, rest)
            used.append(keep)
            duration += keep * model.per_pixel[stage]
        duration *= trace.at(now) * factors[stage]
        seconds.append(duration)
        now += duration
    return Stages(tuple(used), tuple(seconds))


def _enter(played: Played, plan: Plan, stages: Stages, manifest: Manifest) -> None:
    """How much of the network was computed, and how well its time was foreseen."""
    played.density.append(sum(stages.keep_used) / sum(block.pixels for block in manifest.blocks))
    expected = sum(plan.stage_seconds)
    whole = stages.keep_used == plan.keep and expected > 0.0
    played.error.append(abs(sum(stages.seconds) / expected - 1.0) if whole else math.nan)
