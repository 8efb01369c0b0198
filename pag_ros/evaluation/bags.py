"""ROS 2 bags (sqlite3 or mcap) as frames: picture, focal length and ground truth. Needs no ROS.

The topics are found by what they carry; name them where a bag holds several candidates. Broken
messages are left out and counted, so that one of them does not cost the evaluation of a long bag.
Names and texts from a bag are foreign: they are made `printable` before they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BagError, ImageError
from pag_ros.evaluation.matching import (
    MAX_HELD_BYTES,
    Matching,
    Recorded,
    find_matching,
    match,
)
from pag_ros.evaluation.truth import Truth
from pag_ros.evaluation.truth_tally import TruthTally, describe_failures
from pag_ros.evaluation.unpacking import (
    UNPACKING_ERRORS,
    bounded,
    require_bounded_chunks,
    require_unpackable_files,
    take_over_messages,
    unpack_message,
)
from pag_ros.image.camera_info import CameraInfo, focal_length_px
from pag_ros.image.decode import ENCODINGS, to_depth, to_labels, to_normals, to_rgb, usual_unit_m
from pag_ros.image.messages import PictureMessage

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader

MAX_INFO_BYTES = 1 << 16
"""Limit of a CameraInfo, which has some 400 bytes; all that differ stay in memory."""

MAX_COUNT = 1 << 40
"""Limit of messages in a bag; a larger number comes from damage."""

MAX_TIME_NS = 1 << 62
"""Recording times beyond (the year 2116) come from damage."""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
LABEL_WORDS = ("label", "mask", "segmentation", "semantic")
NO_TOPIC = "none"
READING_STOPPED = "reading stopped"


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
        topics = asdict(self).items()
        return ", ".join(f"{kind}: {printable(topic)}" for kind, topic in topics if topic)


@dataclass(frozen=True)
class Frame:
    """One camera picture with all that the bag says about it.

    Attributes:
        number: of its message among those of its topic, from 0, in recording order.
        time_ns: its moment: its stamp, or where stamps stand still, when it was recorded.
        stamp_ns: of the image's header.
        frame_id: of the image's header.
        image: [h,w,3] uint8 RGB.
        focal_px: the camera's fx in pixels of this image.
    """

    number: int
    time_ns: int
    stamp_ns: int
    frame_id: str
    image: NDArray[np.uint8]
    focal_px: float
    truth: Truth


def frames(path: Path, wanted: Topics | None = None) -> Iterator[Frame]:
    """All frames of a bag in recording order; see `Bag`."""
    with Bag(path, wanted) as bag:
        yield from bag.frames()


class Bag:
    """An open bag; a context manager.

    Attributes:
        topics: what was found or named; None where the bag has no such topic.
        types: message type of each of those topics, e.g. {"image": "sensor_msgs/msg/Image", ...}.
        count: image messages that the index tells of; `matching.images` is how many there are.
        problems: what was left out besides ground truth and how often, filled by reading.
        images_left_out: how many images `frames` could not read.
    """

    def __init__(
        self,
        path: Path,
        wanted: Topics | None = None,
        tolerance_ns: int | None = None,
        depth_scale: float | None = None,
    ) -> None:
        """Open a bag.

        Args:
            path: the bag's folder, or its .mcap or .db3 file.
            wanted: topics to use; found by their contents where None.
            tolerance_ns: how far truth may be stamped from its image, see `matching.find_matching`.
            depth_scale: metres per unit of the depth; None: millimetres in 16 bits, else metres.

        Raises:
            BagError: the bag is missing or damaged, a named topic is not in it or of another type,
                there is no image topic, or several topics could be meant.
        """
        from rosbags.typesys import Stores, get_typestore

        self.path = path
        self.problems: Counter[str] = Counter()
        self.images_left_out = 0
        self._wanted = wanted or Topics()
        self._tolerance_ns = tolerance_ns
        self._depth_scale = depth_scale
        # Only messages of three standard types are read, by definitions we bring along: those in
        # the bag are not trusted, nor needed (bags before Jazzy in sqlite3 have none).
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._open_files = ExitStack()
        try:
            self._reader = _open_reader(path, self._open_files)
            self._packed = take_over_messages(self._reader)
            self._connections = _resolve(self._candidates(), self._wanted, path)
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

    @cached_property
    def matching(self) -> Matching:
        """Which messages belong together; found by reading the whole bag once."""
        found: Counter[str] = Counter()
        matching = find_matching(self._recorded(self.problems, found), self._tolerance_ns)
        if not any(text.startswith(READING_STOPPED) for text in self.problems):
            self._compare_with_index(found)
        self._count_unwritten_journals()
        return matching

    @cached_property
    def truth(self) -> dict[str, TruthTally]:
        """What became of each topic of ground truth: kind -> tally, filled by `frames`.

        A message that was read counts as scored, until it is found to be of no use.
        """
        return {
            kind: TruthTally(
                kind=kind,
                topic=printable(self._connections[kind].topic),
                is_asked_for=getattr(self._wanted, kind) is not None,
                pairing=pairing,
            )
            for kind, pairing in self.matching.truth.items()
        }

    def require_matched_truth(self) -> None:
        """See, before any work, that every topic of truth has a message that belongs to an image.

        Raises:
            BagError: one has none.
        """
        failures = describe_failures(self.truth.values())
        if failures is not None:
            raise BagError(f"{self.path}: {failures}")

    def frames(self) -> Iterator[Frame]:
        """Every readable frame in recording order; what is not readable is counted."""
        for number, messages in enumerate(self.groups()):
            self._count_far_apart(number, messages)
            try:
                frame = self._frame(number, messages)
            except ImageError as error:
                self.problems[f"image left out: {printable(str(error))}"] += 1
                self.images_left_out += 1
                for kind in TRUTH_READERS.keys() & messages.keys():
                    self.truth[kind].unusable["its image was left out"] += 1
                continue
            yield frame

    def groups(self) -> Iterator[dict[str, Recorded]]:
        """Every image in recording order with what belongs to it, by kind, still serialised."""
        return match(self.recorded(), self.matching)

    def recorded(self) -> Iterator[Recorded]:
        """The messages of all topics in recording order, still serialised.

        What cannot be read is counted once, by `matching`.
        """
        return self._recorded(Counter(), Counter())

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

    def _recorded(self, problems: Counter[str], found: Counter[str]) -> Iterator[Recorded]:
        """The messages of all topics in recording order, with a count of each kind's."""
        kinds = {connection.topic: kind for kind, connection in self._connections.items()}
        for connection, time_ns, data in self._messages(self._connections.values(), problems):
            kind, stamp_ns = kinds[connection.topic], stamp_of(data)
            found[kind] += 1
            if stamp_ns is None:
                problems[f"{printable(connection.topic)}: message without a header"] += 1
            elif kind == "camera_info" and len(data) > MAX_INFO_BYTES:
                problems[f"{printable(connection.topic)}: CameraInfo of {len(data)} bytes"] += 1
            else:
                yield Recorded(kind, min(time_ns, MAX_TIME_NS), stamp_ns, data)

    def _compare_with_index(self, found: Counter[str]) -> None:
        """Count topics that have not as many messages as the bag's index tells of."""
        for kind, connection in self._connections.items():
            if found[kind] != connection.msgcount:
                self.problems[
                    f"{printable(connection.topic)}: {found[kind]} messages could be read, "
                    f"the bag's index tells of {connection.msgcount}"
                ] += 1

    def _count_unwritten_journals(self) -> None:
        """Count what a killed recorder has left beside its databases: rosbags does not read it."""
        for storage in getattr(self._reader.storage, "storages", [self._reader.storage]):
            journal = Path(f"{storage.path}-wal")
            if journal.is_file() and journal.stat().st_size:
                self.problems[
                    f"{journal}: messages not read; `sqlite3 {storage.path} 'PRAGMA "
                    "wal_checkpoint(TRUNCATE)'` writes them into the bag"
                ] += 1

    def _frame(self, number: int, messages: dict[str, Recorded]) -> Frame:
        recorded = messages["image"]
        image: PictureMessage = self.decode(recorded)
        rgb = read_pixels(to_rgb, image)
        if "camera_info" not in messages:
            raise ImageError("no readable camera_info: depth would not be metric")
        return Frame(
            number=number,
            time_ns=recorded.stamp_ns if self.matching.stamps_identify else recorded.time_ns,
            stamp_ns=recorded.stamp_ns,
            frame_id=str(image.header.frame_id),
            image=rgb,
            focal_px=require_focal_length(self.decode(messages["camera_info"]), rgb.shape),
            truth=self._truth(messages, rgb.shape),
        )

    def _truth(self, messages: dict[str, Recorded], image_shape: tuple[int, ...]) -> Truth:
        arrays: dict[str, NDArray[Any]] = {}
        for kind in TRUTH_READERS.keys() & messages.keys():
            try:
                arrays[kind] = self._read_truth(messages[kind], image_shape)
                self.truth[kind].scored += 1
            except ImageError as error:
                self.truth[kind].unusable[printable(str(error))] += 1
        return Truth(
            depth=arrays.get("depth"), normals=arrays.get("normals"), labels=arrays.get("labels")
        )

    def _read_truth(self, message: Recorded, image_shape: tuple[int, ...]) -> NDArray[Any]:
        array = read_pixels(TRUTH_READERS[message.kind], self.decode(message))
        height, width = image_shape[:2]
        if array.shape[:2] != (height, width):
            size = f"{array.shape[1]}x{array.shape[0]}"
            raise ImageError(f"{size} pixels, but its image has {width}x{height}")
        if message.kind == "depth" and self._depth_scale is not None:
            array *= np.float32(self._depth_scale / usual_unit_m(self.decode(message)))
        return array

    def _count_far_apart(self, number: int, messages: dict[str, Recorded]) -> None:
        """Count truth that belongs to an image but lies too far from it to be there."""
        for kind, pairing in self.matching.truth.items():
            if number in pairing.partners and kind not in messages:
                reason = f"recorded more than {MAX_HELD_BYTES / 1e6:.0f} MB away from its image"
                self.truth[kind].unmatched[reason] += 1

    def _candidates(self) -> dict[str, list[Connection]]:
        """Connections that could serve as each kind, judged by their first message."""
        found: dict[str, list[Connection]] = {kind: [] for kind in asdict(Topics())}
        for connection in self._reader.connections:
            if connection.msgtype == CAMERA_INFO_TYPE and connection.msgcount:
                found["camera_info"].append(connection)
            elif connection.msgtype in IMAGE_TYPES and connection.msgcount:
                kind = self._kind_of(connection)
                if kind is not None:
                    found[kind].append(connection)
        return found

    def _kind_of(self, connection: Connection) -> str | None:
        problems: Counter[str] = Counter()
        first = next(self._messages([connection], problems), None)
        if first is None:
            reasons = "; ".join(problems) or (
                f"it has no message of {printable(connection.topic)}, though its index tells of "
                f"{connection.msgcount}: damaged"
            )
            raise BagError(f"{self.path}: {reasons}")
        try:
            return kind_of(connection.topic, self.deserialise(first[2], connection.msgtype))
        except ImageError:
            return "image"

    def _messages(
        self, connections: Iterable[Connection], problems: Counter[str]
    ) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, recording time in ns, data), in recording order."""
        try:
            messages = self._reader.messages(connections=list(connections))
            while True:
                with bounded():
                    message = next(messages, None)
                if message is None:
                    return
                connection, time_ns, data = message
                if self._packed:
                    try:
                        data = unpack_message(data)
                    except UNPACKING_ERRORS as error:
                        problems[f"{printable(connection.topic)}: {_brief(error)}"] += 1
                        continue
                yield connection, time_ns, data
        except Exception as error:  # rosbags has no common base for what damage makes it raise
            problems[f"{READING_STOPPED}, the bag is damaged ({_brief(error)})"] += 1


def kind_of(topic: str, message: PictureMessage) -> str | None:
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


def require_focal_length(info: CameraInfo, image_shape: tuple[int, ...]) -> float:
    """Return a CameraInfo's fx in pixels of an image [h,w,...].

    Raises:
        ImageError: the camera is not calibrated, or the image not of what the CameraInfo describes.
    """
    focal_px = focal_length_px(info, image_shape[1], image_shape[0])
    if focal_px is None:
        raise ImageError(f"camera_info has fx = {info.k[0]:g}: the camera is not calibrated")
    return focal_px


def read_pixels(
    reader: Callable[[PictureMessage], NDArray[Any]], message: PictureMessage
) -> NDArray[Any]:
    """What a reader of `pag_ros.image.decode` makes of a message.

    Raises:
        ImageError: the reader raised this, or anything else.
    """
    try:
        return np.asarray(reader(message))
    except ImageError:
        raise
    except Exception as error:  # one broken message must not end the evaluation of a long bag
        raise ImageError(f"cannot be decoded ({_brief(error)})") from error


def printable(text: str) -> str:
    """Text from a file, fit for a terminal: control characters become escape sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stamp_of(data: bytes) -> int | None:
    """Header stamp in nanoseconds of a serialised message that begins with a std_msgs/Header."""
    if len(data) < 12 or data[1] not in (0, 1):
        return None
    order = "<" if data[1] == 1 else ">"
    seconds = int(np.frombuffer(data, f"{order}i4", 1, 4)[0])
    return seconds * 1_000_000_000 + int(np.frombuffer(data, f"{order}u4", 1, 8)[0])


TRUTH_READERS: dict[str, Callable[[PictureMessage], NDArray[Any]]] = {
    "depth": to_depth,
    "normals": to_normals,
    "labels": to_labels,
}


def _open_reader(path: Path, stack: ExitStack) -> Reader:
    from rosbags.rosbag2 import Reader

    if not path.exists():
        raise BagError(f"{path}: no such bag; give its folder, or its .mcap or .db3 file")
    if path.suffix == ".bag":
        raise BagError(f"{path}: a ROS 1 bag; convert it with `rosbags-convert`")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise BagError(f"{path}: no metadata.yaml, so not a bag; try `ros2 bag reindex {path}`")
    if path.is_dir():
        require_unpackable_files(path)
    try:
        with bounded():
            reader = stack.enter_context(Reader(path))
    except Exception as error:  # rosbags has no common base for what damage makes it raise
        raise BagError(f"{path}: not a readable bag ({_brief(error)})") from error
    require_bounded_chunks(reader)
    _require_sound_index(reader, path)
    return reader


def _require_sound_index(reader: Reader, path: Path) -> None:
    """See that the topics are what they must be: rosbags takes them from metadata.yaml unchecked.

    Raises:
        BagError: a name or a type is no text, a count no whole number, the files no list.
    """
    where = path / "metadata.yaml" if path.is_dir() else path
    storage: Any = reader.storage  # rosbags' types do not tell of its files
    files = getattr(storage, "files", [])
    if not isinstance(files, list):
        storage.files = []  # rosbags clears it when the bag is closed
        raise BagError(f"{where}: files is a {type(files).__name__}, not a list")
    for number, connection in enumerate(reader.connections):
        topic, count = connection.topic, connection.msgcount
        for what, value in (("name", topic), ("type", connection.msgtype)):
            if not isinstance(value, str):
                found = type(value).__name__
                raise BagError(f"{where}: topic {number} has a {found} as its {what}, not a text")
        if type(count) is not int or not 0 <= count <= MAX_COUNT:
            found = printable(f"{count!r:.40}")
            raise BagError(
                f"{where}: message_count of {printable(topic)} is {found}, not a whole number "
                f"from 0 to {MAX_COUNT}"
            )


def _resolve(
    found: dict[str, list[Connection]], wanted: Topics, path: Path
) -> dict[str, Connection]:
    """Choose one connection for each kind that the bag has."""
    every = {c.topic: c for connections in found.values() for c in connections}
    chosen: dict[str, Connection] = {}
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
    kind: str,
    name: str | None,
    candidates: list[Connection],
    every: dict[str, Connection],
    path: Path,
) -> Connection | None:
    option = "--" + kind.replace("_", "-") + "-topic"
    if name == NO_TOPIC:
        return None
    if name is not None:
        is_info = name in every and every[name].msgtype == CAMERA_INFO_TYPE
        if name not in every or is_info != (kind == "camera_info"):
            having = printable(", ".join(sorted(every))) or "nothing of use"
            raise BagError(f"{path}: no {kind} topic {name} with messages; the bag has {having}")
        return every[name]
    candidates = _preferred(candidates)
    if len(candidates) > 1:
        names = printable(", ".join(sorted(c.topic for c in candidates)))
        raise BagError(f"{path}: several topics could be the {kind}; choose by {option}: {names}")
    return candidates[0] if candidates else None


def _preferred(candidates: list[Connection]) -> list[Connection]:
    """Leave out compressed copies of raw topics; take only those called truth if there are any."""
    names = {c.topic for c in candidates}
    distinct = [c for c in candidates if c.topic.rpartition("/")[0] not in names]
    return [c for c in distinct if "truth" in c.topic.lower()] or distinct


def _of_same_camera(image_topic: str, candidates: list[Connection]) -> list[Connection]:
    """Return those that share the most of the image's namespace.

    By ROS convention `NS/camera_info` belongs to `NS/image...`.
    """
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
    # What OpenCV says by itself begins with a path of the machine that built it.
    lines = str(getattr(error, "err", error)).splitlines()
    return printable(lines[0][:120]) if lines else type(error).__name__
