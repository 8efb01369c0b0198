"""Render labelled rooms (colour, depth, normals, classes) from open furniture; show datasets.

Furniture: Debian's package sweethome3d-furniture. Textures: any folders with pictures of surfaces.
A stopped command goes on where it was when it is run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pag_ros.cli.options import image_size, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    render = actions.add_parser("render", help="render rooms")
    render.add_argument("--out", type=Path, required=True, help="folder of the dataset")
    render.add_argument("--frames", type=whole(1), default=8000, help="how many (a walk: at 10 Hz)")
    render.add_argument("--size", type=image_size, default=(320, 240), help="WIDTHxHEIGHT, pixels")
    render.add_argument("--seed", type=whole(0), default=0)
    render.add_argument(
        "--furniture", type=Path, required=True, help="folder with .sh3f furniture catalogues"
    )
    render.add_argument(
        "--textures", type=Path, nargs="*", default=[], help="folders with pictures of surfaces"
    )
    render.add_argument("--cache", type=Path, help="processed meshes (default: OUT/meshes)")
    render.add_argument("--workers", type=whole(1), default=2, help="processes")
    render.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler (tcp://HOST:8786) whose workers render instead",
    )
    render.add_argument(
        "--hold-out", nargs="*", default=["KatorLegaz"], help="furniture groups of the test split"
    )
    render.add_argument("--split", choices=["train", "test"], default="train")
    render.add_argument("--walk", action="store_true", help="one walk through one scene instead")
    sheet = actions.add_parser("sheet", help="write a picture of some samples with their truth")
    sheet.add_argument("dataset", metavar="SPEC", help="NAME:PATH or a rendered folder")
    sheet.add_argument("--split", help="as the dataset calls it (default: the one to score on)")
    sheet.add_argument("--rows", type=int, default=8, help="samples (%(default)s)")
    sheet.add_argument("--out", type=Path, required=True, help="the picture (.jpg)")


def main(args: argparse.Namespace) -> int:
    return _sheet(args) if args.action == "sheet" else _render(args)


def _sheet(args: argparse.Namespace) -> int:
    from pag_ros.errors import ParameterError
    from pag_ros.lab.datasets import open_dataset
    from pag_ros.lab.datasets.pictures import write_truth_sheet

    if args.rows < 1:
        raise ParameterError(f"--rows must be 1 or more, got {args.rows}")
    write_truth_sheet(open_dataset(args.dataset, args.split), args.rows, args.out)
    print(f"picture: {args.out}")
    return 0


def _render(args: argparse.Namespace) -> int:
    from pag_ros.errors import ParameterError
    from pag_ros.lab.scenes import Walk, render_dataset, render_walk

    for folder in args.textures:
        if not folder.is_dir():
            raise ParameterError(f"--textures {folder}: no such folder")
    common = {
        "furniture": args.furniture,
        "textures": tuple(args.textures),
        "size": args.size,
        "seed": args.seed,
        "split": args.split,
        "hold_out": tuple(args.hold_out),
        "cache": args.cache,
    }
    if args.walk:
        done = render_walk(args.out, walk=Walk(frames=args.frames), **common)
    else:
        done = render_dataset(
            args.out, args.frames, workers=args.workers, scheduler=args.scheduler, **common
        )
    print(f"{args.out} holds {done} frames")
    return 0
