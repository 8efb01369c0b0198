"""Training data: frames of recordings, pictures labelled by teachers, rendered rooms; sheets.

pag_ros data from-bag BAG... --out DIR    DIR/train and DIR/held_out, as `pag_ros tune` uses them
pag_ros data render --out DIR ...         furniture: Debian's package sweethome3d-furniture;
                                          textures: any folders with pictures of surfaces; a
                                          stopped command goes on when it is run again
pag_ros data label DATASET --out DIR ...  pictures with labels, or depth, of a network that you have
pag_ros data sheet DATASET --out FILE     a picture of some samples with their truth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pag_ros.cli.evaluate import add_topic_arguments
from pag_ros.cli.options import add_model, image_size, refuse, whole
from pag_ros.lab.commands.options import add_teacher
from pag_ros.lab.commands.recordings import add_recording_arguments, chosen_import

_WORKERS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    recorded = actions.add_parser("from-bag", help="frames of recordings, split by time")
    recorded.add_argument("bags", type=Path, nargs="+", metavar="BAG", help="folder or file")
    recorded.add_argument("--out", type=Path, required=True, help="folder of both datasets")
    add_model(recorded)
    add_recording_arguments(recorded)
    add_topic_arguments(recorded)
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
    render.add_argument("--workers", type=whole(1), help=f"processes ({_WORKERS})")
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
    label = actions.add_parser("label", help="have teachers label pictures that have no truth")
    label.add_argument("dataset", metavar="SPEC", help="NAME:PATH; pictures:PATH for any folder")
    label.add_argument("--split", help="as the dataset calls it (default: the one to score on)")
    label.add_argument("--out", type=Path, required=True, help="folder of the labelled dataset")
    add_teacher(label, required=True)
    add_model(label)
    sheet = actions.add_parser("sheet", help="write a picture of some samples with their truth")
    sheet.add_argument("dataset", metavar="SPEC", help="NAME:PATH or a rendered folder")
    sheet.add_argument("--split", help="as the dataset calls it (default: the one to score on)")
    sheet.add_argument("--rows", type=int, default=8, help="samples (%(default)s)")
    sheet.add_argument("--out", type=Path, required=True, help="the picture (.jpg or .png)")


def main(args: argparse.Namespace) -> int:
    actions = {"from-bag": _import, "label": _label, "render": _render, "sheet": _sheet}
    return actions[args.action](args)


def _import(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pag_ros.lab.recordings import import_recordings
    from pag_ros.manifest import load_manifest
    from pag_ros.runtime import find_model

    classes = [each.name for each in load_manifest(find_model(args.model)).classes]
    with tqdm(unit="image", disable=None, file=sys.stderr) as bar:
        account = import_recordings(args.bags, args.out, classes, chosen_import(args), bar.update)
    print("\n".join(account.lines()))
    print(f"written: {args.out / 'train'} and {args.out / 'held_out'}")
    return 0


def _label(args: argparse.Namespace) -> int:
    from contextlib import closing

    from tqdm import tqdm

    from pag_ros.lab.datasets import open_dataset
    from pag_ros.lab.teachers import label_dataset, parse_teacher
    from pag_ros.runtime import find_model, open_session

    teachers = [parse_teacher(text) for text in args.teacher]
    dataset = open_dataset(args.dataset, args.split)
    with (
        closing(open_session(find_model(args.model), "cpu")) as session,
        tqdm(total=len(dataset), unit="picture", disable=None, file=sys.stderr) as bar,
    ):
        counted = label_dataset(dataset, args.out, teachers, session, bar.update)
    for what, frames in counted.most_common():
        print(f"{what}: {frames}")
    print(f"{args.out} holds {len(dataset)} pictures")
    return 0


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

    if args.walk:
        refuse(args, ["--workers", "--scheduler"], "with --walk, which one process renders")
    if args.scheduler:
        refuse(args, ["--workers"], "with --scheduler, whose workers render")
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
        print(f"{args.out} holds {done} frames")
        return 0
    account = render_dataset(
        args.out, args.frames, workers=args.workers or _WORKERS, scheduler=args.scheduler, **common
    )
    print(f"{args.out} holds {account.total} frames; {account.line()}")
    return 0
