"""Our kernels, or whole networks, beside the dense runtimes that are installed."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from pag_ros.cli.options import add_json, add_plot, whole, write_json
from pag_ros.errors import BackendError, ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="what has TEXT in its name")
    parser.add_argument("--densities", type=_density, nargs="+", metavar="D", help="0 to 1")
    parser.add_argument("--threads", type=whole(1), default=2, metavar="N", help="(default: 2)")
    parser.add_argument("--rounds", type=whole(1), default=9, metavar="N", help="(default: 9)")
    add_json(parser)
    add_plot(parser)


def main(args: argparse.Namespace) -> int:
    from pag_ros.kernels import available_cpus
    from pag_ros.lab.bench import dense, machine, plot, text
    from pag_ros.lab.bench.timing import use_cpus

    if args.threads > available_cpus():
        raise ParameterError(
            f"--threads {args.threads}: this process may use {available_cpus()} CPUs"
        )
    if not dense.installed() or importlib.util.find_spec("onnx") is None:
        raise BackendError(
            f"a benchmark needs onnx and one of {', '.join(dense.RUNTIMES)}; "
            "pip install 'pag_ros[cpu,bench]'"
        )
    use_cpus(args.threads)
    limits = machine.describe(args.threads)
    rows = _operations(args) if args.kind == "ops" else _networks(args)
    versions = machine.versions()
    result = {"machine": limits, "versions": versions, "rows": rows}
    if args.plot:
        (plot.plot_operations if args.kind == "ops" else plot.plot_networks)(rows, args.plot)
    if write_json(result, args.json):
        return 0
    facts = {**limits, **versions}
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print((text.operations_table if args.kind == "ops" else text.networks_table)(rows))
    return 0


def _operations(args: argparse.Namespace) -> list[dict[str, Any]]:
    from pag_ros.lab.bench import ops
    from pag_ros.lab.bench.masks import MASKS
    from pag_ros.lab.bench.text import operation_name

    cases = {operation_name(vars(case)): case for case in ops.CASES}
    chosen = _chosen(cases, args.only)
    densities = tuple(args.densities or ops.DENSITIES)

    def measure(name: str, progress: Callable[[], object]) -> list[dict[str, Any]]:
        return ops.measure(cases[name], densities, MASKS, args.threads, args.rounds, progress)

    return _with_progress(chosen, args.rounds, measure)


def _networks(args: argparse.Namespace) -> list[dict[str, Any]]:
    from pag_ros.lab.bench import network

    chosen = _chosen(network.MODELS, args.only)
    densities = tuple(args.densities or network.DENSITIES)

    def measure(name: str, progress: Callable[[], object]) -> list[dict[str, Any]]:
        return network.measure(name, densities, args.threads, args.rounds, progress)

    return _with_progress(chosen, args.rounds, measure)


def _chosen(names: Any, wanted: list[str] | None) -> list[str]:
    chosen = [name for name in names if not wanted or any(text in name for text in wanted)]
    if not chosen:
        raise ParameterError(f"--only {' '.join(wanted or [])}: there are {'; '.join(names)}")
    return chosen


def _with_progress(
    names: list[str],
    rounds: int,
    measure: Callable[[str, Callable[[], object]], list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    from tqdm import tqdm

    rows = []
    with tqdm(total=rounds * len(names), unit="round", disable=None, file=sys.stderr) as bar:
        for name in names:
            bar.set_description(name)
            rows += measure(name, bar.update)
    return rows


def _density(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value
