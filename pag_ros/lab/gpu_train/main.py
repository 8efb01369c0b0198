"""Train on a machine that is there for a few minutes; docs/training.md says how.

    tools/gpu_train pack ...      here: what to carry, in one folder
    tools/gpu_train render ...    there: rooms, until stopped
    tools/gpu_train train ...     there: by the clock, on all rooms that are complete by then

The averaged network is on the disk after every validation, so that an early end loses little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from pag_ros.errors import PagError, one_line
from pag_ros.lab.gpu_train import packing
from pag_ros.lab.model import PagNetwork
from pag_ros.lab.scenes.generate import render_dataset
from pag_ros.lab.training.checkpoint import rounded, save_weights
from pag_ros.lab.training.config import read_config
from pag_ros.lab.training.trainer import Trainer
from pag_ros.writing import write_bytes

HOLD_OUT = ("KatorLegaz",)
_MANY = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except PagError as error:
        print(f"gpu_train: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    return 0


def _pack(args: argparse.Namespace) -> None:
    cache = args.cache or args.out / "cache"
    material = args.out / "material"
    size = packing.pack(args.furniture, tuple(args.textures), cache, material, HOLD_OUT)
    print(f"{material}: {size / 1e6:.1f} MB to render from")
    if args.pictures:
        pictures = args.out / packing.PICTURES
        size = packing.pack_pictures(args.pictures, pictures)
        print(f"{pictures}: {size / 1e6:.1f} MB of labelled pictures")


def _render(args: argparse.Namespace) -> None:
    cache = args.out / "meshes"
    count = packing.unpack(args.material, cache, args.workers)
    print(f"{count} models; rendering until stopped", flush=True)
    render_dataset(
        args.out,
        args.frames,
        args.material / packing.FURNITURE,
        (args.material / packing.TEXTURES,),
        seed=args.seed,
        hold_out=HOLD_OUT,
        workers=args.workers,
        cache=cache,
    )


def _train(args: argparse.Namespace) -> None:
    config = replace(read_config(args.config), minutes=args.minutes)
    args.out.mkdir(parents=True, exist_ok=True)

    def keep(log: Path) -> None:
        average = rounded(cast(PagNetwork, trainer.average.module))
        save_weights(average, args.out / "average.safetensors")
        write_bytes(args.out / "log.jsonl", log.read_bytes())
        print(log.read_text(encoding="utf-8").splitlines()[-1], flush=True)

    trainer = Trainer(
        config, args.data, args.validation, args.run_folder, None, args.initialize, keep
    )
    trainer.run()
    for name in ("network.safetensors", "log.jsonl"):
        write_bytes(args.out / name, (args.run_folder / name).read_bytes())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_train", description="Train on a borrowed GPU.")
    commands = parser.add_subparsers(required=True)
    pack = commands.add_parser("pack", help="make what to carry small")
    pack.add_argument("--furniture", type=Path, required=True, help="folder of .sh3f catalogues")
    pack.add_argument("--textures", type=Path, nargs="*", default=[], help="pictures of surfaces")
    pack.add_argument("--pictures", type=Path, help="dataset of `pag_ros data label`")
    pack.add_argument("--cache", type=Path, help="processed meshes (default: OUT/cache)")
    pack.add_argument("--out", type=Path, required=True)
    pack.set_defaults(run=_pack)
    render = commands.add_parser("render", help="render rooms until stopped")
    render.add_argument("--material", type=Path, required=True, help="OUT/material of pack")
    render.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    render.add_argument("--frames", type=int, default=_MANY, help="end after so many")
    render.add_argument("--workers", type=int, required=True, help="processes")
    render.add_argument("--seed", type=int, required=True, help="another one gives other rooms")
    render.set_defaults(run=_render)
    train = commands.add_parser("train", help="train by the clock")
    train.add_argument("--config", type=Path, required=True)
    train.add_argument("--data", nargs="+", required=True, help="as of `pag_ros train`")
    train.add_argument("--validation", nargs="+", required=True)
    train.add_argument("--initialize", type=Path, required=True, help="weights to start from")
    train.add_argument("--minutes", type=float, required=True)
    train.add_argument("--run-folder", type=Path, required=True, help="for checkpoints")
    train.add_argument("--out", type=Path, required=True, help="for what is to come back")
    train.set_defaults(run=_train)
    return parser
