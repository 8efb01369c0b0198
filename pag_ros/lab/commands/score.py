"""Score a model on labelled datasets at several budgets.

A dataset is NAME:PATH (docs/datasets.md has the names, their layouts and protocols) or a folder of
`pag_ros data render`; such folders are scored as one. Prints a table; --out writes report.html and
report.json, of several datasets in a folder each; --record writes the main scores into the model's
manifest, with --size beside those of the model's own size. With --precision it scores in float32,
too, and keeps both: what a precision loses is told on the same samples. --fit-sizes measures in
place of scores how the distances that the network sees follow its input size, which keeps its depth
metric.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
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
    refuse,
    write_json,
)
from pag_ros.errors import ParameterError
from pag_ros.evaluation.metrics import DEPTH_PROTOCOLS

if TYPE_CHECKING:
    from pag_ros.lab.datasets import Dataset
    from pag_ros.lab.datasets.scores import DatasetScores
    from pag_ros.manifest import Manifest
    from pag_ros.runtime import Session
    from pag_ros.runtime.network_size import Size

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
    parser.add_argument(
        "--budgets", type=float, nargs="+", metavar="B", help="(default: 1 .7 .5 .3)"
    )
    parser.add_argument(
        "--mode",
        choices=("fixed", "adaptive"),
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
    from pag_ros.runtime import find_model, open_session
    from pag_ros.runtime.network_size import size_of

    if args.limit is not None and args.limit < 1:
        raise ParameterError(f"--limit must be at least 1, got {args.limit}")
    datasets = open_all(args.dataset, args.split)
    if args.fit_sizes:
        return _fit_sizes(datasets, find_model(args.model), args)
    reports = _report_folders(args.out, datasets)
    if args.record:
        _require_recordable(datasets, args)
    model = find_model(args.model)
    with closing(
        open_session(model, args.device, size=args.size, precision=args.precision)
    ) as session:
        if args.record and args.precision != "fp32" and session.device != "cpu":
            raise ParameterError("--record keeps the scores in a precision of --device cpu")
        found = {dataset.name: _score(dataset, session, args) for dataset in datasets}
    if args.record:
        size = size_of(session.manifest)
        _record(model, datasets[0], found[datasets[0].name], size, args)
    result = {name: _to_json(scores) for name, scores in found.items()}
    stdout_taken = write_json(result, args.json)
    for name, scores in found.items():
        if not stdout_taken:
            _print(name, scores)
        if args.out:
            report = write_report(scores.evaluation, reports[name])
            print(f"report: {report}", file=sys.stderr if stdout_taken else sys.stdout)
    return 0


def _require_recordable(datasets: Sequence[Dataset], args: argparse.Namespace) -> None:
    """Refuse --record for what a manifest does not keep.

    Raises:
        ParameterError: the scores are not of one dataset, of fixed budgets, or the network's own,
            or have no place in it.
    """
    if len(datasets) > 1 or args.mode == "adaptive":
        raise ParameterError("--record keeps the fixed budgets' scores of one --dataset")
    if chosen_mount(args) is not None:
        raise ParameterError("--record keeps the network's own scores; leave --camera-height out")
    if args.precision != "fp32" and (args.size or args.precision == "auto"):
        raise ParameterError(
            "--record keeps the scores in a precision by its name, and of the model's own size"
        )


def _record(
    model: Path, dataset: Dataset, scores: DatasetScores, size: Size, args: argparse.Namespace
) -> None:
    """Do what --record asks for; scores in a precision are kept beside those in float32."""
    from pag_ros.lab.datasets.scores import record_scores
    from pag_ros.runtime import open_session

    found = {args.precision: scores.budgets}
    if args.precision != "fp32":
        with closing(open_session(model, "cpu")) as session:
            found = {"fp32": _run(dataset, session, args).budgets, **found}
    void = record_scores(model, found, size)
    if void:
        told = f"dropped from the manifest: scores in {' and '.join(void)}, kept beside other fp32 "
        print(f"{told}scores; `--precision {void[0]} --record` measures anew", file=sys.stderr)


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
    from pag_ros.manifest import load_manifest

    if len(datasets) > 1 or args.size or chosen_mount(args) is not None:
        raise ParameterError(
            "--fit-sizes takes one --dataset, and neither --size, it chooses the sizes, nor "
            "--camera-height: it measures the network's own scale"
        )
    if args.precision != "fp32":
        raise ParameterError("--precision is of no use with --fit-sizes, which measures in fp32")
    scoring = ["--budgets", "--mode", "--protocol", "--trivial", "--out", "--pictures"]
    refuse(args, scoring, "with --fit-sizes")
    (dataset,), manifest = datasets, load_manifest(model)
    total = len(SCALES) * min(args.limit or len(dataset), len(dataset))
    with tqdm(None, dataset.name, total, unit="frame", disable=None, file=sys.stderr) as bar:
        fit = fit_sizes(dataset, model, args.device, args.limit, bar.update)
    if args.record:
        _record_exponent(fit.exponent, manifest, model)
    if not write_json(asdict(fit), args.json):
        for size, scale in fit.scales.items():
            print(f"{size}: depth {scale:.3f} of the true one (median, mean over the samples)")
        print(f"size_exponent {fit.exponent:.2f} (was {manifest.size_exponent:.2f})")
    return 0


def _record_exponent(exponent: float, manifest: Manifest, model: Path) -> None:
    """Keep the exponent, by which depth at other sizes, and so the scores there, changes."""
    from pag_ros.manifest import save_manifest

    kept = manifest.scores_at if exponent == manifest.size_exponent else {}
    save_manifest(replace(manifest, size_exponent=exponent, scores_at=kept), model)
    if kept != manifest.scores_at:
        told = (
            f"dropped from the manifest: scores at {' and '.join(manifest.scores_at)}, of another"
        )
        print(f"{told} size_exponent; `--size --record` measures anew", file=sys.stderr)


def _score(dataset: Dataset, session: Session, args: argparse.Namespace) -> DatasetScores:
    """Score a dataset, say what was left out, and write the sheets of --pictures."""
    from pag_ros.evaluation.passes import perception_at
    from pag_ros.lab.datasets.pictures import write_sheets

    scores = _run(dataset, session, args)
    for message in scores.messages:
        print(message, file=sys.stderr)
    if args.pictures:
        budget = (args.budgets or BUDGETS)[0]
        perception = perception_at(session, budget, args.mode or "fixed")
        for path in write_sheets(dataset, scores.delta1, perception, args.pictures):
            print(f"pictures: {path}", file=sys.stderr)
    return scores


def _run(dataset: Dataset, session: Session, args: argparse.Namespace) -> DatasetScores:
    from tqdm import tqdm

    from pag_ros.lab.datasets.scores import score_dataset

    total = len(dataset) if args.limit is None else min(args.limit, len(dataset))
    with tqdm(None, dataset.name, total, unit="frame", disable=None, file=sys.stderr) as bar:
        return score_dataset(
            dataset,
            session,
            args.budgets or BUDGETS,
            limit=args.limit,
            mode=args.mode or "fixed",
            trivial=args.trivial,
            protocol=DEPTH_PROTOCOLS.get(args.protocol),
            mount=chosen_mount(args),
            progress=bar.update,
        )


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
