"""Measure how long each stage of a model takes on this machine, and keep it for the controller.

The table goes to the user's cache ($XDG_CACHE_HOME/pag_ros, else ~/.cache/pag_ros), where the node
finds it at its next start. Let the machine do what it does when the robot runs, but nothing else.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from tqdm import tqdm

from pag_ros.budget import LatencyTable, save_table
from pag_ros.cli.options import (
    add_device,
    add_json,
    add_model_argument,
    add_plot,
    add_precision,
    add_size,
    write_json,
)
from pag_ros.errors import ParameterError
from pag_ros.runtime import Session, find_model, open_session
from pag_ros.runtime.calibration import calibrate, cpu_name, latency_key

_SHOWN_BUDGETS = (1.0, 0.75, 0.5, 0.25, 0.1, 0.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    add_device(parser)
    add_size(parser)
    add_precision(parser)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: all)")
    add_json(parser)
    add_plot(parser)


def main(args: argparse.Namespace) -> int:
    session = open_session(
        find_model(args.model), args.device, args.threads, args.size, precision=args.precision
    )
    with tqdm(unit="run", disable=None, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        table = calibrate(session, progress)
    key = latency_key(session)
    try:
        path = save_table(table, key)
    except OSError as error:
        raise ParameterError(
            f"the cache cannot be written ({error}); set XDG_CACHE_HOME to a folder that can"
        ) from error
    if not write_json({"key": key, "path": str(path), **asdict(table)}, args.json):
        print(_text(session, table))
        print(f"stored in {path}")
    if args.plot:
        from pag_ros.evaluation.latency_plot import plot_table

        title = f"{session.manifest.name} on {session.backend}, {cpu_name()}"
        plot_table(table, session.manifest, title, args.plot)
    session.close()
    return 0


def _text(session: Session, table: LatencyTable) -> str:
    """Milliseconds of every stage at some budgets."""
    lines = [f"{session.manifest.name} on {session.backend}, milliseconds"]
    lines.append("budget   total  " + " ".join(f"{name:>8}" for name in session.stages))
    for budget in _SHOWN_BUDGETS:
        seconds = table.stage_seconds(session.manifest.keep_for(budget))
        cells = " ".join(f"{1e3 * value:8.2f}" for value in seconds)
        lines.append(f"{budget:6.2f} {1e3 * sum(seconds):7.2f}  {cells}")
    return "\n".join(lines)
