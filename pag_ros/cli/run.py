"""Pictures in, depth, normals and labels out: a first look without ROS.

For each picture one with everything side by side; with --raw also NAME.npz: depth [h,w] float32
metres, normals [h,w,3] float32, labels [h,w] uint8, confidence [h,w] float32, computed [h,w] uint8
(how many blocks ran there), and boundary [h,w] float32 if the model has it.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pag_ros.budget import ControllerSettings
from pag_ros.cli.options import (
    add_device,
    add_model,
    add_mount,
    add_precision,
    add_size,
    chosen_mount,
)
from pag_ros.errors import ImageError, ParameterError, one_line
from pag_ros.image.camera_info import Intrinsics
from pag_ros.image.compressed import FILE_FORMATS, read_upright
from pag_ros.runtime import FrameResult, Perception, find_model, open_perception
from pag_ros.runtime.camera_scale import CameraScale
from pag_ros.runtime.floor_scale import Mount
from pag_ros.runtime.frame_picture import frame_picture
from pag_ros.runtime.outputs import maps_in
from pag_ros.writing import replacing

ASSUMED_FIELD_OF_VIEW_DEGREES = 60.0
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_MAX_FILE_BYTES = 1 << 28
_JPEG_QUALITY = 92


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = ", ".join(FILE_FORMATS)
    parser.add_argument("images", type=Path, help=f"a picture, or a folder of pictures ({formats})")
    parser.add_argument("--out", type=Path, required=True, help="folder for what comes out")
    add_model(parser)
    parser.add_argument(
        "--intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="of the camera in pixels; without them the depth's scale is a guess",
    )
    parser.add_argument(
        "--budget", type=float, default=1.0, help="share of the gated computation, 0 to 1 (1)"
    )
    add_mount(parser)
    add_device(parser)
    add_size(parser)
    add_precision(parser)
    parser.add_argument("--raw", action="store_true", help="also write the numbers, as .npz")


def main(args: argparse.Namespace) -> int:
    camera = None if args.intrinsics is None else _checked_intrinsics(*args.intrinsics)
    mount = chosen_mount(args)
    if mount is not None and camera is None:
        raise ParameterError("--camera-height needs --intrinsics: the floor is seen along rays")
    paths = _find_pictures(args.images)
    settings = ControllerSettings(mode="fixed", budget=args.budget)
    model, names = find_model(args.model), _output_names(paths)
    _make_folder(args.out)
    _spare_pictures(paths, [args.out / f"{name}.jpg" for name in names.values()])
    perception = open_perception(
        model, args.device, settings=settings, size=args.size, precision=args.precision
    )
    if camera is None:
        _say(
            "no --intrinsics: the depth's scale is a guess, from an assumed horizontal field of "
            f"view of {ASSUMED_FIELD_OF_VIEW_DEGREES:.0f} degrees"
        )
    failed, seconds = 0, []
    for path in tqdm(paths, unit="picture", disable=None, file=sys.stderr):
        try:
            image = _read_picture(path)
        except ImageError as error:
            _say(f"warning: {error}")
            failed += 1
            continue
        result = _process(perception, image, camera, mount)
        _write_outputs(args.out / names[path], image, result, perception, args.raw)
        seconds.append(math.fsum(result.stage_seconds))
    perception.close()
    if failed == len(paths):
        raise ImageError(f"{args.images}: none of {failed} pictures could be read")
    print(
        f"{len(seconds)} pictures in {args.out}, budget {args.budget:g}, "
        f"{1e3 * float(np.median(seconds)):.1f} ms of inference each"
    )
    return 1 if failed else 0


def _process(
    perception: Perception,
    image: NDArray[np.uint8],
    camera: Intrinsics | None,
    mount: Mount | None,
) -> FrameResult:
    """A picture's outputs; each picture's scale is found by itself."""
    rescale = None
    if camera is None:
        half_angle = math.radians(ASSUMED_FIELD_OF_VIEW_DEGREES / 2.0)
        focal_px = image.shape[1] / (2.0 * math.tan(half_angle))
    else:
        focal_px = camera.fx
        if mount is not None:
            scale = CameraScale(perception.session.manifest)
            rescale = scale.of_frame(camera, mount, time_s=0.0)
    result = perception.process(image, focal_px, rescale=rescale)
    assert result is not None, "a fixed budget skips no frame"
    return result


def _find_pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ImageError(f"{path}: no such picture or folder")
    found = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not found:
        raise ImageError(f"{path}: no pictures in it ({', '.join(sorted(_SUFFIXES))})")
    return found


def _output_names(paths: list[Path]) -> dict[Path, str]:
    """The name of each picture's outputs: its stem; where two have the same, a.png -> a_png."""
    stems = Counter(path.stem for path in paths)
    return {p: p.stem if stems[p.stem] == 1 else p.name.replace(".", "_") for p in paths}


def _read_picture(path: Path) -> NDArray[np.uint8]:
    """An image file as [h,w,3] uint8 RGB, turned upright where the file says so."""
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ImageError(f"larger than {_MAX_FILE_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata that nobody looks at
            return read_upright(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}; skipped") from error


def _write_outputs(
    stem: Path,
    image: NDArray[np.uint8],
    result: FrameResult,
    perception: Perception,
    raw: bool,
) -> None:
    picture = frame_picture(image, result, perception.session.manifest)
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    _write_whole(Path(f"{stem}.jpg"), lambda file: file.write(jpeg.tobytes()))
    if raw:
        maps = maps_in(result)
        _write_whole(Path(f"{stem}.npz"), lambda file: np.savez_compressed(file, **maps))


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that nobody ever sees half of it.

    Raises:
        ParameterError: it cannot be written; the text says why.
    """
    try:
        with replacing(path) as file:
            write(file)
    except OSError as error:
        raise ParameterError(f"--out {path}: cannot be written ({error.strerror})") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"--out {path}: cannot be made ({error.strerror})") from error


def _spare_pictures(pictures: list[Path], outputs: list[Path]) -> None:
    """Refuse to write what comes out over what went in."""
    taken = {path.resolve() for path in pictures} & {path.resolve() for path in outputs}
    if taken:
        raise ParameterError(f"--out would overwrite {min(taken)}; name another folder")


def _checked_intrinsics(fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
    if not (0.0 < fx < math.inf and 0.0 < fy < math.inf and math.isfinite(cx + cy)):
        raise ParameterError(f"--intrinsics must be positive pixels, got {fx} {fy} {cx} {cy}")
    return Intrinsics(fx, fy, cx, cy)


def _say(text: str) -> None:
    tqdm.write(f"pag_ros: {one_line(text)}", file=sys.stderr)
