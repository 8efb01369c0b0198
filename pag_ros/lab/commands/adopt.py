"""Make a model for the node of a published checkpoint of Depth Anything V2 or Depth Anything 3.

    pag_ros adopt CHECKPOINT --out da2 --recording my_rooms
    pag_ros adopt CHECKPOINT --out da2 --teach pictures/
    pag_ros adopt RELATIVE_CHECKPOINT --out da2 --depths nyuv2:FOLDER --teach pictures/
    pag_ros adopt CHECKPOINT --out da2 --gates da2/NAME.gates.safetensors --labels rooms:ROOMS

writes OUT/NAME.onnx and its manifest, and OUT/NAME.standard.onnx, the same network without custom
operators, which TensorRT runs. --recording does all that a robot's recording allows, and proves it
on parts of it that nothing has learned from (OUT/report.html). Step by step: metric variants are
taken as they are; the metres of relative ones are fitted to pictures with true depth (--depths).
--teach lets the gates learn from the network itself which patches it can do without, on any
pictures such as the robot sees, and keeps them in OUT/NAME.gates.safetensors; --gates takes them
from there. --labels gives the model a segmentation, taught on labelled pictures by what the network
sees already, and keeps its head in OUT/NAME.labels.safetensors; --label-head takes it from there.
Ctrl-C ends the teaching and keeps what was learned. docs/transformers.md: where
checkpoints come from, their licences, and what fitted metres and taught gates are worth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.cli.evaluate import add_topic_arguments
from pag_ros.cli.options import (
    add_json,
    add_mount,
    chosen_mount,
    image_size,
    refuse,
    write_json,
)
from pag_ros.errors import ParameterError
from pag_ros.lab.commands.progress import Bars, stopped_by_interrupt
from pag_ros.lab.commands.recordings import add_recording_arguments, chosen_import

if TYPE_CHECKING:
    from tqdm import tqdm

    from pag_ros.lab.datasets import Dataset
    from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
    from pag_ros.lab.transformers.label_teaching import LabelLesson
    from pag_ros.lab.transformers.scale_fit import ScaleFit
    from pag_ros.lab.transformers.teaching import Lesson
    from pag_ros.lab.tuning import Adopted
    from pag_ros.runtime.floor_scale import Mount

_UNTAUGHT = (
    "Its gates have learned nothing: below budget 1 they leave out patches that are like a "
    "neighbour, whether they matter or not (--teach)."
)
_MINUTES = 20.0
_OF_RECORDINGS = (
    "--interval",
    "--no-derived-normals",
    "--image-topic",
    "--camera-info-topic",
    "--depth-topic",
    "--depth-camera-info-topic",
    "--normals-topic",
    "--labels-topic",
    "--sync-tolerance",
    "--depth-scale",
    "--json",
)
"""Options that are about nothing else."""

_KEPT = "teaching ends; what was learned so far is kept"
_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed} {postfix}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="depth_anything_v2_*.pth, or model.safetensors of V2 or of Depth Anything 3",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument(
        "--recording",
        type=Path,
        nargs="+",
        metavar="BAG",
        help="of the robot's rooms: fit metres, teach the gates, judge by held-out parts",
    )
    parser.add_argument(
        "--size", type=image_size, default=(518, 392), help="network input (default: 518x392)"
    )
    metres = parser.add_mutually_exclusive_group()
    metres.add_argument(
        "--max-depth",
        type=float,
        metavar="METRES",
        help="what a metric checkpoint was trained up to: 20 indoors, 80 outdoors "
        "(default: as its name, config.json or its tensors say)",
    )
    metres.add_argument(
        "--depths",
        metavar="NAME:PATH",
        help="true depth that a relative checkpoint's metres are fitted to (docs/datasets.md)",
    )
    metres.add_argument(
        "--floor",
        metavar="NAME:PATH",
        help="pictures that show the floor, for a relative checkpoint without true depth; needs "
        "--camera-height and --camera-pitch",
    )
    add_mount(parser)
    gates = parser.add_mutually_exclusive_group()
    gates.add_argument(
        "--teach",
        metavar="PICTURES",
        help="teach the gates on a folder of pictures, or on NAME:PATH (docs/datasets.md)",
    )
    gates.add_argument("--gates", type=Path, metavar="FILE", help="taught before")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME:PATH",
        help="labelled pictures to teach a segmentation on (docs/datasets.md); all of one list of "
        "classes",
    )
    labels.add_argument("--label-head", type=Path, metavar="FILE", help="taught before")
    parser.add_argument(
        "--minutes", type=float, help="of --teach, of --labels, or of --recording (20)"
    )
    add_json(parser)
    add_recording_arguments(parser)
    add_topic_arguments(parser)


def main(args: argparse.Namespace) -> int:
    from pag_ros.lab.threads import wait_passively

    if args.recording:
        instead = ["--depths", "--floor", "--camera-height", "--camera-pitch", "--teach", "--gates"]
        refuse(args, instead, "with --recording, which fits metres and teaches gates itself")
        refuse(args, ["--labels"], "with --recording; teach them before, and give --label-head")
        wait_passively()
        return _adopt_for_recording(args)
    refuse(args, _OF_RECORDINGS, "without --recording")
    if not args.teach and not args.labels:
        refuse(args, ["--minutes"], "without --teach, --labels or --recording")
    wait_passively()
    from pag_ros.lab.transformers.adopt import adopt
    from pag_ros.lab.transformers.variants import max_depth_of

    has_metres = args.depths is not None or args.floor is not None
    max_depth_m = max_depth_of(args.checkpoint, args.max_depth, has_metres)
    steps = [_tell_idle, _give_metres(args), _give_gates(args), _give_labels(args)]

    def prepare(network: GatedDepthAnything) -> None:
        for step in steps:
            step(network)

    manifest = adopt(args.checkpoint, args.out, args.size, max_depth_m, prepare)
    print(f"written: {args.out / manifest.name}.onnx ({manifest.license})")
    if not (args.teach or args.gates):
        print(_UNTAUGHT)
    return 0


def _adopt_for_recording(args: argparse.Namespace) -> int:
    """Exit code 0 whatever the judgement: the model is of use either way."""
    from pag_ros.lab.transformers.teaching import Lesson
    from pag_ros.lab.transformers.variants import max_depth_with_depth
    from pag_ros.lab.tuning import AdoptOptions, adopt_for_recording

    options = AdoptOptions(
        checkpoint=args.checkpoint,
        bags=tuple(args.recording),
        out=args.out,
        size=args.size,
        max_depth_m=max_depth_with_depth(args.checkpoint, args.max_depth),
        lesson=Lesson(minutes=_minutes(args)),
        label_head=args.label_head,
        recording=chosen_import(args),
    )
    progress = Bars()
    with stopped_by_interrupt(progress, _KEPT) as is_stopped:
        adopted = adopt_for_recording(options, progress, is_stopped)
    progress.close()
    if not write_json({"model": str(adopted.model), **adopted.numbers}, args.json):
        print(_text(adopted))
    return 0


def _text(adopted: Adopted) -> str:
    better = "better than untaught" if adopted.judgement.better else "not shown to be better"
    lines = (f"  {line}" for line in (*adopted.judgement.reasons, *adopted.lines))
    head = f"{adopted.model} ({adopted.license}): taught gates {better}"
    return "\n".join([head, *lines, f"report: {adopted.report}"])


def _minutes(args: argparse.Namespace) -> float:
    return _MINUTES if args.minutes is None else float(args.minutes)


def _tell_idle(network: GatedDepthAnything) -> None:
    if network.idle:
        print(network.idle_line())


def _give_metres(args: argparse.Namespace) -> Callable[[GatedDepthAnything], None]:
    """What gives a relative network its metres; that there is data for it is seen to before."""
    from pag_ros.lab.transformers.disparities import open_depths
    from pag_ros.lab.transformers.floor_fit import open_floors

    mount = chosen_mount(args)
    if (mount is None) != (args.floor is None):
        raise ParameterError("--floor and --camera-height go together")
    if mount is not None:
        floors = open_floors(args.floor, mount)
        return lambda network: _give(network, _fit_floor(network, floors, args.size, mount))
    if args.depths is not None:
        depths = open_depths(args.depths)
        return lambda network: _give(network, _fit_depths(network, depths, args.size))
    return lambda network: None


def _give(network: GatedDepthAnything, metres: ScaleFit) -> None:
    network.give_metres(metres)
    print("\n".join(metres.lines()))


def _fit_depths(network: GatedDepthAnything, dataset: Dataset, size: tuple[int, int]) -> ScaleFit:
    from pag_ros.lab.transformers.disparities import fit_metres, read_disparities

    with _looking_at(dataset) as bar:
        pixels = read_disparities(network, dataset, size, bar.update)
    return fit_metres(network, pixels)


def _fit_floor(
    network: GatedDepthAnything, dataset: Dataset, size: tuple[int, int], mount: Mount
) -> ScaleFit:
    from pag_ros.lab.transformers.floor_fit import fit_floor, fit_floor_factor, read_views

    with _looking_at(dataset) as bar:
        views = read_views(network, dataset, size, bar.update)
    fit = fit_floor if network.is_inverse else fit_floor_factor
    return fit(views, mount, dataset.name)


def _looking_at(dataset: Dataset) -> tqdm:
    from tqdm import tqdm

    from pag_ros.lab.transformers.disparities import count_depths

    total = count_depths(dataset)
    return tqdm(total=total, desc="metres", unit="picture", disable=None, file=sys.stderr)


def _give_gates(args: argparse.Namespace) -> Callable[[GatedDepthAnything], None]:
    """What gives the network its gates; what the user can have got wrong is seen to before."""
    from pag_ros.evaluation.results import require_writable
    from pag_ros.lab.transformers.gates import load_gates
    from pag_ros.lab.transformers.pictures import open_pictures
    from pag_ros.lab.transformers.teaching import Lesson

    if args.gates:
        return lambda network: load_gates(network, args.gates)
    if not args.teach:
        return lambda network: None
    lesson, dataset = Lesson(minutes=_minutes(args)), open_pictures(args.teach)
    gates: Path = args.out / f"{args.checkpoint.stem}.gates.safetensors"
    require_writable(gates)
    return lambda network: _teach(network, dataset, args.size, lesson, gates)


def _teach(
    network: GatedDepthAnything,
    dataset: Dataset,
    size: tuple[int, int],
    lesson: Lesson,
    gates: Path,
) -> None:
    from tqdm import tqdm

    from pag_ros.lab.transformers.gates import save_gates
    from pag_ros.lab.transformers.pictures import count_pictures, held_back, read_pictures
    from pag_ros.lab.transformers.teaching import teach

    count = count_pictures(dataset, size)
    with tqdm(total=count, desc="reading", unit="picture", disable=None, file=sys.stderr) as bar:
        pictures, unseen = held_back(read_pictures(dataset, size, bar.update))
    _tell_left_out(len(dataset), count, count)
    with _lesson("gates") as (show, is_stopped):
        taught = teach(network, pictures, unseen, lesson, show, is_stopped)
    network.taught_on = f"taught on {dataset.name} ({len(pictures)} pictures)"
    save_gates(network, gates)
    print(f"{taught.line()} ({len(unseen)} pictures held back, {taught.steps} steps)")
    print(f"gates: {gates}")


def _give_labels(args: argparse.Namespace) -> Callable[[GatedDepthAnything], None]:
    """What gives the network labels; what the user can have got wrong is seen to before."""
    from pag_ros.evaluation.results import require_writable
    from pag_ros.lab.transformers.label_teaching import LabelLesson
    from pag_ros.lab.transformers.labelled_pictures import open_labelled
    from pag_ros.lab.transformers.labels import load_label_head

    if args.label_head:
        return lambda network: load_label_head(network, args.label_head)
    if not args.labels:
        return lambda network: None
    lesson, datasets = LabelLesson(minutes=_minutes(args)), open_labelled(args.labels)
    path: Path = args.out / f"{args.checkpoint.stem}.labels.safetensors"
    require_writable(path)
    return lambda network: _teach_labels(network, datasets, args.size, lesson, path)


def _teach_labels(
    network: GatedDepthAnything,
    datasets: Sequence[Dataset],
    size: tuple[int, int],
    lesson: LabelLesson,
    path: Path,
) -> None:
    from tqdm import tqdm

    from pag_ros.lab.transformers.label_teaching import teach_labels
    from pag_ros.lab.transformers.labelled_pictures import count_labelled, read_labelled
    from pag_ros.lab.transformers.labels import save_label_head

    count = sum(count_labelled(datasets, size))
    with tqdm(total=count, desc="reading", unit="picture", disable=None, file=sys.stderr) as bar:
        pictures, unseen = read_labelled(datasets, size, bar.update)
    _tell_left_out(sum(map(len, datasets)), count, len(pictures) + len(unseen))
    with _lesson("labels") as (show, is_stopped):
        taught = teach_labels(
            network, datasets[0].classes, pictures, unseen, lesson, show, is_stopped
        )
    names = ", ".join(dataset.name for dataset in datasets)
    assert network.label_head is not None
    network.label_head.taught_on = f"taught on {names} ({len(pictures)} pictures)"
    save_label_head(network, path)
    print(f"{taught.line()} ({len(unseen)} pictures held back, {taught.steps} steps)")
    print(f"labels: {path}")


def _tell_left_out(there: int, read: int, used: int) -> None:
    """Which pictures do not teach, if any."""
    if read < there:
        print(f"{there - read} of {there} pictures left out: memory is set aside for {read}")
    if used < read:
        print(f"{read - used} of {read} pictures left out: nothing in them is labelled")


@contextmanager
def _lesson(
    of_what: str,
) -> Iterator[tuple[Callable[[float, float], None], Callable[[], bool]]]:
    """What shows the progress of a lesson, and whether Ctrl-C ends it."""
    from tqdm import tqdm

    with (
        tqdm(
            total=100, desc=f"teaching {of_what}", disable=None, file=sys.stderr, bar_format=_BAR
        ) as bar,
        stopped_by_interrupt(Bars(), _KEPT) as is_stopped,
    ):

        def show(share: float, loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            bar.update(100.0 * share - bar.n)

        yield show, is_stopped
