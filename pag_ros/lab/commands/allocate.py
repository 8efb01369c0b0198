"""Find how a budget is best spread over the gated blocks, and put that into a model's manifest.

Searches on --validation and writes --out; with --model, the model's budgets become the table's.
A stored table goes into a model with --table. Search on other frames than those that scores are
reported for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.cli.options import image_size

if TYPE_CHECKING:
    from pag_ros.lab.training.allocation import Allocation

_BUDGETS = (0.9, 0.7, 0.5, 0.3, 0.15)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--init", type=Path, help="checkpoint.pt or network.safetensors")
    parser.add_argument("--validation", type=Path, nargs="+", help="rendered datasets to search on")
    parser.add_argument("--out", type=Path, help="the table to write (.json)")
    parser.add_argument("--table", type=Path, help="use this table instead of searching one")
    parser.add_argument("--model", help="name, or path of .onnx, whose manifest takes the table")
    parser.add_argument("--budgets", type=float, nargs="+", default=_BUDGETS, metavar="B")
    parser.add_argument("--size", type=image_size, default=(160, 120), help="WIDTHxHEIGHT, pixels")
    parser.add_argument("--frames", type=int, default=100, help="to search on (100)")
    parser.add_argument(
        "--step", type=float, default=0.05, help="of the search, share of the compute (0.05)"
    )


def main(args: argparse.Namespace) -> int:
    from pag_ros.errors import ParameterError
    from pag_ros.lab.training.allocation import load_allocation, save_allocation

    if args.table is None and (args.init is None or args.validation is None or args.out is None):
        raise ParameterError("give --init, --validation and --out to search, or a --table")
    if not 0.005 <= args.step <= 1.0 or args.frames < 1:
        raise ParameterError("--step must lie in 0.005..1 and --frames be 1 or more")
    allocation = _search(args) if args.table is None else load_allocation(args.table)
    if args.out is not None:
        save_allocation(allocation, args.out)
        print(f"written: {args.out}")
    if args.model is not None:
        print(f"budgets changed: {_store(allocation, args.model)}")
    for budget, row in allocation.rows.items():
        densities = " ".join(f"{density:.2f}" for density in row)
        line = f"budget {budget:.2f}: {densities}"
        if budget in allocation.loss:
            line += f"  loss {allocation.loss[budget]:.4f}"
        if budget in allocation.uniform_loss:
            line += f", uniform {allocation.uniform_loss[budget]:.4f}"
        print(line)
    return 0


def _search(args: argparse.Namespace) -> Allocation:
    from tqdm import tqdm

    from pag_ros.lab.baselines import network_costs
    from pag_ros.lab.training.allocation import search, validation_loss
    from pag_ros.lab.training.checkpoint import load_checkpoint

    network = load_checkpoint(args.init)
    loss = validation_loss(network, args.validation, args.size, args.frames)
    costs = network_costs(network, args.size).blocks
    with tqdm(desc="searching", unit="table row", disable=None, file=sys.stderr) as bar:
        return search(loss, costs, args.budgets, args.step, progress=bar.update)


def _store(allocation: Allocation, model: str) -> Path:
    from pag_ros.lab.training.allocation import with_allocation
    from pag_ros.manifest import load_manifest, manifest_path, save_manifest
    from pag_ros.runtime import find_model

    path = find_model(model)
    save_manifest(with_allocation(load_manifest(path), allocation), path)
    return manifest_path(path)
