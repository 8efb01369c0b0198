"""Command-line options that several commands share, so that they are alike everywhere.

A command that is about one model takes it as its argument (`pag_ros calibrate MODEL`); one that
uses a model for something else has `--model`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from pag_ros.errors import ParameterError
from pag_ros.evaluation.results import require_writable
from pag_ros.runtime import DEVICES, PRECISIONS
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.models import DEFAULT_MODEL
from pag_ros.runtime.network_size import Size, parse_size
from pag_ros.writing import write_text

STDOUT = "-"
"""What `--json` takes for standard output."""

_PLOT_SUFFIXES = (".png", ".svg", ".pdf")
_MODEL_HELP = "name of a shipped model, or path of .onnx (default: %(default)s)"


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Take the model that the command is about."""
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help=_MODEL_HELP)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Take the model that the command uses."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help=_MODEL_HELP)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Take where the network runs."""
    parser.add_argument(
        "--device", choices=DEVICES, default=DEVICES[0], help="(default: %(default)s)"
    )


def add_precision(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """Take what the CPU computes with."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=default,
        help="of the CPU; auto: the fastest that costs at most 1 %% of any task "
        "(default: %(default)s)",
    )


def add_size(parser: argparse.ArgumentParser) -> None:
    """Take the input size that the network runs at."""
    parser.add_argument(
        "--size",
        type=image_size,
        metavar="WIDTHxHEIGHT",
        help="input size of the network, e.g. 480x360 (default: the model's own)",
    )


def add_mount(parser: argparse.ArgumentParser) -> None:
    """Take where the camera is above the floor, see `chosen_mount`."""
    parser.add_argument(
        "--camera-height",
        type=float,
        metavar="METRES",
        help="of the camera above the floor: scale the depth so that the floor lies there",
    )
    parser.add_argument(
        "--camera-pitch",
        type=float,
        metavar="DEGREES",
        help="that it looks below the horizon (default: found by the floor, far less exact)",
    )


def chosen_mount(args: argparse.Namespace) -> Mount | None:
    """What the options of `add_mount` tell of the camera; None if they were not given.

    Raises:
        ParameterError: one is out of range, or there is a pitch without a height.
    """
    if args.camera_height is not None:
        return Mount.pitched(args.camera_height, args.camera_pitch)
    refuse(args, ["--camera-pitch"], "without --camera-height")
    return None


def refuse(args: argparse.Namespace, options: Iterable[str], why: str) -> None:
    """Refuse options that would change nothing.

    Args:
        options: as on the command line, "--camera-pitch"; their default is None, False or empty.
        why: "without --camera-height".

    Raises:
        ParameterError: one of them was given.
    """
    for option in options:
        value = getattr(args, option.removeprefix("--").replace("-", "_"))
        if value is not None and value is not False and value != []:
            raise ParameterError(f"{option} is of no use {why}")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Take where `write_json` writes the result; a file is tried before the work."""
    parser.add_argument(
        "--json", type=_json_file, metavar="FILE", help="write the result here; - is stdout"
    )


def add_plot(parser: argparse.ArgumentParser, text: str = "draw it") -> None:
    """Take a file for a drawing; its ending is asked before the work."""
    parser.add_argument(
        "--plot", type=plot_file, metavar="FILE", help=f"{text} (.png, .svg or .pdf)"
    )


def image_size(text: str) -> Size:
    """ "320x240" -> (320, 240), width and height in pixels."""
    try:
        return parse_size(text)
    except ParameterError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def plot_file(text: str) -> Path:
    """A file that a plot can be written to."""
    path = Path(text)
    if path.suffix not in _PLOT_SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(_PLOT_SUFFIXES)}")
    return path


def write_json(result: object, file: str | None) -> bool:
    """Do what `--json FILE` asks for.

    Args:
        result: of the command; no NaN, which JSON does not have.
        file: "-" for standard output, None for nothing.

    Returns:
        Whether standard output is taken, so that nothing else may be printed there.

    Raises:
        OSError: the file cannot be written.
    """
    if file == STDOUT:
        print(json.dumps(result, indent=2))
        return True
    if file:
        write_text(Path(file), json.dumps(result, indent=2) + "\n", make_folder=True)
    return False


def whole(least: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number of `least` or more."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return value

    return parse


def _json_file(text: str) -> str:
    if text != STDOUT:
        require_writable(Path(text))
    return text
