"""Make a model ready to be computed in 8 bits on the CPU (`precision: int8`).

Measures the ranges of its maps on pictures like those that it will see, but not those that it is
scored on, and writes them beside the model, as NAME.int8.json. Needs NNCF; a robot needs the file
alone. What it costs is measured by `pag_ros score --precision int8 --record`; precision auto takes
int8 where that is at most 1 % of each task.
"""

from __future__ import annotations

import argparse
import sys

from pag_ros.cli.options import add_model_argument, whole

PICTURES = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="SPEC",
        help="NAME:PATH (docs/datasets.md; pictures:PATH for any pictures), or rendered folders",
    )
    parser.add_argument(
        "--pictures",
        type=whole(1),
        default=PICTURES,
        metavar="N",
        help="how many, alike from each SPEC (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.lab.datasets import TRAINING, open_dataset
    from pag_ros.lab.quantize import quantize, shares
    from pag_ros.runtime import find_model
    from pag_ros.runtime.openvino.quantization import quantization_path, save_quantization

    model = find_model(args.model)
    datasets = [open_dataset(spec, TRAINING) for spec in args.data]
    total = sum(shares(datasets, args.pictures))
    with tqdm(None, "reading", total, unit="picture", disable=None, file=sys.stderr) as bar:
        quantization = quantize(model, datasets, args.pictures, bar.update)
    save_quantization(quantization, model)
    rounded = f"{len(quantization.roundings)} inputs rounded"
    if quantization.gated:
        rounded += f" and those of {len(quantization.gated)} gated convolutions"
    print(f"written: {quantization_path(model)} ({rounded}, by {total} pictures)")
    return 0
