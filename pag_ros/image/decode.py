"""Image messages to arrays: camera pictures, and the ground truth a bag may carry.

Works on whatever has the fields of sensor_msgs Image or CompressedImage: rclpy's messages and those
of rosbags. Why not `rosbags.image`: its version 0.11 ignores `step` and takes NV12 for grey.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError
from pag_ros.image.compressed import MAX_PIXELS, read_color, read_grey
from pag_ros.image.messages import CompressedImageMessage, ImageMessage, PictureMessage

if TYPE_CHECKING:
    from typing_extensions import TypeIs

_NO_DEPTH = 65535
"""What some drivers store where they measured nothing, besides 0."""

MAX_LAST_DEPTH_M = 20.0
"""Where `_NO_DEPTH` would be farther away than this it is no distance: cameras that tell of 65 m in
millimetres there are none. In units of 1/5000 m it is 13 m, and may be one."""

MILLIMETRE = 1e-3

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")
"""image_transport_plugins `ConfigHeader`: format, then the two depth quantisation parameters."""


@dataclass(frozen=True)
class _Encoding:
    """How the pixels of one sensor_msgs encoding lie in memory, and the way to RGB.

    Attributes:
        dtype: type of one channel.
        channels: per pixel (and row; NV12's chroma rows come on top).
        to_rgb: cv2.COLOR_* code, None when the channels are RGB already.
        rows_per_line: rows of data for one image row, 3/2 for NV12.
        multiples: numbers that width and height must be multiples of, so that no pixel lacks its
            colour.
        min_side: pixels that width and height must have for the same reason.
    """

    dtype: str
    channels: int
    to_rgb: int | None
    rows_per_line: float = 1.0
    multiples: tuple[int, int] = (1, 1)
    min_side: int = 1

    def check_size(self, name: str, width: int, height: int) -> None:
        """Raise ImageError unless pictures of this size can be stored this way."""
        across, down = self.multiples
        if width % across or height % down:
            rule = "both must be even" if down > 1 else "the width must be even"
            raise ImageError(f"{name} image of {width}x{height}: {rule}")
        if min(width, height) < self.min_side:
            rule = f"both must be {self.min_side} or more"
            raise ImageError(f"{name} image of {width}x{height}: {rule}")


def _bayer(dtype: str, to_rgb: int) -> _Encoding:
    # A smaller mosaic has no pixel that all three colours surround: OpenCV paints it black.
    return _Encoding(dtype, 1, to_rgb, min_side=3)


def _packed_yuv(to_rgb: int) -> _Encoding:
    return _Encoding("u1", 2, to_rgb, multiples=(2, 1))


def _planar_yuv(to_rgb: int) -> _Encoding:
    return _Encoding("u1", 1, to_rgb, 1.5, multiples=(2, 2))


# OpenCV names a Bayer pattern by the second and third pixel of its second row: rggb is its "BG".
ENCODINGS = {
    "rgb8": _Encoding("u1", 3, None),
    "bgr8": _Encoding("u1", 3, cv2.COLOR_BGR2RGB),
    "8UC3": _Encoding("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding("u1", 4, cv2.COLOR_BGRA2RGB),
    "8UC4": _Encoding("u1", 4, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding("u1", 1, cv2.COLOR_GRAY2RGB),
    "8UC1": _Encoding("u1", 1, cv2.COLOR_GRAY2RGB),
    "rgb16": _Encoding("u2", 3, None),
    "bgr16": _Encoding("u2", 3, cv2.COLOR_BGR2RGB),
    "rgba16": _Encoding("u2", 4, cv2.COLOR_RGBA2RGB),
    "bgra16": _Encoding("u2", 4, cv2.COLOR_BGRA2RGB),
    "mono16": _Encoding("u2", 1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": _bayer("u1", cv2.COLOR_BAYER_BG2RGB),
    "bayer_bggr8": _bayer("u1", cv2.COLOR_BAYER_RG2RGB),
    "bayer_gbrg8": _bayer("u1", cv2.COLOR_BAYER_GR2RGB),
    "bayer_grbg8": _bayer("u1", cv2.COLOR_BAYER_GB2RGB),
    "bayer_rggb16": _bayer("u2", cv2.COLOR_BAYER_BG2RGB),
    "bayer_bggr16": _bayer("u2", cv2.COLOR_BAYER_RG2RGB),
    "bayer_gbrg16": _bayer("u2", cv2.COLOR_BAYER_GR2RGB),
    "bayer_grbg16": _bayer("u2", cv2.COLOR_BAYER_GB2RGB),
    "yuv422": _packed_yuv(cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _packed_yuv(cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _packed_yuv(cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": _packed_yuv(cv2.COLOR_YUV2RGB_YUYV),
    "nv12": _planar_yuv(cv2.COLOR_YUV2RGB_NV12),
    "nv21": _planar_yuv(cv2.COLOR_YUV2RGB_NV21),
}


_Array = TypeVar("_Array", bound=NDArray[Any])
_Options = ParamSpec("_Options")


def _raising_image_errors(
    read: Callable[Concatenate[PictureMessage, _Options], _Array],
) -> Callable[Concatenate[PictureMessage, _Options], _Array]:
    """Let nothing but ImageError out of a reader, whatever OpenCV and NumPy make of a message."""

    @wraps(read)
    def guarded(
        message: PictureMessage, /, *args: _Options.args, **options: _Options.kwargs
    ) -> _Array:
        try:
            return read(message, *args, **options)
        except (cv2.error, ValueError, TypeError, OverflowError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"image cannot be decoded ({reason})") from error

    return guarded


def is_compressed(message: PictureMessage) -> TypeIs[CompressedImageMessage]:
    """Whether a message is a CompressedImage (it has `format`) and not an Image."""
    return hasattr(message, "format")


@_raising_image_errors
def to_rgb(message: PictureMessage) -> NDArray[np.uint8]:
    """The camera picture in a sensor_msgs Image or CompressedImage.

    16-bit channels are scaled by 255/65535 to 8 bits, as cv_bridge does. A JPEG's orientation
    tag is not applied: the camera's intrinsics belong to the pixels as they were recorded.

    Args:
        message: anything with height, width, encoding, step, is_bigendian, data; or format, data.

    Returns:
        [h,w,3] uint8 RGB, contiguous. It may share memory with the message.

    Raises:
        ImageError: unknown encoding, or sizes that contradict each other or the data.
    """
    if is_compressed(message):
        return _compressed_to_rgb(message)
    encoding = _known_encoding(message)
    pixels = _pixels(message, encoding)
    if encoding.to_rgb is None:
        return np.ascontiguousarray(_to_8_bits(pixels))
    return _convert(_to_8_bits(pixels), encoding.to_rgb)


@_raising_image_errors
def to_depth(message: PictureMessage, metres_per_unit: float | None = None) -> NDArray[np.float32]:
    """Metric depth: Image 32FC1 (metres) or 16UC1 (millimetres).

    Either one may be compressed by image_transport's `compressedDepth` or `compressed` (PNG).
    Invalid are 0, what is not positive and not finite, and 65535 in 16 bits if that is more than
    `MAX_LAST_DEPTH_M`.

    Args:
        metres_per_unit: of what is stored; None: 0.001 in 16 bits, 1 in floats.

    Returns:
        [h,w] float32 metres along the optical axis; NaN where invalid.

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if is_compressed(message):
        return _compressed_to_depth(message, metres_per_unit)
    if message.encoding in ("16UC1", "mono16"):
        return _from_units(_pixels(message, _Encoding("u2", 1, None)), metres_per_unit)
    if message.encoding == "32FC1":
        return _valid(_pixels(message, _Encoding("f4", 1, None)), metres_per_unit)
    raise ImageError(f"depth encoding {message.encoding!r} is not 32FC1 (m) or 16UC1 (mm)")


@_raising_image_errors
def to_normals(message: PictureMessage) -> NDArray[np.float32]:
    """Surface normals: Image 32FC3, or an 8-bit colour PNG (CompressedImage) of (n + 1) / 2 * 255.

    Returns:
        [h,w,3] float32, unit length; NaN where the length is far from 1 (no normal there).

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if is_compressed(message):
        normals = _compressed_to_rgb(message).astype(np.float32)
        normals *= 2.0 / 255.0
        normals -= 1.0
    elif message.encoding == "32FC3":
        normals = _pixels(message, _Encoding("f4", 3, None)).astype(np.float32)
    else:
        raise ImageError(f"normals encoding {message.encoding!r} is not 32FC3")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[:, :, None]
        normals /= length
        np.copyto(normals, np.float32(np.nan), where=~(np.abs(length - 1.0) < 0.1))
    return normals


@_raising_image_errors
def to_labels(message: PictureMessage) -> NDArray[np.uint8]:
    """Class ids: Image mono8 / 8UC1, or a grey PNG (CompressedImage).

    Returns:
        [h,w] uint8; `NO_LABEL` (255) is unlabelled.

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if is_compressed(message):
        data = memoryview(message.data)
        if data[: len(PNG_SIGNATURE)] != PNG_SIGNATURE:
            raise ImageError("compressed labels must be PNG: other formats change the ids")
        labels = read_grey(data)
    elif message.encoding in ("mono8", "8UC1"):
        labels = _pixels(message, ENCODINGS["mono8"])
    else:
        raise ImageError(f"label encoding {message.encoding!r} is not mono8")
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ImageError(f"labels are {labels.shape} {labels.dtype}, expected one 8-bit channel")
    return np.ascontiguousarray(labels, np.uint8)


@dataclass(frozen=True)
class Layout:
    """How the rows of an Image lie in its data, known to fit it.

    Attributes:
        dtype: of a channel, in the byte order of the message.
        channels: per pixel.
        rows, width: of the data; a picture's chroma may have rows of its own.
        step: bytes from a row to the next.
        is_padded: rows are longer than their pixels, or the last one is shorter than `step`.
    """

    dtype: np.dtype[Any]
    channels: int
    rows: int
    width: int
    step: int
    is_padded: bool


def layout_of(message: ImageMessage) -> Layout:
    """Check a camera's Image without touching its pixels.

    Raises:
        ImageError: unknown encoding, or sizes that contradict each other or the data.
    """
    return _layout(message, _known_encoding(message))


def _known_encoding(message: ImageMessage) -> _Encoding:
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"image encoding {message.encoding!r} is not supported; "
            f"publish one of {', '.join(sorted(ENCODINGS))}"
        )
    return encoding


def _layout(message: ImageMessage, encoding: _Encoding) -> Layout:
    height, width, step = int(message.height), int(message.width), int(message.step)
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ImageError(f"image of {width}x{height} pixels; expected 1 to {MAX_PIXELS} pixels")
    encoding.check_size(message.encoding, width, height)
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    rows = int(height * encoding.rows_per_line)
    row_bytes = width * encoding.channels * dtype.itemsize
    size = memoryview(message.data).nbytes
    if step < row_bytes or size < step * (rows - 1) + row_bytes:
        raise ImageError(
            f"{message.encoding} image of {width}x{height} needs rows of {row_bytes} bytes, "
            f"{rows} of them; got step {step} and {size} bytes"
        )
    is_padded = step != row_bytes or size < step * rows
    return Layout(dtype, encoding.channels, rows, width, step, is_padded)


def _pixels(message: ImageMessage, encoding: _Encoding) -> NDArray[Any]:
    """The message's data as [rows,w] or [rows,w,channels], native byte order, padding left out."""
    layout = _layout(message, encoding)
    dtype, data = layout.dtype, np.frombuffer(memoryview(message.data), np.uint8)
    shape = (layout.rows, layout.width, layout.channels)
    strides = (layout.step, layout.channels * dtype.itemsize, dtype.itemsize)
    view: NDArray[Any] = np.ndarray(shape, dtype, data, strides=strides)
    if not dtype.isnative:
        view = view.astype(dtype.newbyteorder("="))
    # OpenCV reads rows of 16 bits that begin at an odd byte from where they are not.
    view = np.require(view, requirements=["ALIGNED"])
    return view[:, :, 0] if encoding.channels == 1 else view


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray(cv2.convertScaleAbs(pixels, alpha=255.0 / 65535.0), np.uint8)


def _convert(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _compressed_to_rgb(message: CompressedImageMessage) -> NDArray[np.uint8]:
    pixels = read_color(memoryview(message.data))
    # "rgb8; jpeg compressed rgb8": the writer handed RGB to an encoder that expects BGR.
    if "compressed rgb" in message.format:
        return _convert(pixels, cv2.COLOR_BGR2RGB)
    return pixels


def _compressed_to_depth(
    message: CompressedImageMessage, metres_per_unit: float | None
) -> NDArray[np.float32]:
    data = memoryview(message.data)
    scale, offset = 0.0, 0.0
    if "compressedDepth" in message.format:
        if len(data) < COMPRESSED_DEPTH_HEADER.size:
            raise ImageError(f"compressedDepth message of {len(data)} bytes is cut off")
        _, scale, offset = COMPRESSED_DEPTH_HEADER.unpack_from(data)
        data = data[COMPRESSED_DEPTH_HEADER.size :]
    stored = read_grey(data)
    if stored.dtype != np.uint16:
        raise ImageError("compressed depth has 8 bits a pixel; expected 16")
    pixels = np.asarray(stored, np.uint16)
    if message.format.startswith("32FC1"):
        return _valid(_from_inverse(pixels, scale, offset), metres_per_unit)
    return _from_units(pixels, metres_per_unit)


def _from_inverse(pixels: NDArray[np.uint16], scale: float, offset: float) -> NDArray[np.float32]:
    """compressedDepth stores 32FC1 as quantised inverse depth: depth = scale / (pixel - offset)."""
    depth = pixels.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth -= np.float32(offset)
        np.divide(np.float32(scale), depth, out=depth)
    depth[pixels == 0] = np.nan
    return depth


def _from_units(
    pixels: NDArray[np.uint16], metres_per_unit: float | None = None
) -> NDArray[np.float32]:
    unit_m = MILLIMETRE if metres_per_unit is None else metres_per_unit
    # Multiplied in double precision a few pixels at a time: whole maps of it would be large.
    depth = np.empty(pixels.shape, np.float32)
    np.multiply(pixels, unit_m, out=depth, dtype=np.float64, casting="same_kind")
    depth[pixels == 0] = np.nan
    if _NO_DEPTH * unit_m > MAX_LAST_DEPTH_M:
        depth[pixels == _NO_DEPTH] = np.nan
    return depth


def _valid(depth: NDArray[np.float32], metres_per_unit: float | None) -> NDArray[np.float32]:
    if metres_per_unit is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            depth = depth * np.float32(metres_per_unit)
    return np.where(np.isfinite(depth) & (depth > 0.0), depth, np.float32(np.nan))
