"""ROS 2 bags (sqlite3 or mcap) as frames: picture, focal length and ground truth. Needs no ROS.

The topics are found by what they carry; name them where a bag holds several candidates. Broken
messages are left out and counted, so that one of them does not cost the evaluation of a long bag.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BagError, ImageError
from pag_ros.evaluation.decode import ENCODINGS, to_depth, to_labels, to_normals, to_rgb

TRUTH_TOLERANCE_NS = 20_000_000
"""Ground truth may be stamped this far from its image: half a period at 25 Hz."""

MATCH_WINDOW_NS = 500_000_000
"""How long (in the bag's time) an image waits for messages of its stamp."""

MAX_WAITING = 64
"""Images held while they wait; bounds the memory whatever the bag's times are."""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
LABEL_WORDS = ("label", "mask", "segmentation", "semantic")
NO_TOPIC = "none"


@dataclass(frozen=True)
class Topics:
    """Which topic carries what. None: find it; "none": the bag's topic is not to be used."""

    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    normals: str | None = None
    labels: str | None = None

    def text(self) -> str:
        """Those there are, for people."""
        return ", ".join(f"{kind}: {topic}" for kind, topic in asdict(self).items() if topic)


@dataclass(frozen=True)
class Truth:
    """Ground truth of one frame, each at the image's size or None.

    Attributes:
        depth: [h,w] float32 metres, NaN unknown.
        normals: [h,w,3] float32 unit, NaN unknown.
        labels: [h,w] uint8 class ids, 255 unknown.
    """

    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    labels: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Frame:
    """One camera picture with all that the bag says about it.

    Attributes:
        stamp_ns: of the image's header.
        frame_id: of the image's header.
        image: [h,w,3] uint8 RGB.
        focal_px: the camera's fx in pixels of this image.
    """

    stamp_ns: int
    frame_id: str
    image: NDArray[np.uint8]
    focal_px: float
    truth: Truth


@dataclass(frozen=True)
class Recorded:
    """A message as it lies in the bag.

    Attributes:
        kind: a field name of `Topics`.
        time_ns: when it was recorded.
        stamp_ns: of its header.
        data: serialised (CDR).
    """

    kind: str
    time_ns: int
    stamp_ns: int
    data: bytes


def frames(path: Path, wanted: Topics | None = None) -> Iterator[Frame]:
    """All frames of a bag in recording order; see `Bag`."""
    with Bag(path, wanted) as bag:
        yield from bag.frames()


class Bag:
    """An open bag; a context manager.

    Attributes:
        topics: what was found or named; None where the bag has no such topic.
        types: message type of each of those topics, e.g. {"image": "sensor_msgs/msg/Image", ...}.
        count: image messages in the bag.
        problems: what was left out and how often, filled by reading.
    """

    def __init__(self, path: Path, wanted: Topics | None = None) -> None:
        """Open a bag.

        Args:
            path: the bag's folder, or its .mcap or .db3 file.
            wanted: topics to use; found by their contents where None.

        Raises:
            BagError: the bag is missing or damaged, a named topic is not in it or of another type,
                there is no image topic, or several topics could be meant.
        """
        from rosbags.typesys import Stores, get_typestore

        self.path = path
        self.problems: Counter[str] = Counter()
        # Only messages of three standard types are read, by definitions we bring along: those in
        # the bag are not trusted, nor needed (bags before Jazzy in sqlite3 have none).
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._open_files = ExitStack()
        self._reader = _open_reader(path, self._open_files)
        try:
            self._connections = _resolve(self._candidates(), wanted or Topics(), path)
        except BaseException:
            self.close()
            raise
        self.topics = Topics(**{kind: c.topic for kind, c in self._connections.items()})
        self.types = {kind: str(c.msgtype) for kind, c in self._connections.items()}
        self.count = int(self._connections["image"].msgcount)

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bag's files."""
        self._open_files.close()

    def frames(self) -> Iterator[Frame]:
        """Every readable frame in recording order; what is not readable goes to `problems`."""
        for messages in match(self.recorded()):
            try:
                yield self._frame(messages)
            except ImageError as error:
                self.problems[str(error)] += 1

    def recorded(self) -> Iterator[Recorded]:
        """The messages of all topics in recording order, still serialised."""
        kinds = {connection.topic: kind for kind, connection in self._connections.items()}
        for connection, time_ns, data in self._messages(list(self._connections.values())):
            stamp_ns = stamp_of(data)
            if stamp_ns is None:
                self.problems[f"{connection.topic}: message without a header"] += 1
                continue
            yield Recorded(kinds[connection.topic], time_ns, stamp_ns, data)

    def decode(self, message: Recorded) -> Any:
        """The deserialised message.

        Raises:
            ImageError: the data is not what its type says.
        """
        return self.deserialise(message.data, self.types[message.kind])

    def deserialise(self, data: bytes, message_type: str) -> Any:
        """A message from its serialised form (CDR).

        Raises:
            ImageError: the data is not what the type says.
        """
        try:
            return self._typestore.deserialize_cdr(data, message_type)
        except Exception as error:  # rosbags has no common base for what damage makes it raise
            raise ImageError(f"damaged {message_type} message ({_brief(error)})") from error

    def read_truth(self, message: Recorded) -> NDArray[Any] | None:
        """One ground-truth message as an array; None (and a problem counted) if unreadable."""
        try:
            return np.asarray(TRUTH_READERS[message.kind](self.decode(message)))
        except ImageError as error:
            self.problems[f"ground truth left out: {error}"] += 1
            return None

    def _frame(self, messages: dict[str, Recorded]) -> Frame:
        image = self.decode(messages["image"])
        rgb = to_rgb(image)
        if "camera_info" not in messages:
            raise ImageError("no camera_info at the image's time: depth would not be metric")
        return Frame(
            stamp_ns=messages["image"].stamp_ns,
            frame_id=str(image.header.frame_id),
            image=rgb,
            focal_px=focal_length(self.decode(messages["camera_info"]), rgb.shape),
            truth=self._truth(messages, rgb.shape),
        )

    def _truth(self, messages: dict[str, Recorded], image_shape: tuple[int, ...]) -> Truth:
        arrays: dict[str, NDArray[Any]] = {}
        for kind in TRUTH_READERS:
            array = self.read_truth(messages[kind]) if kind in messages else None
            if array is None:
                continue
            if array.shape[:2] == image_shape[:2]:
                arrays[kind] = array
            else:
                size = "x".join(str(n) for n in array.shape[1::-1])
                self.problems[f"{kind} of {size} pixels differs from the image's size"] += 1
        return Truth(**arrays)

    def _candidates(self) -> dict[str, list[Any]]:
        """Connections that could serve as each kind, judged by their first message."""
        found: dict[str, list[Any]] = {kind: [] for kind in asdict(Topics())}
        for connection in self._reader.connections:
            if connection.msgtype == CAMERA_INFO_TYPE and connection.msgcount:
                found["camera_info"].append(connection)
            elif connection.msgtype in IMAGE_TYPES and connection.msgcount:
                kind = self._kind_of(connection)
                if kind is not None:
                    found[kind].append(connection)
        return found

    def _kind_of(self, connection: Any) -> str | None:
        first = next(self._messages([connection]), None)
        if first is None:
            raise BagError(f"{self.path}: {'; '.join(self.problems) or 'the bag is damaged'}")
        try:
            return kind_of(connection.topic, self.deserialise(first[2], connection.msgtype))
        except ImageError:
            return "image"

    def _messages(self, connections: list[Any]) -> Iterator[tuple[Any, int, bytes]]:
        try:
            yield from self._reader.messages(connections=connections)
        except Exception as error:  # rosbags has no common base for what damage makes it raise
            self.problems[f"reading stopped, the bag is damaged ({_brief(error)})"] += 1


def kind_of(topic: str, message: Any) -> str | None:
    """What an Image or CompressedImage most likely carries: a field name of `Topics`, or None."""
    name = topic.lower()
    content = str(getattr(message, "encoding", "") or getattr(message, "format", ""))
    if content.startswith(("32FC1", "16UC1")):
        return "depth"
    if content == "32FC3" or ("normal" in name and hasattr(message, "format")):
        return "normals"
    one_channel = hasattr(message, "format") or content in ("mono8", "8UC1")
    if one_channel and any(word in name for word in LABEL_WORDS):
        return "labels"
    return "image" if hasattr(message, "format") or content in ENCODINGS else None


def focal_length(camera_info: Any, image_shape: tuple[int, ...]) -> float:
    """fx of a CameraInfo message for an image [h,w,...].

    Raises:
        ImageError: an uncalibrated camera, or one of another size.
    """
    fx = float(camera_info.k[0])
    if not (np.isfinite(fx) and fx > 0.0):
        raise ImageError(f"camera_info has fx = {fx}: the camera is not calibrated")
    height, width = int(camera_info.height), int(camera_info.width)
    if (height, width) not in ((0, 0), image_shape[:2]):
        size = f"{image_shape[1]}x{image_shape[0]}"
        raise ImageError(f"camera_info is for {width}x{height}, the image has {size} pixels")
    return fx


def stamp_of(data: bytes) -> int | None:
    """Header stamp in nanoseconds of a serialised message that begins with a std_msgs/Header."""
    if len(data) < 12 or data[1] not in (0, 1):
        return None
    order = "<" if data[1] == 1 else ">"
    seconds = int(np.frombuffer(data, f"{order}i4", 1, 4)[0])
    return seconds * 1_000_000_000 + int(np.frombuffer(data, f"{order}u4", 1, 8)[0])


def match(messages: Iterable[Recorded]) -> Iterator[dict[str, Recorded]]:
    """Group messages by image: every image with the camera_info and truth that belong to it.

    Messages of one stamp may lie in any order in a bag, so an image waits for others until
    `MATCH_WINDOW_NS` have passed.
    """
    waiting: deque[Recorded] = deque()
    others: dict[str, deque[Recorded]] = {}
    for message in messages:
        if message.kind == "image":
            waiting.append(message)
        else:
            others.setdefault(message.kind, deque(maxlen=2 * MAX_WAITING)).append(message)
        while waiting and (
            len(waiting) > MAX_WAITING or message.time_ns - waiting[0].time_ns > MATCH_WINDOW_NS
        ):
            yield _gather(waiting.popleft(), others)
    while waiting:
        yield _gather(waiting.popleft(), others)


TRUTH_READERS: dict[str, Callable[[Any], NDArray[Any]]] = {
    "depth": to_depth,
    "normals": to_normals,
    "labels": to_labels,
}


def _gather(image: Recorded, others: dict[str, deque[Recorded]]) -> dict[str, Recorded]:
    group = {"image": image}
    for kind, candidates in others.items():
        # Older ones cannot be the nearest to this or a later image.
        while len(candidates) > 1 and candidates[1].stamp_ns <= image.stamp_ns:
            candidates.popleft()
        nearest = min(candidates, key=lambda m: abs(m.stamp_ns - image.stamp_ns), default=None)
        # A camera_info holds until the next one; ground truth is for its own moment.
        if nearest is not None and (
            kind == "camera_info" or abs(nearest.stamp_ns - image.stamp_ns) <= TRUTH_TOLERANCE_NS
        ):
            group[kind] = nearest
    return group


def _open_reader(path: Path, stack: ExitStack) -> Any:
    from rosbags.rosbag2 import Reader

    if not path.exists():
        raise BagError(f"{path}: no such bag; give its folder, or its .mcap or .db3 file")
    if path.suffix == ".bag":
        raise BagError(f"{path}: a ROS 1 bag; convert it with `rosbags-convert`")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise BagError(f"{path}: no metadata.yaml, so not a bag; try `ros2 bag reindex {path}`")
    try:
        return stack.enter_context(Reader(path))
    except Exception as error:  # rosbags has no common base for what damage makes it raise
        raise BagError(f"{path}: not a readable bag ({_brief(error)})") from error


def _resolve(found: dict[str, list[Any]], wanted: Topics, path: Path) -> dict[str, Any]:
    """One connection for each kind that the bag has."""
    every = {c.topic: c for connections in found.values() for c in connections}
    chosen: dict[str, Any] = {}
    image = _choose("image", wanted.image, found["image"], every, path)
    if image is None:
        raise BagError(f"{path}: no image topic with messages (sensor_msgs Image, CompressedImage)")
    chosen["image"] = image
    for kind in ("camera_info", "depth", "normals", "labels"):
        candidates = found[kind]
        if kind == "camera_info":
            candidates = _of_same_camera(image.topic, candidates)
        connection = _choose(kind, getattr(wanted, kind), candidates, every, path)
        if connection is not None:
            chosen[kind] = connection
    if "camera_info" not in chosen:
        raise BagError(f"{path}: no camera_info topic with messages; depth needs the camera's fx")
    return chosen


def _choose(
    kind: str, name: str | None, candidates: list[Any], every: dict[str, Any], path: Path
) -> Any | None:
    option = "--" + kind.replace("_", "-") + "-topic"
    if name == NO_TOPIC:
        return None
    if name is not None:
        is_info = name in every and every[name].msgtype == CAMERA_INFO_TYPE
        if name not in every or is_info != (kind == "camera_info"):
            having = ", ".join(sorted(every)) or "nothing of use"
            raise BagError(f"{path}: no {kind} topic {name} with messages; the bag has {having}")
        return every[name]
    candidates = _preferred(candidates)
    if len(candidates) > 1:
        names = ", ".join(sorted(c.topic for c in candidates))
        raise BagError(f"{path}: several topics could be the {kind}; choose by {option}: {names}")
    return candidates[0] if candidates else None


def _preferred(candidates: list[Any]) -> list[Any]:
    """Without the compressed copies of raw topics; with those called truth, if there are any."""
    names = {c.topic for c in candidates}
    distinct = [c for c in candidates if c.topic.rpartition("/")[0] not in names]
    return [c for c in distinct if "truth" in c.topic.lower()] or distinct


def _of_same_camera(image_topic: str, candidates: list[Any]) -> list[Any]:
    """By ROS convention `NS/camera_info` belongs to `NS/image...`; the longest shared NS wins."""
    if len(candidates) < 2:
        return candidates
    shared = {c.topic: _shared_parts(image_topic, c.topic) for c in candidates}
    return [c for c in candidates if shared[c.topic] == max(shared.values())]


def _shared_parts(one: str, other: str) -> int:
    pairs = zip(one.split("/"), other.split("/"), strict=False)
    equal = [a == b for a, b in pairs]
    return equal.index(False) if False in equal else len(equal)


def _brief(error: Exception) -> str:
    """First line of a foreign error, or its name where it has no text."""
    lines = str(error).splitlines()
    return lines[0][:120] if lines else type(error).__name__
