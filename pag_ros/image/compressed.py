"""Compressed pictures of anybody's making: the size is known before pixels get any memory.

A file of some kilobytes may claim a size that no machine has the memory for, so nothing is done
with a picture before Pillow has read its header and `open_picture` has checked its size.
"""

from __future__ import annotations

import io
import re

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from pag_ros.errors import ImageError

MAX_PIXELS = 25_000_000
"""Largest picture accepted. Cameras of 24 megapixels fit; depth and labels of such a frame take the
node .7 GB, and everything that it can publish 1.6 GB."""

STREAM_FORMATS = ("JPEG", "PNG")
"""Formats in messages and datasets."""

FILE_FORMATS = ("JPEG", "PNG", "BMP", "PNM", "TIFF", "WebP")
"""Formats that `read_upright` takes."""

_READERS: dict[str, tuple[re.Pattern[bytes], type[ImageFile]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    "BMP": (re.compile(rb"BM"), BmpImageFile),
    "PNM": (re.compile(rb"P[1-6]\s"), PpmImageFile),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*"), TiffImageFile),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), WebPImageFile),
    "GIF": (re.compile(rb"GIF8[79]a"), GifImageFile),
}
_JPEG_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"
_PADDING_BYTES = 1024
"""Cameras may pad their JPEGs: the end mark is looked for in so many last bytes."""

_TIFF_TILE_WIDTH = 322
_8_BIT_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_16_BIT_MODES = {"I;16", "I;16B", "I;16L", "I;16N", "I"}
"""Pillow's names for grey of 16 bits. Where it says I there is room for 32."""


def read_color(data: bytes | memoryview) -> NDArray[np.uint8]:
    """A JPEG or PNG as it was recorded: an orientation tag is not applied, transparency dropped.

    Returns:
        [h,w,3] uint8 RGB.

    Raises:
        ImageError: it is neither, damaged, cut off, or of more than `MAX_PIXELS` pixels.
    """
    data = bytes(data)
    picture = open_picture(data, STREAM_FORMATS)
    _check_end(picture, data)
    if isinstance(picture, JpegImageFile):
        return _decode_jpeg(data, picture)
    _check_kind(picture)
    return _to_rgb(load_picture(picture))


def is_color_jpeg(data: bytes | memoryview) -> bool:
    """Whether a stream is a JPEG in colour; no pixel of it is read.

    Raises:
        ImageError: as `read_color` does, as far as the header and the end tell.
    """
    data = bytes(data)
    picture = open_picture(data, STREAM_FORMATS)
    _check_end(picture, data)
    return isinstance(picture, JpegImageFile) and picture.mode == "RGB"


def read_grey(data: bytes | memoryview) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A grey JPEG or PNG as it was recorded.

    Returns:
        [h,w], uint16 if it is stored with 16 bits, otherwise uint8.

    Raises:
        ImageError: as `read_color` does, or the picture is not grey.
    """
    data = bytes(data)
    picture = open_picture(data, STREAM_FORMATS)
    _check_end(picture, data)
    if picture.mode in _16_BIT_MODES:
        return _to_uint16(load_picture(picture))
    if picture.mode not in ("1", "L"):
        raise ImageError(f"{_described(picture)} has pixels of kind {picture.mode}; expected grey")
    return np.asarray(load_picture(picture).convert("L"))


def read_upright(data: bytes) -> NDArray[np.uint8]:
    """The first picture of a file in one of `FILE_FORMATS`, turned as its orientation tag says.

    Transparency is dropped, and grey of 16 bits scaled by 255/65535.

    Returns:
        [h,w,3] uint8 RGB.

    Raises:
        ImageError: another format, damaged, cut off, of more than `MAX_PIXELS` pixels, or with
            pixels of a kind that has no RGB, such as floating-point numbers.
    """
    picture = open_picture(data, FILE_FORMATS)
    _check_kind(picture)
    return _to_rgb(_turn_upright(load_picture(picture)))


def open_picture(data: bytes, formats: tuple[str, ...], max_pixels: int | None = None) -> ImageFile:
    """A picture of which the header has been read, and no pixel.

    Args:
        data: the whole file.
        formats: that are accepted: some of JPEG, PNG, BMP, PNM, TIFF, WebP and GIF.
        max_pixels: that it may have; None stands for `MAX_PIXELS`.

    Raises:
        ImageError: another format, a damaged header, or too many pixels.
    """
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    readers = [_READERS[name] for name in formats]
    reader = next((reader for signature, reader in readers if signature.match(data)), None)
    if reader is None:
        raise ImageError(f"compressed image is none of {', '.join(formats)}")
    try:
        # Image.open is avoided: from 89 million pixels on it has its own limit and warnings.
        picture = reader(io.BytesIO(data))
    except Exception as error:  # Pillow has no common base for what damage makes it raise
        raise ImageError(f"compressed image is damaged ({_first_line(error)})") from error
    width, height = picture.size
    if not 0 < width * height <= limit:
        raise ImageError(f"compressed image of {width}x{height}; expected 1 to {limit} pixels")
    if isinstance(picture, TiffImageFile) and _TIFF_TILE_WIDTH in picture.tag_v2:
        # A tile may claim to be larger than its picture, and is unpacked as a whole.
        raise ImageError("compressed image is a TIFF in tiles; expected one in strips")
    return picture


def load_picture(picture: ImageFile) -> Image.Image:
    """Decode the pixels of an opened picture.

    Raises:
        ImageError: it is damaged or cut off.
    """
    try:
        picture.load()
    except Exception as error:  # There is no common base here either, see `open_picture`.
        raise ImageError(f"{_described(picture)} is damaged ({_first_line(error)})") from error
    return picture


def _decode_jpeg(data: bytes, picture: JpegImageFile) -> NDArray[np.uint8]:
    """The pixels by OpenCV, which takes two thirds of Pillow's time for them.

    OpenCV reads the header anew, but by libjpeg, which refuses whatever it could read in another
    way than Pillow, such as a second size.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{_described(picture)} is damaged ({error.err})") from error
    if pixels is None or pixels.shape[1::-1] != picture.size:
        raise ImageError(f"{_described(picture)} is damaged")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _check_end(picture: ImageFile, data: bytes) -> None:
    # The decoders fill what is cut off with grey or zeros and say nothing.
    end = _JPEG_END if isinstance(picture, JpegImageFile) else _PNG_END
    if end not in data[-_PADDING_BYTES:]:
        raise ImageError(f"{_described(picture)} is cut off at {len(data)} bytes")


def _check_kind(picture: ImageFile) -> None:
    if picture.mode not in _8_BIT_MODES | _16_BIT_MODES:
        kind = f"pixels of kind {picture.mode}"
        raise ImageError(f"{_described(picture)} has {kind}; expected 8 or 16 bits a channel")


def _turn_upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # A picture with damaged metadata can still be read.
        return picture


def _to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode in _16_BIT_MODES:
        grey = cv2.convertScaleAbs(_to_uint16(picture), alpha=255.0 / 65535.0)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    # `convert` would copy what is RGB already.
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _to_uint16(picture: Image.Image) -> NDArray[np.uint16]:
    grey = np.asarray(picture)
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ImageError(f"grey values of {grey.min()} to {grey.max()}; expected 0 to 65535")
    return grey.astype(np.uint16)


def _described(picture: ImageFile) -> str:
    width, height = picture.size
    return f"compressed image of {width}x{height}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
