"""Which converter is chosen and why; what cv_bridge is asked for and what not.

The real cv_bridge is what `test/image/test_decode.py` compares with our decoder, where it is built.
Here stand-ins of it show what the node does with one that is missing, broken or refuses.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pag_ros.errors import ImageError
from pag_ros.image.decode import ENCODINGS, to_rgb
from pag_ros.ros import converters
from pag_ros.ros.converters import BridgedConverter, choose_converter, cv_bridge_problem

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
WORKING = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        shape = message.height, message.width, 3
        return np.frombuffer(bytes(message.data), np.uint8).reshape(shape)[..., ::-1]
"""
OTHER_NUMPY = 'raise ImportError("numpy.core.multiarray failed to import")'
CRASHING = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
WRONG = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, encoding):
        return np.zeros((1, 2, 3), np.uint8)
"""


class Recorder:
    """A bridge that notes what it is asked for, and answers or fails."""

    def __init__(self, answer: object = None, error: Exception | None = None) -> None:
        self.asked: list[object] = []
        self.answer = answer
        self.error = error

    def imgmsg_to_cv2(self, message: object, encoding: str) -> object:
        assert encoding == "rgb8"
        return self._reply(message)

    def compressed_imgmsg_to_cv2(self, message: object) -> object:
        return self._reply(message)

    def _reply(self, message: object) -> object:
        self.asked.append(message)
        if self.error is not None:
            raise self.error
        return self.answer


def image(encoding: str = "rgb8", step: int = 18, big: int = 0, data: bytes | None = None):
    return SimpleNamespace(
        height=4,
        width=6,
        encoding=encoding,
        step=step,
        is_bigendian=big,
        data=PIXELS.tobytes() if data is None else data,
    )


def jpeg(data: bytes | None = None, form: str = "jpeg"):
    encoded = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    return SimpleNamespace(format=form, data=encoded if data is None else data)


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A module cv_bridge of that text, that this process and its children find first."""
    (folder / "cv_bridge.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)


@pytest.fixture(autouse=True)
def _forget_stand_ins():
    yield
    module = sys.modules.get("cv_bridge")
    if module is not None and not hasattr(module, "__path__"):
        del sys.modules["cv_bridge"]


def test_without_cv_bridge_our_decoder_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converters.importlib.util, "find_spec", lambda _: None)
    chosen = choose_converter()
    assert chosen.name == "pag_ros (cv_bridge: not installed)"
    np.testing.assert_array_equal(chosen.to_rgb(image()), PIXELS)


def test_one_that_works_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sensor_msgs")
    installed(tmp_path, monkeypatch, WORKING)
    chosen = choose_converter()
    assert chosen.name == "cv_bridge"
    np.testing.assert_array_equal(chosen.to_rgb(image("bgr8")), PIXELS[..., ::-1])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (OTHER_NUMPY, "ImportError: numpy.core.multiarray failed to import"),
        (CRASHING, "ended by signal 11 when tried"),
        (WRONG, "AssertionError: [[[0, 0, 0], [0, 0, 0]]]"),
    ],
)
def test_one_that_does_not_work_is_said_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    """It is tried elsewhere: this very process goes on."""
    pytest.importorskip("sensor_msgs")
    installed(tmp_path, monkeypatch, source)
    assert cv_bridge_problem() == problem
    assert choose_converter().name == f"pag_ros (cv_bridge: {problem})"


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(converters, "_PROBE_S", 0.5)
    assert "timed out after 0.5 seconds" in cv_bridge_problem()


def test_the_bridge_is_asked_for_what_it_converts_rightly() -> None:
    bridge = Recorder(answer=PIXELS[..., ::-1])
    message = image("bgr8")
    result = BridgedConverter(bridge).to_rgb(message)
    np.testing.assert_array_equal(result, PIXELS[..., ::-1])
    assert result.flags.c_contiguous
    assert bridge.asked == [message]
    # What it gives of a JPEG is BGR.
    bridge = Recorder(answer=np.full((8, 8, 3), (1, 2, 3), np.uint8))
    np.testing.assert_array_equal(BridgedConverter(bridge).to_rgb(jpeg())[0, 0], (3, 2, 1))
    assert len(bridge.asked) == 1


@pytest.mark.parametrize(
    "message",
    [
        image("8UC3"),
        image("nv12", step=6, data=bytes(36)),
        image("bayer_rggb16", step=12, data=bytes(48)),
        image(step=20, data=bytes(80)),
        image(step=19, data=bytes(75)),
        image(big=int(sys.byteorder == "little")),
        image("mono16", step=12, big=int(sys.byteorder == "little"), data=bytes(48)),
        jpeg(form="rgb8; jpeg compressed rgb8"),
        jpeg(cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()),
        jpeg(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), "png"),
    ],
    ids=lambda m: getattr(m, "encoding", getattr(m, "format", "")),
)
def test_the_rest_is_our_decoders(message) -> None:
    bridge = Recorder()
    np.testing.assert_array_equal(BridgedConverter(bridge).to_rgb(message), to_rgb(message))
    assert bridge.asked == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (image(data=bytes(70)), "needs rows of 18 bytes, 4 of them; got step 18 and 70 bytes"),
        (image("rgb9"), "image encoding 'rgb9' is not supported"),
        (jpeg(b"\xff\xd8\xff"), "damaged"),
        (jpeg(b"GIF89a"), "none of JPEG, PNG"),
    ],
)
def test_nothing_that_does_not_fit_reaches_the_bridge(message, text: str) -> None:
    bridge = Recorder()
    with pytest.raises(ImageError, match=text):
        BridgedConverter(bridge).to_rgb(message)
    assert bridge.asked == []


def test_a_picture_of_absurd_size_never_reaches_the_bridge() -> None:
    data = bytearray(jpeg().data)
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"  # height, width
    bridge = Recorder()
    with pytest.raises(ImageError, match="65535x65535"):
        BridgedConverter(bridge).to_rgb(jpeg(bytes(data)))
    assert bridge.asked == []


@pytest.mark.parametrize("error", [TypeError("no [rgb8]\nhere"), RuntimeError(), ValueError("x")])
def test_what_the_bridge_raises_is_one_line(error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    with pytest.raises(ImageError) as raised:
        BridgedConverter(Recorder(error=error)).to_rgb(image())
    assert str(raised.value) == f"image cannot be decoded ({reason})"


def test_a_jpeg_that_the_bridge_could_not_decode_is_refused() -> None:
    with pytest.raises(ImageError, match="damaged JPEG"):
        BridgedConverter(Recorder(answer=None)).to_rgb(jpeg())


def test_only_known_encodings_are_left_to_the_bridge() -> None:
    assert set(ENCODINGS) > converters.CV_BRIDGE_ENCODINGS
