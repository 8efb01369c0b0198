"""The real node under load: our deadline beside fixed budgets, in turns in one run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pag_ros.cli.demo import demo_bag
from pag_ros.cli.options import add_json, add_model, add_plot, add_size, write_json
from pag_ros.cli.replay import require_ros
from pag_ros.errors import ParameterError
from pag_ros.evaluation.results import about_software
from pag_ros.kernels import available_cpus
from pag_ros.replay.live_log import PARTS
from pag_ros.replay.load_figures import LoadRow, load_rows, row_to_json
from pag_ros.replay.load_injector import PATTERNS, may_use_nice
from pag_ros.replay.urgency import urgency_here
from pag_ros.runtime import find_model, open_session
from pag_ros.runtime.calibration import calibrate_quickly, cpu_name
from pag_ros.runtime.network_size import Size

_SHARE_OF_PERIOD = 0.5
"""Share of the time between two images that the whole network takes on the idle machine, where
--fps is not given. Then the smallest budget can be in time even under the heaviest load, and the
whole network cannot."""

_PRIORITY = -5

_HEADER = (
    "load      budget            frames missed %  (95 %)        node's feasible density"
    "  p50 ms  p99 ms"
)
"""The columns of misses: at the listener, by the node's own books, and where the smallest budget
missed nothing."""
_PARTS_HEADER = "\nmean / p95 ms                " + "".join(f"{part:>17}" for part in PARTS)
_MAX_CAMERAS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_size(parser)
    parser.add_argument("--bag", type=Path, help="its images are sent (the demo's)")
    parser.add_argument("--cameras", type=int, default=1, help="on one node (%(default)s)")
    parser.add_argument(
        "--fps",
        type=float,
        help="of each camera (default: the whole network takes half of the time of all together)",
    )
    parser.add_argument("--minutes", type=float, default=4.0, help="in all, about (%(default)s)")
    parser.add_argument(
        "--pattern", nargs="+", choices=("none", *PATTERNS), default=["steps", "square"]
    )
    parser.add_argument(
        "--fixed",
        type=float,
        nargs="*",
        default=[0.1, 1.0],
        metavar="B",
        help="fixed budgets (.1 1)",
    )
    parser.add_argument(
        "--guard-ms", type=float, default=2.0, help="the node's guard_ms (%(default)s)"
    )
    parser.add_argument("--hogs", type=int, default=available_cpus(), help="(%(default)s)")
    parser.add_argument("--memory", action="store_true", help="stream through memory as well")
    parser.add_argument(
        "--priority", action="store_true", help=f"hogs at nice {_PRIORITY}, before the node"
    )
    add_json(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write it all as HTML")
    add_plot(parser)


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    require_ros()
    from pag_ros.replay.load import LoadOptions, bench_load

    _check(args)
    fps = args.fps or _usual_fps(args.model, args.size, args.cameras)
    modes = [("deadline", 1.0), *(("fixed", budget) for budget in args.fixed)]
    blocks = len(modes) * len(args.pattern)
    rounds = max(1, round(args.minutes * 60.0 / (blocks * 30.0)))
    block_s = args.minutes * 60.0 / (blocks * rounds)
    with (
        tempfile.TemporaryDirectory(prefix="pag_ros_load_") as folder,
        tqdm(total=blocks * rounds, unit="block", disable=None, file=sys.stderr) as bar,
    ):

        def progress(name: str) -> None:
            bar.set_description(name)
            bar.update()

        runs = bench_load(
            LoadOptions(
                bag=args.bag or demo_bag(),
                out=Path(folder),
                model=args.model,
                size=args.size,
                cameras=args.cameras,
                fps=fps,
                patterns=args.pattern,
                modes=modes,
                block_s=block_s,
                rounds=rounds,
                guard_ms=args.guard_ms,
                hogs=args.hogs,
                memory=args.memory,
                nice=_PRIORITY if args.priority else 0,
                progress=progress,
            )
        )
    deadline_ms = 1e3 / fps
    rows = load_rows(runs, deadline_ms)
    result = {
        "cpu": cpu_name(),
        "cpus": available_cpus(),
        "hogs": args.hogs,
        "cameras": args.cameras,
        "instrument": urgency_here(),
        "fps": fps,
        "guard_ms": args.guard_ms,
        "deadline_ms": deadline_ms,
        "rows": [row_to_json(row) for row in rows],
    }
    if args.plot or args.report:
        from pag_ros.replay.load_plots import plot_load, write_load_report
    if args.plot:
        plot_load(runs, deadline_ms, args.plot)
    if args.report:
        write_load_report(runs, rows, _about(result), deadline_ms, args.report)
    _write(result, rows, args.json)
    return 0


def _about(result: Mapping[str, Any]) -> dict[str, str]:
    """What was run, for people."""
    return {
        **about_software(),
        "hogs": str(result["hogs"]),
        "cameras": str(result["cameras"]),
        "frames a second": f"{result['fps']:.1f}",
        "sender and listener": result["instrument"],
        "deadline": f"{result['deadline_ms']:.1f} ms, guard {result['guard_ms']:g} ms",
    }


def _check(args: argparse.Namespace) -> None:
    if args.fps is not None and not 0.5 <= args.fps <= 240.0:
        raise ParameterError(f"--fps must lie in .5 to 240, got {args.fps}")
    if not 0.05 <= args.minutes <= 1440.0:
        raise ParameterError(f"--minutes must lie in .05 to 1440, got {args.minutes}")
    if not 1 <= args.cameras <= _MAX_CAMERAS:
        raise ParameterError(f"--cameras must lie in 1 to {_MAX_CAMERAS}, got {args.cameras}")
    if not 0 <= args.hogs <= 256:
        raise ParameterError(f"--hogs must lie in 0 to 256, got {args.hogs}")
    if not 0.0 <= args.guard_ms <= 1000.0:
        raise ParameterError(f"--guard-ms must lie in 0 to 1000, got {args.guard_ms}")
    if any(not 0.0 <= budget <= 1.0 for budget in args.fixed):
        raise ParameterError(f"--fixed must lie in 0 to 1, got {args.fixed}")
    if args.priority and not may_use_nice(_PRIORITY):
        raise ParameterError(f"--priority: nice {_PRIORITY} needs root on this machine")


def _usual_fps(model: str, size: Size | None, cameras: int) -> float:
    session = open_session(find_model(model), "cpu", size=size, precision="auto")
    full = tuple(block.pixels for block in session.manifest.blocks)
    seconds = calibrate_quickly(session).total_seconds(full)
    session.close()
    return max(1.0, round(_SHARE_OF_PERIOD / (seconds * cameras), 1))


def _write(result: dict[str, Any], rows: Sequence[LoadRow], file: str | None) -> None:
    if write_json(result, file):
        return
    print(
        f"{result['cpu']}, {result['cpus']} CPUs, {result['hogs']} hogs; "
        f"{result['fps']:.1f} frames/s, deadline {result['deadline_ms']:.1f} ms; "
        f"sender and listener: {result['instrument']}"
    )
    print(_HEADER)
    for row in rows:
        print(_line(row))
    print(_PARTS_HEADER)
    for row in rows:
        print(_parts_line(row))


def _line(row: LoadRow) -> str:
    figures = (
        row.density_mean,
        row.p50_ms,
        row.p99_ms,
        row.feasible.rate if row.feasible else None,
    )
    density, p50, p99, feasible = (float("nan") if v is None else v for v in figures)
    interval = f"{100 * row.misses.low:.1f} - {100 * row.misses.high:.1f}"
    return (
        f"{row.setting.pattern:9} {row.setting!s:17} {row.misses.frames:6} "
        f"{100 * row.misses.rate:8.2f}  {interval:13} {100 * row.node_misses.rate:6.2f} "
        f"{100 * feasible:8.2f} {density:7.3f} {p50:7.1f} {p99:7.1f}"
    )


def _parts_line(row: LoadRow) -> str:
    """Where the time from the stamp to the last arrival goes."""
    cells = [
        f"{row.parts[name].mean:.1f} / {row.parts[name].p95:.1f}" if name in row.parts else "-"
        for name in PARTS
    ]
    return f"{row.setting.pattern:9} {row.setting!s:17} " + "".join(f"{c:>17}" for c in cells)
