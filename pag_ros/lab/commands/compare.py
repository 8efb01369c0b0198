"""Compare ways of spending less compute: fine-tune each from the same weights, score, store.

Every method, budget and seed leaves one JSON file in --out; a stopped comparison goes on where it
was when it is run again. `pag_ros results` makes tables and plots of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.cli.options import image_size, refuse, whole

if TYPE_CHECKING:
    from pag_ros.lab.baselines import Comparison
    from pag_ros.lab.bench.exported import Variant
    from pag_ros.lab.results.runs import RunResult

_NOT_EXPORTABLE = {
    "layer_skip": "what chooses the blocks is no part of an exported model",
    "sact": "what halts the pixels is no part of an exported model",
    "pag_interpolated": "the runtime's kernels leave skipped pixels as they are",
    **dict.fromkeys(
        ("random", "random_interpolated", "grid", "grid_interpolated"),
        "the runtime's masks come from learned scores only",
    ),
}
"""Method -> why it has no time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    paths = parser.add_argument
    paths(
        "--init",
        type=Path,
        required=True,
        help="weights of a training run",
    )
    paths("--data", type=Path, nargs="+", required=True, help="rendered datasets to train on")
    paths("--validation", type=Path, nargs="+", required=True, help="rendered datasets to score on")
    paths("--out", type=Path, default=Path("docs/results"), help="folder of the results")
    parser.add_argument("--method", nargs="+", metavar="NAME", help="which (default: all)")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.7, 0.5, 0.3], metavar="B")
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0], metavar="N")
    parser.add_argument("--iterations", type=whole(1), default=1000, help="of each (1000)")
    parser.add_argument("--batch", type=whole(1), default=8, help="pictures an iteration (8)")
    parser.add_argument("--learning-rate", type=float, default=3e-4, help="at the start (0.0003)")
    parser.add_argument("--size", type=image_size, default=(160, 120), help="WIDTHxHEIGHT, pixels")
    parser.add_argument("--limit", type=whole(1), metavar="N", help="score on N frames only")
    parser.add_argument("--threads", type=whole(1), help="of the timed runtime (1)")
    parser.add_argument("--rounds", type=whole(0), default=9, help="of timing; 0 leaves it out (9)")


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.errors import ParameterError
    from pag_ros.evaluation.results import require_writable
    from pag_ros.lab.baselines import METHODS, Comparison, Recipe

    if not all(0.0 < budget <= 1.0 for budget in args.budgets):
        raise ParameterError(f"--budgets must lie in (0, 1], got {args.budgets}")
    if not 0.0 < args.learning_rate < 1.0:
        raise ParameterError(f"--learning-rate must lie in (0, 1), got {args.learning_rate}")
    if args.rounds == 0:
        refuse(args, ["--threads"], "with --rounds 0, which times nothing")
    require_writable(args.out / "a result")
    recipe = Recipe(args.size, args.iterations, args.batch, args.learning_rate)
    comparison = Comparison(
        args.init, args.data, args.validation, recipe, args.out, limit=args.limit
    )
    jobs = comparison.jobs(args.method or list(METHODS), args.budgets, args.seeds)
    total = len(jobs) * args.iterations
    with tqdm(total=total, unit="iteration", disable=None, file=sys.stderr) as bar:
        for job in jobs:
            budgets = " ".join(f"{budget:g}" for budget in job.budgets)
            bar.set_description(f"{job.method} {budgets} seed {job.seed}")
            began = time.monotonic()
            comparison.run(job, bar.update)
            seconds = time.monotonic() - began
            text = f"{job.method} {budgets} seed {job.seed}: {seconds:.0f} s"
            tqdm.write(text, file=sys.stderr)  # A log shows no bar.
    if args.rounds > 0:
        _add_times(comparison, args.threads or 1, args.rounds)
    print(f"results: {args.out}; tables and plots of them: pag_ros results")
    return 0


def _add_times(comparison: Comparison, threads: int, rounds: int) -> None:
    """Time everything that can be exported, all taking turns, and store it with the runs."""
    from tqdm import tqdm

    from pag_ros.lab.bench.exported import time_variants
    from pag_ros.lab.results.runs import load_runs, save_run
    from pag_ros.lab.training.rooms import Rooms
    from pag_ros.runtime.calibration import cpu_name

    runs = load_runs(comparison.out)
    variants = _variants(comparison, runs)
    frame = Rooms(comparison.validation_folders, comparison.recipe.size, train=False)[0]
    image = frame["image"].permute(1, 2, 0).contiguous().numpy()
    with tqdm(total=rounds, desc="timing", unit="round", disable=None, file=sys.stderr) as bar:
        times = time_variants(variants, image, threads, rounds, bar.update)
    how = f"median in the torch-free runtime on {cpu_name()}, {threads} thread(s), interleaved"
    for run in runs:
        milliseconds = times.get(_time_key(run))
        why = _NOT_EXPORTABLE.get(run.method, "nothing is left to gate")
        note = how if milliseconds is not None else f"not timed: {why}"
        save_run(replace(run, milliseconds=milliseconds, timing=note), comparison.out)


def _variants(comparison: Comparison, runs: Sequence[RunResult]) -> dict[str, Variant]:
    """What to time for the runs. With the starting weights: only masks depend on them."""
    from pag_ros.lab.baselines import make_method
    from pag_ros.lab.bench.exported import Variant

    variants = {}
    for run in runs:
        key = _time_key(run)
        if run.method in _NOT_EXPORTABLE or key in variants:
            continue
        size = comparison.recipe.size
        if run.method in _OWN_NETWORK:
            method = make_method(run.method, comparison.network, run.budget, size, run.seed)
            budget = run.budget if method.every_budget else 1.0
            if method.network.gated:
                variants[key] = Variant(method.network.eval(), method.size, budget)
        else:
            variants[key] = Variant(comparison.network, size, run.budget)
    return variants


_OWN_NETWORK = ("pag_plain", "truncated", "smaller_input")


def _time_key(run: RunResult) -> str:
    """Runs with the same key take the same time."""
    method = "pag" if run.method in ("full", "pag_specialist") else run.method
    return f"{method} {run.budget:.2f}"
