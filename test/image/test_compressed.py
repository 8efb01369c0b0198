"""A compressed picture costs no memory before its size is known, whatever its bytes are."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pag_ros.errors import ImageError
from pag_ros.image import compressed
from pag_ros.image.compressed import (
    FILE_FORMATS,
    open_picture,
    read_color,
    read_grey,
    read_upright,
)

PICTURE = np.arange(24 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(24, 40, 3)
LARGE = (30_000, 20_000)
READ_ALL = """
import sys
from pathlib import Path
from types import SimpleNamespace
from pag_ros.cli.run import _read_picture
from pag_ros.errors import PagError
from pag_ros.lab.datasets.files import read_color, read_gray8, read_gray16
from pag_ros.image.decode import to_depth, to_labels, to_normals, to_rgb

def peak_mib():
    # Not getrusage: its peak begins with that of the process which has started this one.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(peak.split()[1]) >> 10

for name in sys.argv[1:]:
    path = Path(name)
    message = SimpleNamespace(format="x", data=path.read_bytes())
    depth = SimpleNamespace(format="compressedDepth", data=bytes(12) + path.read_bytes())
    calls = [(read, message) for read in (to_rgb, to_depth, to_labels, to_normals)]
    calls += [(to_depth, depth)]
    calls += [(read, path) for read in (_read_picture, read_color, read_gray8, read_gray16)]
    for read, argument in calls:
        before = peak_mib()
        try:
            read(argument)
        except PagError as error:
            if "\\n" in str(error):
                print(f"{path.name}, {read.__name__}: more than a line: {error}")
        if peak_mib() - before > 100:
            print(f"{path.name}, {read.__name__}: {peak_mib() - before} MiB")
"""


def test_no_reader_takes_memory_for_what_a_header_claims(tmp_path: Path) -> None:
    files = []
    for name, data in hostile_files().items():
        files.append(tmp_path / name)
        files[-1].write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-c", READ_ALL, *map(str, files)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


def test_a_size_between_fill_bytes_is_the_one_that_counts() -> None:
    with pytest.raises(ImageError, match="30000x20000; expected 1 to"):
        read_color(hostile_files()["smuggled.jpg"])


def test_fill_bytes_before_a_marker_are_legal() -> None:
    segments = jpeg_segments(jpeg())
    filled = b"\xff\xd8" + b"".join(b"\xff" * 3 + segment for segment in segments)
    np.testing.assert_array_equal(read_color(filled), read_color(jpeg()))


@given(
    places=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    pieces=st.lists(
        st.one_of(
            st.builds(
                lambda marker, length, size: bytes([0xFF, marker]) + sof_body(length, *size),
                st.one_of(st.integers(0xC0, 0xFE), st.just(1)),
                st.sampled_from([17, 11, 2, 0, 300]),
                st.tuples(*[st.sampled_from([0, 8, 24, 40, 3000, 65535])] * 2),
            ),
            st.sampled_from([b"\xff", b"\xff\xff", b"\0", b"\xff\0", b"ab", b"\xff\xd8"]),
        ),
        min_size=3,
        max_size=3,
    ),
)
def test_opencv_reads_no_other_size_than_was_checked(
    places: list[int], pieces: list[bytes]
) -> None:
    segments = jpeg_segments(jpeg())
    for place, piece in zip(places, pieces, strict=False):
        segments.insert(place % len(segments), piece)
    data = b"\xff\xd8" + b"".join(segments)
    with contextlib.suppress(ImageError):
        size = open_picture(data, ("JPEG",), 1 << 20).size
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is None or pixels.shape[1::-1] == size


def test_pixels_of_another_size_than_the_headers_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = np.zeros((40, 24, 3), np.uint8)
    monkeypatch.setattr(compressed.cv2, "imdecode", lambda *_: other)
    with pytest.raises(ImageError, match="40x24 is damaged"):
        read_color(jpeg())


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_a_file_of_every_format_is_read(name: str) -> None:
    file = io.BytesIO()
    exact = {"WebP": {"lossless": True}}.get(name, {})
    Image.fromarray(PICTURE).save(file, {"PNM": "PPM"}.get(name, name), **exact)
    picture = read_upright(file.getvalue())
    assert picture.dtype == np.uint8
    tolerance = 255 if name == "JPEG" else 0
    np.testing.assert_allclose(picture, PICTURE, atol=tolerance)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled_to_8(name: str) -> None:
    grey = np.array([[0, 257, 40_000, 65535]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(grey.astype(np.int32) if name == "PPM" else grey).save(file, name)
    np.testing.assert_array_equal(read_upright(file.getvalue())[0, :, 0], [0, 1, 156, 255])


def test_what_has_no_rgb_or_is_no_known_format_is_named() -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 3), np.float32)).save(file, "TIFF")
    with pytest.raises(ImageError, match="3x2 has pixels of kind F; expected 8 or 16 bits"):
        read_upright(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "GIF")
    with pytest.raises(ImageError, match="none of JPEG, PNG, BMP, PNM, TIFF, WebP"):
        read_upright(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(file, "TIFF")
    with pytest.raises(ImageError, match="70000; expected 0 to 65535"):
        read_upright(file.getvalue())


def test_an_orientation_tag_turns_files_and_leaves_streams_alone() -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "JPEG", exif=tag)
    assert read_upright(file.getvalue()).shape == (40, 24, 3)
    assert read_color(file.getvalue()).shape == (24, 40, 3)


def test_grey_keeps_its_bits_and_colour_is_not_grey() -> None:
    for dtype in (np.uint8, np.uint16):
        grey = np.array([[0, 3, 255]], dtype)
        read = read_grey(cv2.imencode(".png", grey)[1].tobytes())
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, grey)
    with pytest.raises(ImageError, match="40x24 has pixels of kind RGB; expected grey"):
        read_grey(jpeg())


def hostile_files() -> dict[str, bytes]:
    """Small files that claim to be large, and one that has ended a decoder."""
    header, small = png_header(*LARGE), png_header(40, 24)
    end = chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    control = struct.pack(">5I2H2B", 0, 40, 24, 0, 0, 1, 1, 0, 0)
    # OpenCV 5.0 takes this for an animation and reads memory that is not there.
    animated = [
        chunk(b"acTL", struct.pack(">II", 1, 0)),
        chunk(b"acTL", struct.pack(">II", 9, 0)),
        *png_chunks(cv2.imencode(".png", PICTURE)[1].tobytes())[1:-1],
        chunk(b"fcTL", control),
        small,
        chunk(b"IEND", b""),
    ]
    bmp = struct.pack("<2sIII", b"BM", 54, 0, 54)
    bmp += struct.pack("<IiiHH6I", 40, *LARGE, 1, 24, 0, 0, 0, 0, 0, 0)
    webp = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" * 2
    sides = [(256, LARGE[0]), (257, LARGE[1])]
    return {
        "smuggled.jpg": smuggled_jpeg(),
        "bomb.png": PNG_SIGNATURE + png_header(*LARGE, 1, 0) + chunk(b"IDAT", zeros(72)) + end,
        "claims.png": PNG_SIGNATURE + header + end,
        "claims_last.png": PNG_SIGNATURE + small + header + end,
        "claims_first.png": PNG_SIGNATURE + header + small + end,
        "animated.png": PNG_SIGNATURE + small + b"".join(animated),
        "claims.bmp": bmp,
        "claims.ppm": b"P6 %d %d 255\n" % LARGE,
        "claims.webp": b"RIFF" + struct.pack("<I", len(webp)) + webp,
        "claims.tif": tiff([*sides, (278, LARGE[1])], 273, 279, zlib.compress(bytes(9))),
        "tiles.tif": tiff(
            [(256, 40), (257, 24), (322, 1 << 14), (323, 1 << 14)], 324, 325, zeros(256)
        ),
    }


def jpeg() -> bytes:
    return cv2.imencode(".jpg", PICTURE)[1].tobytes()


def jpeg_segments(data: bytes) -> list[bytes]:
    """The parts of a JPEG behind its first marker; the last one holds the pixels."""
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        segments.append(data[at:end])
        at = end
    return [*segments, data[at:]]


def sof_body(length: int, width: int, height: int) -> bytes:
    """A JPEG's frame header of three components, behind its marker."""
    return struct.pack(">HBHHB", length, 8, height, width, 3) + bytes.fromhex("012200021101031101")


def smuggled_jpeg() -> bytes:
    """Its size is `LARGE`; a reader that takes no account of fill bytes finds one of 8x8."""
    body = bytearray(65_533)
    # Where such a reader comes to if it takes the marker's second byte for a length's first.
    decoy = 2 + 2 + 0xE1FF - 7
    body[decoy : decoy + 19] = b"\xff\xc0" + sof_body(17, 8, 8)
    comment = b"\xff\xff\xe1\xff\xff" + bytes(body)
    segments = jpeg_segments(jpeg())
    frame = next(i for i, segment in enumerate(segments) if segment[1] == 0xC0)
    segments[frame] = b"\xff\xc0" + sof_body(17, *LARGE)
    return b"\xff\xd8" + comment + b"".join(segments)


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png_header(width: int, height: int, bits: int = 8, kind: int = 2) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))


def png_chunks(data: bytes) -> list[bytes]:
    chunks, at = [], len(PNG_SIGNATURE)
    while at < len(data):
        end = at + 12 + int(struct.unpack_from(">I", data, at)[0])
        chunks.append(data[at:end])
        at = end
    return chunks


def tiff(tags: list[tuple[int, int]], offsets: int, lengths: int, data: bytes) -> bytes:
    """A grey TIFF, deflated. offsets, lengths: the tags that say where its only part lies."""
    tags = [*tags, (258, 8), (259, 8), (262, 1), (277, 1), (offsets, 8), (lengths, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory


def zeros(mebibytes: int) -> bytes:
    """So many bytes of zeros, deflated."""
    packer = zlib.compressobj(1)
    blocks = [packer.compress(bytes(1 << 20)) for _ in range(mebibytes)]
    return b"".join([*blocks, packer.flush()])
