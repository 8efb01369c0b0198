"""Camera messages to arrays by cv_bridge, which ROS users expect, or by our own decoder.

Both give the same pixels. cv_bridge is asked for what it converts rightly; the rest is our
decoder's: encodings that it lacks or rounds otherwise (16-bit Bayer, by 1), rows with padding that
is no whole pixel, a byte order that is not the machine's, PNG and grey JPEG. Sizes are checked
before either gets a message, for cv_bridge checks none.

Messages are made by ourselves: cv_bridge copies their pixels twice, and does not know the type
codes of OpenCV 5.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ImageError, one_line
from pag_ros.image.compressed import is_color_jpeg
from pag_ros.image.decode import is_compressed, layout_of, to_rgb
from pag_ros.image.messages import CompressedImageMessage, ImageMessage, PictureMessage
from pag_ros.runtime.child_processes import with_these_modules

if TYPE_CHECKING:
    from cv_bridge import CvBridge

CV_BRIDGE_ENCODINGS = {
    *("rgb8", "bgr8", "rgba8", "bgra8", "mono8"),
    *("rgb16", "bgr16", "rgba16", "bgra16", "mono16"),
    *("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"),
    *("yuv422", "yuv422_yuy2"),
}
"""Those that it converts to the very pixels that our decoder gives."""

_PROBE = """
import numpy
from cv_bridge import CvBridge
from sensor_msgs.msg import Image
message = Image(height=1, width=2, encoding="bgr8", step=6, data=[1, 2, 3, 4, 5, 6])
pixels = CvBridge().imgmsg_to_cv2(message, "rgb8")
assert pixels.tolist() == [[[3, 2, 1], [6, 5, 4]]], pixels.tolist()
"""
_PROBE_S = 20.0


class Converter(NamedTuple):
    """A way from messages to pictures.

    Attributes:
        name: of it, and why it is not another one, for people.
        to_rgb: as `pag_ros.image.decode.to_rgb`.
    """

    name: str
    to_rgb: Callable[[PictureMessage], NDArray[np.uint8]]


OWN = Converter("pag_ros", to_rgb)


def choose_converter() -> Converter:
    """Return cv_bridge's where it is installed and works, else our own."""
    problem = cv_bridge_problem()
    if problem:
        return OWN._replace(name=f"{OWN.name} (cv_bridge: {problem})")
    from cv_bridge import CvBridge

    return Converter("cv_bridge", BridgedConverter(CvBridge()).to_rgb)


def cv_bridge_problem() -> str:
    """Why cv_bridge cannot be used; empty where it can.

    It is tried in a process of its own: a compiled part that was built for another NumPy may end
    the process that calls it.
    """
    if importlib.util.find_spec("cv_bridge") is None:
        return "not installed"
    command = [sys.executable, "-c", _PROBE]
    try:
        tried = subprocess.run(
            command,
            env=with_these_modules(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"could not be tried ({one_line(str(error))})"
    if tried.returncode == 0:
        return ""
    if tried.returncode < 0:
        return f"ended by signal {-tried.returncode} when tried"
    lines = tried.stderr.strip().splitlines()
    return one_line(lines[-1]) if lines else f"exit code {tried.returncode} when tried"


class BridgedConverter:
    """Converts by cv_bridge what it converts rightly, all else by our decoder.

    Args:
        bridge: that works.
    """

    def __init__(self, bridge: CvBridge) -> None:
        self._bridge = bridge

    def to_rgb(self, message: PictureMessage) -> NDArray[np.uint8]:
        """See `pag_ros.image.decode.to_rgb`."""
        if not self.takes(message):
            return to_rgb(message)
        try:
            if is_compressed(message):
                return self._decompressed(message)
            return self._converted(message)
        except Exception as error:  # of many kinds: Python's, OpenCV's and Boost's
            reason = one_line(str(error)) or type(error).__name__
            raise ImageError(f"image cannot be decoded ({reason})") from error

    def takes(self, message: PictureMessage) -> bool:
        """Whether cv_bridge is to convert a message.

        Raises:
            ImageError: nobody can: its size, encoding and data do not fit together.
        """
        if is_compressed(message):
            swapped = "compressed rgb" in message.format
            return is_color_jpeg(memoryview(message.data)) and not swapped
        if message.encoding not in CV_BRIDGE_ENCODINGS:
            return False
        if layout_of(message).is_padded:
            return False
        return bool(message.is_bigendian) == (sys.byteorder == "big")

    def _converted(self, message: ImageMessage) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._bridge.imgmsg_to_cv2(message, "rgb8"), np.uint8)

    def _decompressed(self, message: CompressedImageMessage) -> NDArray[np.uint8]:
        # As it is: asked for "rgb8", it takes what could not be decoded for a picture.
        pixels = self._bridge.compressed_imgmsg_to_cv2(message)
        if pixels is None:
            raise ValueError("damaged JPEG")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
