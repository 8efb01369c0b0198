"""Train a network for every budget on rendered rooms.

Resumes from OUT/checkpoint.pt where it was stopped; OUT/log.jsonl holds losses and scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pag_ros.errors import ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="YAML, see config/train/")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="rendered datasets to train on"
    )
    parser.add_argument(
        "--validation", type=Path, nargs="+", required=True, help="rendered datasets to score on"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--pretrained", type=Path, help="ImageNet weights of the encoder (.pth)")


def main(args: argparse.Namespace) -> int:
    import yaml

    from pag_ros.training.trainer import TrainConfig, Trainer

    try:
        values = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"{args.config}: not a readable YAML file ({error})") from error
    if not isinstance(values, dict):
        raise ParameterError(f"{args.config}: expected a mapping; see config/train/ for examples")
    config = TrainConfig.from_mapping(values)
    Trainer(config, args.data, args.validation, args.out, args.pretrained).run()
    print(f"trained network: {args.out / 'checkpoint.pt'}")
    return 0
