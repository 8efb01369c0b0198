"""Write a trained network as ONNX with `pag` operators, with its manifest beside it.

OUT.onnx runs in `pag_ros`; with --dense, plain ONNX without custom operators for any runtime.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pag_ros.cli.options import image_size, refuse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, help="network.safetensors or checkpoint.pt of a training run"
    )
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument(
        "--size", type=image_size, required=True, help="network input, e.g. 320x240"
    )
    parser.add_argument("--dense", action="store_true", help="no custom operators, no manifest")
    parser.add_argument("--card", type=Path, help="YAML with name, classes, licence, training data")


def main(args: argparse.Namespace) -> int:
    from pag_ros.errors import ParameterError
    from pag_ros.lab.export import export_dense, export_model, read_card
    from pag_ros.lab.training.checkpoint import load_checkpoint

    if args.dense:
        refuse(args, ["--card"], "with --dense, which writes no manifest")
    elif args.card is None:
        raise ParameterError("--card is needed: the manifest says what the model was trained on")
    network = load_checkpoint(args.checkpoint)
    if args.dense:
        export_dense(network, args.size, args.out)
    else:
        export_model(network, read_card(args.card), args.size, args.out)
    print(f"written: {args.out}")
    return 0
