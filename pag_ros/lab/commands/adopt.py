"""Make a model for the node of a published checkpoint of Depth Anything V2 (metric variants).

Writes OUT/NAME.onnx and its manifest. docs/transformers.md: where checkpoints come from, their
licences, and what gates that nobody has taught are worth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pag_ros.cli.options import image_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="depth_anything_v2_metric_*.pth, or model.safetensors",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument(
        "--size", type=image_size, default=(518, 392), help="network input (default: 518x392)"
    )
    parser.add_argument(
        "--max-depth",
        type=float,
        required=True,
        metavar="METRES",
        help="what the checkpoint was trained up to: 20 indoors, 80 outdoors",
    )


def main(args: argparse.Namespace) -> int:
    from pag_ros.lab.transformers.adopt import adopt

    manifest = adopt(args.checkpoint, args.out, args.size, args.max_depth)
    print(f"written: {args.out / manifest.name}.onnx ({manifest.license})")
    print("Its gates have learned nothing: below budget 1 they leave out any patches.")
    return 0
