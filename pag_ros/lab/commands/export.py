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
    parser.add_argument(
        "--trained-size",
        type=image_size,
        metavar="WIDTHxHEIGHT",
        help="input at its training, if another: its depth follows by the card's size_exponent",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="write what is exported as .safetensors too, in 16 bits, to be trained further",
    )
    parser.add_argument("--dense", action="store_true", help="no custom operators, no manifest")
    parser.add_argument("--card", type=Path, help="YAML with name, classes, licence, training data")


def main(args: argparse.Namespace) -> int:
    from pag_ros.errors import ParameterError
    from pag_ros.lab.export import export_dense, export_model, metric_at, read_card
    from pag_ros.lab.training.checkpoint import load_checkpoint, rounded, save_weights

    if args.dense:
        with_manifest = ["--card", "--trained-size", "--weights"]
        refuse(args, with_manifest, "with --dense, which writes no manifest")
        export_dense(load_checkpoint(args.checkpoint), args.size, args.out)
        print(f"written: {args.out}")
        return 0
    if args.card is None:
        raise ParameterError("--card is needed: the manifest says what the model was trained on")
    card, network = read_card(args.card), load_checkpoint(args.checkpoint)
    if args.trained_size:
        network = metric_at(network, args.size, args.trained_size, card.size_exponent)
    if args.weights:
        network = rounded(network)
        save_weights(network, args.weights)
    export_model(network, card, args.size, args.out)
    print("written: " + ", ".join(str(path) for path in (args.out, args.weights) if path))
    return 0
