"""Score a model on labelled datasets at several budgets.

A dataset is NAME:PATH (docs/datasets.md has the names, their layouts and protocols) or a folder of
`pag_ros data render`; such folders are scored as one. Prints a table; --out writes report.html and
report.json, of several datasets in a folder each; --record writes the main scores into the model's
manifest, with --size or --precision beside those of the model's own size in float32. --fit-sizes
measures in place of scores how the distances that the network sees follow its input size, which
keeps its depth metric.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.cli.options import (
    add_device,
    add_json,
    add_model,
    add_mount,
    add_precision,
    add_size,
    chosen_mount,
    write_json,
)
from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import DEPTH_PROTOCOLS

if TYPE_CHECKING:
    from pag_ros.lab.datasets import Dataset
    from pag_ros.lab.datasets.scores import DatasetScores
    from pag_ros.runtime import Session

BUDGETS = (1.0, 0.7, 0.5, 0.3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", nargs="+", required=True, metavar="SPEC", help="NAME:PATH or rendered folders"
    )
    parser.add_argument("--split", help="as the datasets call it (default: the one to score on)")
    add_model(parser)
    add_device(parser)
    add_size(parser)
    add_precision(parser, "fp32")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, metavar="B")
    parser.add_argument(
        "--mode",
        choices=("fixed", "adaptive"),
        default="fixed",
        help="adaptive: the budget on average, less on easy scenes (default: fixed)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N of each dataset")
    parser.add_argument(
        "--protocol",
        choices=sorted(DEPTH_PROTOCOLS),
        help="which true depths count (default: as published for the dataset)",
    )
    add_mount(parser)
    parser.add_argument("--trivial", action="store_true", help="score trivial guesses, too")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the report: page, pictures and numbers"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write sheets of pictures here"
    )
    add_json(parser)
    parser.add_argument("--record", action="store_true", help="keep them in the manifest")
    parser.add_argument(
        "--fit-sizes",
        action="store_true",
        help="measure size_exponent of the manifest on one dataset with depth; --record keeps it",
    )


def main(args: argparse.Namespace) -> int:
    from pag_ros.evaluation.report import write_report
    from pag_ros.lab.datasets.scores import with_scores
    from pag_ros.manifest import load_manifest, save_manifest
    from pag_ros.runtime import find_model, open_session
    from pag_ros.runtime.network_size import size_of

    if args.limit is not None and args.limit < 1:
        raise ParameterError(f"--limit must be at least 1, got {args.limit}")
    datasets = open_all(args.dataset, args.split)
    reports = _report_folders(args.out, datasets)
    if args.record and (len(datasets) > 1 or args.mode != "fixed"):
        raise ParameterError("--record keeps the fixed budgets' scores of one --dataset")
    if args.record and chosen_mount(args) is not None:
        raise ParameterError("--record keeps the network's own scores; leave --camera-height out")
    if args.record and args.precision != "fp32" and (args.size or args.precision == "auto"):
        raise ParameterError(
            "--record keeps the scores in a precision by its name, and of the model's own size"
        )
    model = find_model(args.model)
    if args.fit_sizes:
        return _fit_sizes(datasets, model, args)
    session = open_session(model, args.device, size=args.size, precision=args.precision)
    try:
        found = {dataset.name: _score(dataset, session, args) for dataset in datasets}
    finally:
        session.close()
    if args.record:
        (scores,) = found.values()
        size = size_of(session.manifest)
        manifest = with_scores(load_manifest(model), scores.budgets, size, args.precision)
        save_manifest(manifest, model)
    result = {name: _to_json(scores) for name, scores in found.items()}
    stdout_taken = write_json(result, args.json)
    for name, scores in found.items():
        if not stdout_taken:
            _print(name, scores)
        if args.out:
            report = write_report(scores.evaluation, reports[name])
            print(f"report: {report}", file=sys.stderr if stdout_taken else sys.stdout)
    return 0


def open_all(specs: list[str], split: str | None) -> list[Dataset]:
    """The datasets of the command line; rendered folders together are one."""
    from pag_ros.lab.datasets import open_dataset, split_spec
    from pag_ros.lab.datasets.rooms import RoomPictures

    rendered = [path for name, path in map(split_spec, specs) if name == "rooms"]
    if rendered and split not in (None, "all"):
        raise ParameterError(f"rendered rooms have no split {split!r}; leave --split out")
    others = [open_dataset(spec, split) for spec in specs if split_spec(spec)[0] != "rooms"]
    return [*([RoomPictures(rendered)] if rendered else []), *others]


def _report_folders(out: Path | None, datasets: list[Dataset]) -> dict[str, Path]:
    """Name of each dataset -> folder of its report: OUT, or of several one below it each.

    Raises:
        ParameterError: a folder cannot be written to.
    """
    from pag_ros.evaluation.report import HTML_NAME
    from pag_ros.evaluation.results import require_writable
    from pag_ros.lab.datasets.pictures import file_name

    if out is None:
        return {}
    folders = {d.name: out if len(datasets) == 1 else out / file_name(d.name) for d in datasets}
    for folder in folders.values():
        require_writable(folder / HTML_NAME)
    return folders


def _fit_sizes(datasets: Sequence[Dataset], model: Path, args: argparse.Namespace) -> int:
    """Do what --fit-sizes asks for; returns the exit code."""
    from tqdm import tqdm

    from pag_ros.lab.datasets.size_exponent import SCALES, fit_sizes
    from pag_ros.manifest import load_manifest, save_manifest

    if len(datasets) > 1 or args.size or chosen_mount(args) is not None:
        raise ParameterError(
            "--fit-sizes takes one --dataset, and neither --size, it chooses the sizes, nor "
            "--camera-height: it measures the network's own scale"
        )
    (dataset,), manifest = datasets, load_manifest(model)
    total = len(SCALES) * min(args.limit or len(dataset), len(dataset))
    with tqdm(None, dataset.name, total, unit="frame", disable=None, file=sys.stderr) as bar:
        fit = fit_sizes(dataset, model, args.device, args.limit, bar.update)
    if args.record:
        save_manifest(replace(manifest, size_exponent=fit.exponent), model)
    if not write_json(asdict(fit), args.json):
        for size, scale in fit.scales.items():
            print(f"{size}: depth {scale:.3f} of the true one (median, mean over the samples)")
        print(f"size_exponent {fit.exponent:.2f} (was {manifest.size_exponent:.2f})")
    return 0


def _score(dataset: Dataset, session: Session, args: argparse.Namespace) -> DatasetScores:
    from tqdm import tqdm

    from pag_ros.evaluation.passes import perception_at
    from pag_ros.lab.datasets.pictures import write_sheets
    from pag_ros.lab.datasets.scores import score_dataset

    total = len(dataset) if args.limit is None else min(args.limit, len(dataset))
    with tqdm(None, dataset.name, total, unit="frame", disable=None, file=sys.stderr) as bar:
        scores = score_dataset(
            dataset,
            session,
            args.budgets,
            limit=args.limit,
            mode=args.mode,
            trivial=args.trivial,
            protocol=DEPTH_PROTOCOLS.get(args.protocol),
            mount=chosen_mount(args),
            progress=bar.update,
        )
    for message in scores.messages:
        print(message, file=sys.stderr)
    if args.pictures:
        perception = perception_at(session, args.budgets[0], args.mode)
        for path in write_sheets(dataset, scores.delta1, perception, args.pictures):
            print(f"pictures: {path}", file=sys.stderr)
    return scores


def _to_json(scores: DatasetScores) -> dict[str, object]:
    return {
        "budgets": {f"{budget:.2f}": tasks for budget, tasks in scores.budgets.items()},
        "density": {f"{budget:.2f}": density for budget, density in scores.density.items()},
        "trivial": scores.trivial,
        "samples": len(scores.delta1),
        "messages": scores.messages,
    }


def _print(name: str, scores: DatasetScores) -> None:
    from pag_ros.lab.datasets.scores import main_scores

    print(f"{name}: {len(scores.delta1)} samples")
    rows = {
        f"budget {budget:.2f} (computed {scores.density[budget]:.3f})": tasks
        for budget, tasks in scores.budgets.items()
    }
    for row, tasks in {**rows, **scores.trivial}.items():
        values = ", ".join(f"{key} {value:.3f}" for key, value in main_scores(tasks).items())
        print(f"  {row}: {values or 'nothing that both the model and the dataset have'}")
