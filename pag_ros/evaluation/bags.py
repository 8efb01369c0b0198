"""ROS 2 bags (sqlite3 or mcap) as frames: picture, focal length and ground truth. Needs no ROS.

The topics are found by what they carry; name them where a bag holds several candidates. Broken
messages are left out and counted, so that one of them does not cost the evaluation of a long bag.
Names and texts from a bag are foreign: they are made `printable` before they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BagError, ImageError, ParameterError
from pag_ros.evaluation.alignment import (
    AlignedDepth,
    CameraView,
    align_depth,
    is_scaled,
    scale_depth,
    view_of,
)
from pag_ros.evaluation.matching import (
    INFO_KINDS,
    MAX_HELD_BYTES,
    Matching,
    Recorded,
    find_matching,
    match,
)
from pag_ros.evaluation.topic_choice import CAMERA_INFO_TYPE, choose_topics
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
from pag_ros.image.camera_info import Intrinsics
from pag_ros.image.decode import ENCODINGS, to_depth, to_labels, to_normals, to_rgb
from pag_ros.image.messages import PictureMessage
from pag_ros.image.rectification import lens_remark
from pag_ros.image.transforms import FrameTree
from pag_ros.manifest import NO_LABEL
from pag_ros.runtime.floor_scale import Mount

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag2 import Reader

MAX_INFO_BYTES = 1 << 16
"""Limit of a CameraInfo, which has some 400 bytes; all that differ stay in memory."""

MAX_TF_BYTES = 1 << 20
"""Of a message of transforms; one of a whole robot has some 20 000 bytes."""

DEPTH_SCALES = (1e-6, 10.0)
"""Metres that a unit of recorded depth may stand for."""

MAX_COUNT = 1 << 40
"""Limit of messages in a bag; a larger number comes from damage."""

MAX_TIME_NS = 1 << 62
"""Recording times beyond (the year 2116) come from damage."""

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
LABEL_WORDS = ("label", "mask", "segmentation", "semantic")
TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_STATIC = "tf_static"
READING_STOPPED = "reading stopped"


@dataclass(frozen=True)
class Topics:
    """Which topic carries what. None: find it; "none": the bag's topic is not to be used.

    `depth_camera_info` is of a depth camera that is not the image's.
    """

    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    normals: str | None = None
    labels: str | None = None
    depth_camera_info: str | None = None

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
        intrinsics: of the camera, in pixels of this image.
        mount: of the camera above the bag's frame on the ground; None without one.
    """

    number: int
    time_ns: int
    stamp_ns: int
    frame_id: str
    image: NDArray[np.uint8]
    intrinsics: Intrinsics
    truth: Truth
    mount: Mount | None = None

    @property
    def focal_px(self) -> float:
        """The camera's fx in pixels of this image."""
        return self.intrinsics.fx


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
        problems: what was left out besides ground truth, or is doubtful, and how often; filled by
            reading.
        images_left_out: how many images `frames` could not read.
    """

    def __init__(
        self,
        path: Path,
        wanted: Topics | None = None,
        tolerance_ns: int | None = None,
        depth_scale: float | None = None,
        rectify: bool = False,
        ground_frame: str | None = None,
    ) -> None:
        """Open a bag.

        Args:
            path: the bag's folder, or its .mcap or .db3 file.
            wanted: topics to use; found by their contents where None.
            tolerance_ns: how far truth may be stamped from its image, see `matching.find_matching`.
            depth_scale: metres per unit of the depth; None: millimetres in 16 bits, else metres.
            rectify: give pictures and truths without the lens's distortion, so that the frame's
                `intrinsics` are all there is to know of the camera. Without it they come as they
                were recorded.
            ground_frame: on the floor, z up: where cameras are above it is taken from /tf_static.

        Raises:
            BagError: the bag is missing or damaged, a named topic is not in it or of another type,
                there is no image topic, or several topics could be meant.
            ParameterError: the depth's scale is out of range.
        """
        from rosbags.typesys import Stores, get_typestore

        low, high = DEPTH_SCALES
        if depth_scale is not None and not low <= depth_scale <= high:
            raise ParameterError(
                f"the depth's scale must lie in {low:g}..{high:g} m, got {depth_scale:g}"
            )
        self.path = path
        self.problems: Counter[str] = Counter()
        self.images_left_out = 0
        self._wanted = wanted or Topics()
        self._tolerance_ns = tolerance_ns
        self._depth_scale = depth_scale
        self._rectify = rectify
        self._ground_frame = ground_frame
        # Only messages of four standard types are read, by definitions we bring along: those in
        # the bag are not trusted, nor needed (bags before Jazzy in sqlite3 have none).
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._open_files = ExitStack()
        try:
            self._reader = _open_reader(path, self._open_files)
            self._packed = take_over_messages(self._reader)
            self._connections = choose_topics(
                self._candidates(), asdict(self._wanted), path, self._first_message
            )
        except BaseException:
            self.close()
            raise
        self._depth_info_is_the_image_s = (
            self._connections.get("depth_camera_info") is self._connections["camera_info"]
        )
        if self._depth_info_is_the_image_s:
            del self._connections["depth_camera_info"]
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
    def fixed_frames(self) -> FrameTree:
        """Where the robot's cameras are; found by reading /tf_static once, if it can be needed."""
        frames = FrameTree()
        if not self._needs_fixed_frames:
            return frames
        connections = [
            c
            for c in self._reader.connections
            if c.msgtype == TF_TYPE and c.topic.rpartition("/")[2] == TF_STATIC
        ]
        problems: Counter[str] = Counter()
        for connection, _, data in self._messages(connections, problems) if connections else ():
            try:
                self._enter_transforms(data, frames)
            except ImageError as error:
                problems[f"{printable(connection.topic)}: {printable(str(error))}"] += 1
        for text, count in problems.items():
            if not text.startswith(READING_STOPPED):  # that is counted by `matching`
                self.problems[text] += count
        return frames

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
        _ = self.fixed_frames  # rosbags reads a bag from one place at a time
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
            elif kind in INFO_KINDS and len(data) > MAX_INFO_BYTES:
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

    @property
    def _needs_fixed_frames(self) -> bool:
        return (
            self._ground_frame is not None
            or self._depth_info_is_the_image_s
            or "depth_camera_info" in self._connections
        )

    def _mount(self, camera_frame: str) -> Mount | None:
        """Where a camera is above the ground frame.

        Raises:
            BagError: /tf_static does not tell, or it is not above it.
        """
        if self._ground_frame is None:
            return None
        try:
            return Mount.on_ground(self.fixed_frames.between(camera_frame, self._ground_frame))
        except ImageError as error:
            raise BagError(f"{self.path}: --ground-frame: {error}") from error

    def _enter_transforms(self, data: bytes, frames: FrameTree) -> None:
        if len(data) > MAX_TF_BYTES:
            raise ImageError(f"message of {len(data)} bytes")
        refused: ImageError | None = None
        for transform in self.deserialise(data, TF_TYPE).transforms:
            try:
                frames.add(transform)
            except ImageError as error:
                refused = error
        if refused is not None:
            raise refused

    def _frame(self, number: int, messages: dict[str, Recorded]) -> Frame:
        recorded = messages["image"]
        image: PictureMessage = self.decode(recorded)
        rgb = read_pixels(to_rgb, image)
        if "camera_info" not in messages:
            raise ImageError("no readable camera_info: depth would not be metric")
        info = self.decode(messages["camera_info"])
        view = view_of(rgb.shape, image.header.frame_id, info, self._topic("image"))
        if not self._rectify and (remark := lens_remark(info, self._topic("image"))):
            self.problems[f"{remark}; results are those of a pinhole"] += 1
        with _costing_one_message():
            if self._rectify and (undistortion := view.undistortion) is not None:
                rgb = undistortion.rectify_picture(rgb)
        return Frame(
            number=number,
            time_ns=recorded.stamp_ns if self.matching.stamps_identify else recorded.time_ns,
            stamp_ns=recorded.stamp_ns,
            frame_id=str(image.header.frame_id),
            image=rgb,
            intrinsics=view.camera,
            truth=self._truth(messages, view),
            mount=self._mount(str(image.header.frame_id)),
        )

    def _truth(self, messages: dict[str, Recorded], image: CameraView) -> Truth:
        arrays: dict[str, NDArray[Any]] = {}
        for kind in TRUTH_READERS.keys() & messages.keys():
            try:
                with _costing_one_message():
                    if kind == "depth":
                        arrays[kind] = self._depth(messages, image)
                    else:
                        arrays[kind] = self._map(messages[kind], image)
                self.truth[kind].scored += 1
            except ImageError as error:
                self.truth[kind].unusable[printable(str(error))] += 1
        return Truth(
            depth=arrays.get("depth"), normals=arrays.get("normals"), labels=arrays.get("labels")
        )

    def _map(self, message: Recorded, image: CameraView) -> NDArray[Any]:
        """Normals or labels."""
        array = read_pixels(TRUTH_READERS[message.kind], self.decode(message))
        if array.shape[:2] != image.shape:
            raise ImageError(_sizes(array.shape, image.shape))
        if self._rectify and (undistortion := image.undistortion) is not None:
            unknown = NO_LABEL if message.kind == "labels" else np.nan
            return undistortion.rectify_truth(array, unknown)
        return array

    def _depth(self, messages: dict[str, Recorded], image: CameraView) -> NDArray[np.float32]:
        """Depth as the image's camera sees it."""
        message = self.decode(messages["depth"])
        reader = TRUTH_READERS["depth"]
        if self._depth_scale is not None:
            reader = partial(reader, metres_per_unit=self._depth_scale)
        recorded = read_pixels(reader, message)
        aligned = self._aligned(recorded, str(message.header.frame_id), messages, image)
        depth = aligned.depth
        if aligned.is_rectified != self._rectify and (undistortion := image.undistortion):
            undo = undistortion.rectify_truth if self._rectify else undistortion.distort_truth
            depth = undo(depth, np.nan)
        if aligned.how:
            self.truth["depth"].notes[aligned.how] += 1
        return depth

    def _aligned(
        self,
        depth: NDArray[np.float32],
        frame_id: str,
        messages: dict[str, Recorded],
        image: CameraView,
    ) -> AlignedDepth:
        same_size = depth.shape == image.shape
        same_frame = frame_id.removeprefix("/") == image.frame_id
        source = "camera_info" if self._depth_info_is_the_image_s else "depth_camera_info"
        if same_size and (same_frame or source not in messages):
            return AlignedDepth(depth)
        if source in messages:
            try:
                info = self.decode(messages[source])
                view = view_of(depth.shape, frame_id, info, self._topic("depth"))
            except ImageError as error:
                raise ImageError(f"the depth camera's CameraInfo: {error}") from error
            return align_depth(depth, view, image, self.fixed_frames)
        if same_frame and is_scaled(depth.shape, image.shape):
            return scale_depth(depth, image.shape)
        raise ImageError(
            f"{_sizes(depth.shape, image.shape)}; the CameraInfo of its camera is missing "
            "(--depth-camera-info-topic)"
        )

    def _topic(self, kind: str) -> str:
        return str(self._connections[kind].topic)

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

    def _first_message(self, connection: Any) -> Any:
        """A topic's first message; None if it cannot be read."""
        first = next(self._messages([connection], Counter()), None)
        try:
            return first and self.deserialise(first[2], connection.msgtype)
        except ImageError:
            return None

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


TRUTH_READERS: dict[str, Callable[..., NDArray[Any]]] = {
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
        raise BagError(
            f"{path}: not a readable bag ({_brief(error)}); of one that was cut off or damaged "
            "`mcap recover`, or sqlite3's `.recover`, saves what there is"
        ) from error
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


@contextmanager
def _costing_one_message() -> Iterator[None]:
    """Whatever calibrations and transforms of anybody's making raise becomes an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # a broken calibration must not end the evaluation of a long bag
        raise ImageError(f"cannot be brought to its image ({_brief(error)})") from error


def _sizes(truth: tuple[int, ...], image: tuple[int, int]) -> str:
    return f"{truth[1]}x{truth[0]} pixels, but its image has {image[1]}x{image[0]}"


def _brief(error: Exception) -> str:
    """First line of a foreign error, or its name where it has no text."""
    if isinstance(error, MemoryError | OverflowError):
        return "it tells of more than it can hold"
    # What OpenCV says by itself begins with a path of the machine that built it.
    lines = str(getattr(error, "err", error)).splitlines()
    return printable(lines[0][:120]) if lines else type(error).__name__
