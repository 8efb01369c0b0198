"""The controller in a simulator, beside fixed, PI, AIMD, Kalman and a clairvoyant oracle."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pag_ros.budget import Controller
from pag_ros.budget.refresh import FRAMES_A_BATCH
from pag_ros.cli.options import add_json, add_model, add_plot, add_size, refuse, write_json
from pag_ros.errors import ParameterError
from pag_ros.lab.simulation import (
    CONTROLLERS,
    HELD_OUT,
    TUNING,
    Played,
    Row,
    SimulatedModel,
    Trace,
    make_controller,
    make_trace,
    play,
    recorded_trace,
    score,
)
from pag_ros.lab.simulation.machine import PERIOD_S
from pag_ros.lab.simulation.rivals import TUNABLE
from pag_ros.lab.simulation.traces import KINDS, LoadSet
from pag_ros.manifest import load_manifest
from pag_ros.reading import read_limited, reading
from pag_ros.runtime import find_model
from pag_ros.runtime.network_size import resized

_MAX_TRACE_BYTES = 100_000_000
_MIN_FRAMES = 120
_SEEDS = 5
_TIMED_FRAMES, _STRETCH = 4000, 2 * FRAMES_A_BATCH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_size(parser)
    parser.add_argument("--frames", type=int, default=9000, help="of each trace (%(default)s)")
    parser.add_argument("--seeds", type=int, help=f"traces of each kind ({_SEEDS})")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="traces with TEXT in the name")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help='recorded: {"step_s": .., "slowdown": [..]}'
    )
    parser.add_argument(
        "--tune", action="store_true", help="search the rivals' constants on the tuning traces"
    )
    add_json(parser)
    add_plot(parser)


def main(args: argparse.Namespace) -> int:
    if args.tune:
        refuse(args, ["--seeds", "--only", "--trace", "--json", "--plot"], "with --tune")
    if args.trace:
        refuse(args, ["--only"], "with --trace, which names the one trace")
    seeds = _SEEDS if args.seeds is None else args.seeds
    if args.frames < _MIN_FRAMES or not 1 <= seeds <= len(HELD_OUT.seeds):
        raise ParameterError(
            f"--frames must be {_MIN_FRAMES} or more, --seeds 1 to {len(HELD_OUT.seeds)}"
        )
    manifest = resized(load_manifest(find_model(args.model)), args.size)
    model = SimulatedModel.of(manifest)
    if args.tune:
        print(json.dumps(_tuned(model, args.frames), indent=1))
        return 0
    runs = _play_all(model, _traces(args, seeds), args.frames)
    rows = [score(controller, played) for (_, controller), played in runs.items()]
    result = {
        "model": model.manifest.name,
        "period_ms": PERIOD_S * 1e3,
        "controller_us": _controller_us(model),
        "rows": [_finite(asdict(row)) for row in rows],
    }
    if args.plot:
        from pag_ros.lab.simulation.plots import plot_deadline

        plot_deadline(list(runs.items()), rows, args.plot)
    if write_json(result, args.json):
        return 0
    print(_table(rows))
    print(f"controller: {result['controller_us']:.1f} us a frame (plan and observe)")
    return 0


def _traces(args: argparse.Namespace, count: int) -> dict[str, list[Trace]]:
    """Kind of load -> its traces."""
    seconds = args.frames * PERIOD_S
    if args.trace:
        trace = read_trace(args.trace)
        return {trace.name: [replace(trace, seed=seed) for seed in HELD_OUT.seeds[:count]]}
    kinds = [k for k in KINDS if not args.only or any(text in k for text in args.only)]
    if not kinds:
        raise ParameterError(f"--only {' '.join(args.only)}: there are {', '.join(KINDS)}")
    return {kind: _of_kind(kind, HELD_OUT, count, seconds) for kind in kinds}


def _of_kind(kind: str, loads: LoadSet, seeds: int, seconds: float) -> list[Trace]:
    return [make_trace(kind, loads, seed, seconds) for seed in loads.seeds[:seeds]]


def read_trace(path: Path) -> Trace:
    """The recorded trace of a JSON file.

    Raises:
        ParameterError: the file cannot be read, or holds something else.
    """
    with reading(path, "a readable trace", ParameterError):
        return recorded_trace(path.name, json.loads(read_limited(path, _MAX_TRACE_BYTES)))


def _play_all(
    model: SimulatedModel, traces: dict[str, list[Trace]], frames: int
) -> dict[tuple[str, str], list[Played]]:
    """(trace, controller) -> its runs."""
    from tqdm import tqdm

    pairs = list(itertools.product(traces, CONTROLLERS))
    with tqdm(pairs, unit="run", disable=None, file=sys.stderr) as bar:
        return {
            (kind, name): [
                play(model, trace, make_controller(name, model.manifest, model.table), frames)
                for trace in traces[kind]
            ]
            for kind, name in bar
        }


def _tuned(model: SimulatedModel, frames: int) -> dict[str, Any]:
    """The constants of each rival with the least cost on the tuning traces."""
    seconds = frames * PERIOD_S
    traces = [trace for kind in KINDS for trace in _of_kind(kind, TUNING, 2, seconds)]
    best: dict[str, Any] = {}
    for name, grid in TUNABLE.items():
        tried = []
        for constants in _grid(grid):
            runs = []
            for trace in traces:
                planning = make_controller(name, model.manifest, model.table, **constants)
                runs.append(play(model, trace, planning, frames))
            row = score(name, runs)
            # A missed frame weighs as much as ten that are computed without any gated pixel.
            tried.append((10.0 * row.miss_rate - row.density_mean, constants, row.miss_rate))
        cost, constants, miss_rate = min(tried, key=lambda entry: entry[0])
        best[name] = {**constants, "cost": cost, "miss_rate": miss_rate}
    return best


def _grid(values: dict[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    for point in itertools.product(*values.values()):
        yield dict(zip(values, point, strict=True))


def _controller_us(model: SimulatedModel) -> float:
    """Usual time of our controller for one frame, microseconds."""
    controller = Controller(model.manifest, model.table)
    took = []
    for frame in range(_TIMED_FRAMES):
        left_s = PERIOD_S * (0.7 + 0.3 * math.sin(frame / 30.0))
        began = time.perf_counter()
        plan = controller.plan(left_s)
        planned = time.perf_counter() - began
        if plan is None:
            continue
        seconds = [1.01 * value for value in plan.stage_seconds]
        began = time.perf_counter()
        controller.observe(plan, plan.keep, seconds)
        took.append(planned + time.perf_counter() - began)
    # Every so many frames the table is corrected: means of stretches that hold such a frame each.
    stretches = [took[at : at + _STRETCH] for at in range(0, len(took) - _STRETCH + 1, _STRETCH)]
    return 1e6 * statistics.median(statistics.mean(stretch) for stretch in stretches)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _table(rows: Sequence[Row]) -> str:
    head = (
        "trace      controller          missed %  (95 %)         settle  density      p99   p99.9"
    )
    lines = [head]
    for row in rows:
        interval = f"{100 * row.miss_low:.2f} - {100 * row.miss_high:.2f}"
        settle = "-" if row.settle_mean is None else f"{row.settle_mean:.1f}/{row.settle_max}"
        lines.append(
            f"{row.trace:10} {row.controller:19} {100 * row.miss_rate:8.2f}  {interval:13} "
            f"{settle:>8}  {row.density_mean:.3f}  {row.p99_over_deadline:7.2f} "
            f"{row.p999_over_deadline:7.2f}"
        )
    return "\n".join(lines)
