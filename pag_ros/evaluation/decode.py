"""Image messages to arrays: camera pictures, and the ground truth a bag may carry.

Works on whatever has the fields of sensor_msgs Image or CompressedImage: rclpy's messages and those
of rosbags. Why not `rosbags.image`: its version 0.11 ignores `step` and takes NV12 for grey.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError

MAX_PIXELS = 1 << 26
"""Largest picture accepted (8192 x 8192), so that a damaged header cannot exhaust memory."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
PNG_END = b"IEND"
JPEG_END = b"\xff\xd9"
PADDING_BYTES = 1024
"""Cameras may pad their JPEGs: the end mark is looked for in so many last bytes."""

COMPRESSED_DEPTH_HEADER = struct.Struct("<iff")
"""image_transport_plugins `ConfigHeader`: format, then the two depth quantisation parameters."""


@dataclass(frozen=True)
class _Encoding:
    """How the pixels of one sensor_msgs encoding lie in memory, and the way to RGB.

    Attributes:
        dtype: of one channel.
        channels: per pixel (and row; NV12's chroma rows come on top).
        to_rgb: cv2.COLOR_* code, None when the channels are RGB already.
        rows_per_line: rows of data for one image row, 3/2 for NV12.
    """

    dtype: str
    channels: int
    to_rgb: int | None
    rows_per_line: float = 1.0


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
    "bayer_rggb8": _Encoding("u1", 1, cv2.COLOR_BAYER_BG2RGB),
    "bayer_bggr8": _Encoding("u1", 1, cv2.COLOR_BAYER_RG2RGB),
    "bayer_gbrg8": _Encoding("u1", 1, cv2.COLOR_BAYER_GR2RGB),
    "bayer_grbg8": _Encoding("u1", 1, cv2.COLOR_BAYER_GB2RGB),
    "bayer_rggb16": _Encoding("u2", 1, cv2.COLOR_BAYER_BG2RGB),
    "bayer_bggr16": _Encoding("u2", 1, cv2.COLOR_BAYER_RG2RGB),
    "bayer_gbrg16": _Encoding("u2", 1, cv2.COLOR_BAYER_GR2RGB),
    "bayer_grbg16": _Encoding("u2", 1, cv2.COLOR_BAYER_GB2RGB),
    "yuv422": _Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _Encoding("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": _Encoding("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
    "nv12": _Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV12, 1.5),
    "nv21": _Encoding("u1", 1, cv2.COLOR_YUV2RGB_NV21, 1.5),
}


def is_compressed(message: Any) -> bool:
    """Whether a message is a CompressedImage (it has `format`) and not an Image."""
    return hasattr(message, "format")


def to_rgb(message: Any) -> NDArray[np.uint8]:
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
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise ImageError(
            f"image encoding {message.encoding!r} is not supported; "
            f"publish one of {', '.join(sorted(ENCODINGS))}"
        )
    pixels = _pixels(message, encoding)
    if encoding.to_rgb is None:
        return np.ascontiguousarray(_to_8_bits(pixels))
    return _convert(_to_8_bits(pixels), encoding.to_rgb)


def to_depth(message: Any) -> NDArray[np.float32]:
    """Metric depth: Image 32FC1 (metres) or 16UC1 (millimetres, 0 = invalid), or either one
    compressed by image_transport's `compressedDepth` or `compressed` (PNG).

    Returns:
        [h,w] float32 metres along the optical axis; NaN where invalid.

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if is_compressed(message):
        return _compressed_to_depth(message)
    if message.encoding in ("16UC1", "mono16"):
        return _millimetres(_pixels(message, _Encoding("u2", 1, None)))
    if message.encoding == "32FC1":
        return _valid(_pixels(message, _Encoding("f4", 1, None)))
    raise ImageError(f"depth encoding {message.encoding!r} is not 32FC1 (m) or 16UC1 (mm)")


def to_normals(message: Any) -> NDArray[np.float32]:
    """Surface normals: Image 32FC3, or an 8-bit colour PNG (CompressedImage) of (n + 1) / 2 * 255.

    Returns:
        [h,w,3] float32, unit length; NaN where the length is far from 1 (no normal there).

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if is_compressed(message):
        normals = _compressed_to_rgb(message).astype(np.float32) * (2.0 / 255.0) - 1.0
    elif message.encoding == "32FC3":
        normals = _pixels(message, _Encoding("f4", 3, None)).astype(np.float32)
    else:
        raise ImageError(f"normals encoding {message.encoding!r} is not 32FC3")
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.where(np.abs(length - 1.0) < 0.1, normals / length, np.nan)
    return np.asarray(unit, np.float32)


def to_labels(message: Any) -> NDArray[np.uint8]:
    """Class ids: Image mono8 / 8UC1, or a grey PNG (CompressedImage).

    Returns:
        [h,w] uint8; 255 is unlabelled.

    Raises:
        ImageError: another encoding, or sizes that do not fit the data.
    """
    if is_compressed(message):
        data = memoryview(message.data)
        if data[: len(PNG_SIGNATURE)] != PNG_SIGNATURE:
            raise ImageError("compressed labels must be PNG: other formats change the ids")
        labels = decompress(data, cv2.IMREAD_UNCHANGED)
    elif message.encoding in ("mono8", "8UC1"):
        labels = _pixels(message, ENCODINGS["mono8"])
    else:
        raise ImageError(f"label encoding {message.encoding!r} is not mono8")
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ImageError(f"labels are {labels.shape} {labels.dtype}, expected one 8-bit channel")
    return np.ascontiguousarray(labels, np.uint8)


def decompress(data: memoryview, flags: int) -> NDArray[Any]:
    """A JPEG or PNG as OpenCV decodes it, `flags` being its IMREAD_*: [h,w] or [h,w,3], BGR.

    Raises:
        ImageError: it is neither, damaged, cut off, or of more than `MAX_PIXELS` pixels.
    """
    width, height = _compressed_size(data)
    # The decoders fill what is cut off with grey or zeros and say nothing.
    end = PNG_END if data[: len(PNG_SIGNATURE)] == PNG_SIGNATURE else JPEG_END
    if end not in bytes(data[-PADDING_BYTES:]):
        raise ImageError(f"compressed image of {width}x{height} is cut off at {len(data)} bytes")
    if not 0 < width * height <= MAX_PIXELS:
        raise ImageError(f"compressed image of {width}x{height}; expected 1 to {MAX_PIXELS} pixels")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"compressed image is damaged ({error.err})") from error
    if pixels is None:
        raise ImageError("compressed image is damaged")
    return np.asarray(pixels)


def _pixels(message: Any, encoding: _Encoding) -> NDArray[Any]:
    """The message's data as [rows,w] or [rows,w,channels], native byte order, padding left out."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if not 0 < height * width <= MAX_PIXELS:
        raise ImageError(f"image of {width}x{height} pixels; expected 1 to {MAX_PIXELS} pixels")
    if encoding.rows_per_line != 1.0 and (height % 2 or width % 2):
        raise ImageError(f"{message.encoding} image of {width}x{height}: both must be even")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if message.is_bigendian else "<")
    rows = int(height * encoding.rows_per_line)
    row_bytes = width * encoding.channels * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if step < row_bytes or data.size < step * (rows - 1) + row_bytes:
        raise ImageError(
            f"{message.encoding} image of {width}x{height} needs rows of {row_bytes} bytes, "
            f"{rows} of them; got step {step} and {data.size} bytes"
        )
    strides = (step, encoding.channels * dtype.itemsize, dtype.itemsize)
    view: NDArray[Any] = np.ndarray((rows, width, encoding.channels), dtype, data, strides=strides)
    if not dtype.isnative:
        view = view.astype(dtype.newbyteorder("="))
    return view[:, :, 0] if encoding.channels == 1 else view


def _to_8_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    return np.asarray((pixels.astype(np.float32) * (255.0 / 65535.0)).round(), np.uint8)


def _convert(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(pixels, code), np.uint8)


def _compressed_to_rgb(message: Any) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = decompress(memoryview(message.data), flags)
    # "rgb8; jpeg compressed rgb8": the writer handed RGB to an encoder that expects BGR.
    if "compressed rgb" in message.format:
        return pixels
    return _convert(pixels, cv2.COLOR_BGR2RGB)


def _compressed_to_depth(message: Any) -> NDArray[np.float32]:
    data = memoryview(message.data)
    scale, offset = 0.0, 0.0
    if "compressedDepth" in message.format:
        if len(data) < COMPRESSED_DEPTH_HEADER.size:
            raise ImageError(f"compressedDepth message of {len(data)} bytes is cut off")
        _, scale, offset = COMPRESSED_DEPTH_HEADER.unpack_from(data)
        data = data[COMPRESSED_DEPTH_HEADER.size :]
    pixels = decompress(data, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise ImageError(f"compressed depth is {pixels.shape} {pixels.dtype}, expected 16-bit grey")
    if message.format.startswith("32FC1"):
        return _from_inverse(pixels, scale, offset)
    return _millimetres(pixels)


def _from_inverse(pixels: NDArray[np.uint16], scale: float, offset: float) -> NDArray[np.float32]:
    """compressedDepth stores 32FC1 as quantised inverse depth: depth = scale / (pixel - offset)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.float32(scale) / (pixels.astype(np.float32) - np.float32(offset))
    return _valid(np.where(pixels > 0, depth, np.float32(np.nan)))


def _millimetres(pixels: NDArray[np.uint16]) -> NDArray[np.float32]:
    return np.asarray(np.where(pixels > 0, pixels * 1e-3, np.nan), np.float32)


def _valid(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(depth) & (depth > 0.0), depth, np.float32(np.nan))


def _compressed_size(data: memoryview) -> tuple[int, int]:
    """(width, height) as a PNG's or JPEG's header states it, before anything is decoded."""
    if data[: len(PNG_SIGNATURE)] == PNG_SIGNATURE and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return int(width), int(height)
    if data[: len(JPEG_START)] != JPEG_START:
        raise ImageError("compressed image is neither JPEG nor PNG")
    position = len(JPEG_START)
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        # Start-of-frame markers C0..CF hold the size; C4, C8 and CC are other things.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return int(width), int(height)
        position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    raise ImageError("compressed image is damaged: a JPEG without a size")
