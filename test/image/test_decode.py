"""Image messages become the arrays they say they are, or a clear ImageError."""

from __future__ import annotations

import array
import contextlib
import itertools
import math
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.errors import ImageError
from pag_ros.image.decode import (
    ENCODINGS,
    to_depth,
    to_labels,
    to_normals,
)
from pag_ros.image.decode import to_rgb as decode_rgb
from pag_ros.manifest import NO_LABEL
from pag_ros.ros.converters import choose_converter, cv_bridge_problem

COLOR = (200, 100, 30)
BAYER = {"rggb": ("rg", "gb"), "bggr": ("bg", "gr"), "gbrg": ("gb", "rg"), "grbg": ("gr", "bg")}

BT601 = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])


def image(pixels, encoding, height=None, width=None, step=None, big=0, data=None):
    return SimpleNamespace(
        height=pixels.shape[0] if height is None else height,
        width=pixels.shape[1] if width is None else width,
        encoding=encoding,
        is_bigendian=big,
        step=pixels.strides[0] if step is None else step,
        data=pixels.tobytes() if data is None else data,
    )


def compressed(pixels, format_, extension=".png", header=b""):
    return SimpleNamespace(
        format=format_, data=header + cv2.imencode(extension, pixels)[1].tobytes()
    )


@pytest.fixture(scope="session", params=["pag_ros", "cv_bridge"])
def to_rgb(request):
    """Both ways to pictures: what one does is what the other does."""
    if request.param == "pag_ros":
        return decode_rgb
    if problem := cv_bridge_problem():
        pytest.skip(f"cv_bridge: {problem}; docs/ros.md says how to build it for this")
    return choose_converter().to_rgb


def gradient():
    """[6,8,3] RGB whose every value differs from its neighbours."""
    return np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0])]
)
def test_channel_order_follows_the_encoding(encoding, order, to_rgb):
    rgb = gradient()
    stored = np.ascontiguousarray(rgb[:, :, order])
    np.testing.assert_array_equal(to_rgb(image(stored, encoding)), rgb)


@pytest.mark.parametrize(("encoding", "order"), [("rgba8", [0, 1, 2]), ("bgra8", [2, 1, 0])])
def test_alpha_is_dropped(encoding, order, to_rgb):
    rgb = gradient()
    stored = np.ascontiguousarray(np.dstack([rgb[:, :, order], np.full((6, 8), 7, np.uint8)]))
    np.testing.assert_array_equal(to_rgb(image(stored, encoding)), rgb)


def test_grey_fills_all_channels(to_rgb):
    grey = gradient()[:, :, 0].copy()
    np.testing.assert_array_equal(to_rgb(image(grey, "mono8")), np.dstack([grey] * 3))


@pytest.mark.parametrize("big", [0, 1])
def test_mono16_is_scaled_in_either_byte_order(big, to_rgb):
    grey = np.array([[0, 257, 0x4000, 65535]], ">u2" if big else "<u2")
    result = to_rgb(image(grey, "mono16", big=big))[:, :, 0]
    np.testing.assert_array_equal(result, [[0, 1, 64, 255]])


def test_rows_may_be_padded_and_the_last_row_short(to_rgb):
    rgb = gradient()
    padded = np.zeros((6, 32), np.uint8)
    padded[:, :24] = rgb.reshape(6, 24)
    data = padded.tobytes()[: 5 * 32 + 24]
    message = image(rgb, "rgb8", step=32, data=data)
    result = to_rgb(message)
    np.testing.assert_array_equal(result, rgb)
    assert result.flags.c_contiguous


@pytest.mark.parametrize("pattern", BAYER)
@pytest.mark.parametrize("bits", [8, 16])
def test_bayer_patterns_give_the_colour_they_were_made_of(pattern, bits, to_rgb):
    value = dict(zip("rgb", COLOR, strict=True))
    tile = np.array([[value[c] for c in row] for row in BAYER[pattern]])
    scale, dtype = (1, np.uint8) if bits == 8 else (257, np.uint16)
    mosaic = (np.tile(tile, (4, 4)) * scale).astype(dtype)
    np.testing.assert_array_equal(to_rgb(image(mosaic, f"bayer_{pattern}{bits}"))[3, 3], COLOR)


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv")]
)
def test_yuv422_is_colour(encoding, order, to_rgb):
    # ITU-R BT.601, video range
    luma, u, v = np.array([16, 128, 128]) + np.array(COLOR) / 255 @ BT601.T
    pair = [u, luma, v, luma] if order == "uyvy" else [luma, u, luma, v]
    stored = np.tile(np.array(pair, np.uint8).reshape(1, 2, 2), (4, 4, 1))
    result = to_rgb(image(stored, encoding))
    assert result.shape == (4, 8, 3)
    np.testing.assert_allclose(result[2, 3], COLOR, atol=3)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_nv12_has_the_image_height_and_half_as_many_chroma_rows(encoding, to_rgb):
    chroma = (200, 90) if encoding == "nv21" else (90, 200)
    planes = np.full((6, 4), 120, np.uint8)
    planes[4:] = np.tile(chroma, 2)
    result = to_rgb(image(planes, encoding, height=4))
    assert result.shape == (4, 4, 3)
    red, green, blue = (int(c) for c in result[0, 0])
    assert red > green > blue


def test_data_may_be_what_rclpy_delivers(to_rgb):
    rgb = gradient()
    message = image(rgb, "rgb8", data=array.array("B", rgb.tobytes()))
    np.testing.assert_array_equal(to_rgb(message), rgb)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"encoding": "jpeg2000"}, "encoding 'jpeg2000' is not supported"),
        ({"step": 23}, "step 23"),
        ({"data": b"\0" * 100}, "100 bytes"),
        ({"height": 0}, "8x0"),
        ({"height": 1 << 31, "width": 1 << 31}, "2147483648x2147483648"),
        ({"encoding": "nv12", "height": 5}, "even"),
    ],
)
def test_what_does_not_fit_is_named(changes, text, to_rgb):
    message = image(gradient(), "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=text):
        to_rgb(message)


SIDES = range(1, 6)


def fits(encoding, width, height):
    """Whether every pixel of such an image has a colour."""
    if encoding.startswith("bayer"):
        return min(width, height) >= 3
    across, down = {"yuv": (2, 1), "uyv": (2, 1), "yuy": (2, 1), "nv1": (2, 2), "nv2": (2, 2)}.get(
        encoding[:3], (1, 1)
    )
    return width % across == 0 and height % down == 0


def stored(encoding, width, height, padding=0):
    """Message data of some picture: the bytes, and the bytes of a row."""
    form = ENCODINGS[encoding]
    row_bytes = width * form.channels * np.dtype(form.dtype).itemsize + padding
    rows = math.ceil(height * form.rows_per_line)
    data = np.random.default_rng(0).integers(0, 256, rows * row_bytes, np.uint8)
    return data.tobytes(), row_bytes


def whole_image(encoding, width, height, padding=0, big=0):
    data, step = stored(encoding, width, height, padding)
    return image(np.zeros((height, width)), encoding, step=step, data=data, big=big)


@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_every_size_is_decoded_or_refused_in_one_line(encoding, big, to_rgb):
    for width, height in itertools.product(SIDES, SIDES):
        message = whole_image(encoding, width, height, big=big)
        if fits(encoding, width, height):
            assert to_rgb(message).shape == (height, width, 3)
        else:
            with pytest.raises(ImageError, match=rf"^{encoding} image of {width}x{height}: \S.*$"):
                to_rgb(message)


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_padding_of_any_length_changes_nothing(encoding, to_rgb):
    form = ENCODINGS[encoding]
    expected = to_rgb(whole_image(encoding, 4, 4))
    data, tight = stored(encoding, 4, 4)
    rows = np.frombuffer(data, np.uint8).reshape(-1, tight)
    for padding in (1, 2, 3):
        padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        message = image(np.zeros((4, 4)), encoding, step=tight + padding, data=padded.tobytes())
        np.testing.assert_array_equal(to_rgb(message), expected, f"{form} {padding}")


@given(
    read=st.sampled_from([decode_rgb, to_depth, to_labels, to_normals]),
    encoding=st.sampled_from([*sorted(ENCODINGS), "32FC1", "32FC3", "16UC1", "64FC1", ""]),
    size=st.tuples(*[st.one_of(st.integers(0, 9), st.integers(-(2**31), 2**32))] * 2),
    step=st.one_of(st.integers(-1, 40), st.integers(-(2**31), 2**63)),
    big=st.integers(0, 255),
    data=st.binary(max_size=400),
)
def test_nothing_but_an_image_error_leaves_a_reader(read, encoding, size, step, big, data):
    message = image(np.zeros((1, 1)), encoding, *size, step=step, big=big, data=data)
    with contextlib.suppress(ImageError):
        assert read(message).shape[:2] == size


def test_what_opencv_refuses_is_one_line_too(monkeypatch):
    def refuse(*_):
        raise cv2.error("OpenCV: (-215:Assertion failed)\n > what happened\n")

    monkeypatch.setattr("pag_ros.image.decode.cv2.cvtColor", refuse)
    with pytest.raises(ImageError, match=r"^image cannot be decoded \(OpenCV.*happened\)$"):
        decode_rgb(image(gradient()[:, :, 0].copy(), "mono8"))


def test_compressed_pictures_come_out_as_rgb(to_rgb):
    rgb = np.full((8, 8, 3), COLOR, np.uint8)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    np.testing.assert_array_equal(to_rgb(compressed(bgr, "rgb8; png compressed bgr8")), rgb)
    result = to_rgb(compressed(bgr, "bgr8; jpeg compressed bgr8", ".jpg"))
    np.testing.assert_allclose(result[4, 4], COLOR, atol=4)


def test_pictures_that_were_compressed_from_rgb_have_their_channels_swapped_back(to_rgb):
    """The encoder takes BGR; who hands it RGB says so in the format."""
    rgb = np.full((8, 8, 3), COLOR, np.uint8)
    np.testing.assert_array_equal(to_rgb(compressed(rgb, "rgb8; png compressed rgb8")), rgb)


def test_compressed_grey_comes_out_as_rgb(to_rgb):
    grey = np.full((8, 8), 77, np.uint8)
    np.testing.assert_array_equal(
        to_rgb(compressed(grey, "mono8; png compressed"))[0, 0], (77, 77, 77)
    )


@pytest.mark.parametrize("cut", [0, 1, 10, 30, -3, -20])
@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_cut_off_compressed_pictures_are_refused(cut, extension, to_rgb):
    message = compressed(gradient(), "x", extension)
    message.data = message.data[:cut]
    with pytest.raises(ImageError):
        to_rgb(message)


def test_a_compressed_picture_of_absurd_size_is_refused_unread(to_rgb):
    png = compressed(gradient(), "png").data
    header = b"IHDR" + struct.pack(">II", 1 << 20, 1 << 20) + png[24:29]
    checksum = struct.pack(">I", zlib.crc32(header))
    message = SimpleNamespace(format="png", data=png[:12] + header + checksum + png[33:])
    with pytest.raises(ImageError, match="1048576x1048576"):
        to_rgb(message)


def test_depth_is_metres_with_nan_where_unknown():
    metres = np.array([[1.5, np.nan, 0.0, -1.0, np.inf]], np.float32)
    np.testing.assert_array_equal(
        to_depth(image(metres, "32FC1")), [[1.5, np.nan, np.nan, np.nan, np.nan]]
    )
    millimetres = np.array([[1500, 0, 65535, 65534]], np.uint16)
    expected = np.array([[1.5, np.nan, np.nan, 65.534]], np.float32)
    np.testing.assert_allclose(to_depth(image(millimetres, "16UC1")), expected)
    np.testing.assert_allclose(to_depth(compressed(millimetres, "16UC1; png compressed")), expected)


def test_depth_in_other_units_is_metres_too():
    units = np.array([[5000, 0, 65535]], np.uint16)
    expected = [[1.0, np.nan, 13.107]]  # TUM's: the last value is a distance
    for message in (image(units, "16UC1"), compressed(units, "16UC1; png compressed")):
        np.testing.assert_allclose(to_depth(message, metres_per_unit=1 / 5000), expected, rtol=1e-6)
    assert np.isnan(to_depth(image(units, "16UC1"), 0.01)[0, 2])
    floats = np.array([[1500.0, np.nan, 0.0, -1.0, 3e38]], np.float32)
    found = to_depth(image(floats, "32FC1"), metres_per_unit=1e-3)
    np.testing.assert_allclose(found, [[1.5, np.nan, np.nan, np.nan, 3e35]])
    assert np.isnan(to_depth(image(floats, "32FC1"), metres_per_unit=10.0)[0, 4])
    pixels = np.array([[510, 0]], np.uint16)
    header = struct.pack("<iff", 0, 1000.0, 10.0)
    message = compressed(pixels, "32FC1; compressedDepth png", header=header)
    np.testing.assert_allclose(to_depth(message, metres_per_unit=0.5), [[1.0, np.nan]])


def test_compressed_depth_of_image_transport():
    millimetres = np.array([[1500, 0]], np.uint16)
    header = struct.pack("<iff", 0, 0.0, 0.0)
    message = compressed(millimetres, "16UC1; compressedDepth png", header=header)
    np.testing.assert_allclose(to_depth(message), np.array([[1.5, np.nan]], np.float32))

    # compressed_depth_image_transport's own quantisation of 32FC1: A / depth + B
    scale, offset = 1000.0, 10.0
    pixels = np.array([[round(scale / 2.0 + offset), 0]], np.uint16)
    message = compressed(
        pixels, "32FC1; compressedDepth png", header=struct.pack("<iff", 0, scale, offset)
    )
    np.testing.assert_allclose(to_depth(message), np.array([[2.0, np.nan]], np.float32))
    header = struct.pack("<iff", 0, scale, -offset)  # 0 is unknown, though it would be 100 m
    message = compressed(pixels, "32FC1; compressedDepth png", header=header)
    np.testing.assert_allclose(to_depth(message)[0, 1], np.nan)


def test_normals_are_unit_and_nan_where_there_is_none():
    vectors = [[0, 0, -1.02], [0, 0, 0], [np.nan, 0, 0], [0, 0, -1.2], [0, 0, -0.8]]
    normals = np.array([vectors], np.float32)
    result = to_normals(image(normals, "32FC3"))
    np.testing.assert_allclose(result[0, 0], [0, 0, -1])
    assert np.isnan(result[0, 1:]).all()


def test_normals_may_be_colours():
    normal = np.array([0.6, 0.0, -0.8])
    rgb = np.round((normal + 1) / 2 * 255).astype(np.uint8)
    bgr = np.tile(rgb[::-1], (2, 2, 1))
    result = to_normals(compressed(bgr, "rgb8; png compressed bgr8"))
    np.testing.assert_allclose(result[0, 0], normal, atol=0.006)


def test_labels_are_never_read_from_lossy_pictures():
    labels = np.array([[0, 3, NO_LABEL]], np.uint8)
    np.testing.assert_array_equal(to_labels(image(labels, "mono8")), labels)
    np.testing.assert_array_equal(to_labels(compressed(labels, "mono8; png compressed")), labels)
    with pytest.raises(ImageError, match="PNG"):
        to_labels(compressed(labels, "mono8; jpeg compressed", ".jpg"))


@pytest.mark.parametrize(
    ("read", "encoding"), [(to_depth, "rgb8"), (to_normals, "32FC1"), (to_labels, "mono16")]
)
def test_truth_of_another_encoding_is_refused(read, encoding):
    with pytest.raises(ImageError, match=encoding):
        read(image(gradient(), encoding))
