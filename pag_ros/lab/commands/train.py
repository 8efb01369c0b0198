"""Train a network: for every budget, or the paper's for one rate.

Resumes from OUT/checkpoint.pt where it was stopped; OUT/log.jsonl holds losses and scores,
OUT/curves.png shows them, OUT/network.safetensors is the trained network. On several GPUs:

    torchrun --nproc-per-node 4 -m pag_ros.cli train ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pag_ros.lab.threads import wait_passively


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="YAML, see config/train/")
    datasets = "NAME:PATH (docs/datasets.md) or folders of rendered rooms"
    parser.add_argument("--data", nargs="+", required=True, help=f"to train on: {datasets}")
    parser.add_argument("--validation", nargs="+", required=True, help=f"to score on: {datasets}")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")
    parser.add_argument(
        "--pretrained",
        type=Path,
        help="ImageNet weights of the encoder (.pth or .safetensors; a ResNet's: torchvision's)",
    )
    parser.add_argument(
        "--initialize",
        type=Path,
        help="trained weights to start from: network.safetensors or checkpoint.pt of another run "
        "of the same network, perhaps with other heads",
    )


def main(args: argparse.Namespace) -> int:
    wait_passively()
    from pag_ros.lab.training.config import read_config
    from pag_ros.lab.training.processes import process_group
    from pag_ros.lab.training.trainer import Trainer

    config = read_config(args.config)
    with process_group():
        trainer = Trainer(
            config,
            args.data,
            args.validation,
            args.out,
            args.pretrained,
            args.initialize,
            on_validation=_draw,
        )
        if trainer.processes.writes and trainer.new_heads:
            print(f"new heads, not in {args.initialize}: {', '.join(trainer.new_heads)}")
        trainer.run()
        if trainer.processes.writes:
            _draw(args.out / "log.jsonl")
            print(f"trained network: {args.out / 'network.safetensors'}")
    return 0


def _draw(log: Path) -> None:
    """Curves beside the log; training goes on where matplotlib is missing."""
    from pag_ros.lab.training.curves import write_curves

    try:
        write_curves(log, log.with_name("curves.png"))
    except ImportError:
        print("no curves.png: matplotlib is not installed (pip install pag_ros[eval])")
