"""Which messages of a bag belong together: every image, its camera_info and its ground truth.

A bag is read twice. The first reading keeps the times of all messages, so that the pairing is
decided with the whole bag in view, whatever its order; the second one brings the messages.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_TOLERANCE_NS = 50_000_000
"""Truth is for its own moment: even of a slow camera it may be stamped no further from its image,
unless the user says otherwise. Half a period at 10 Hz."""

MAX_HELD_BYTES = 256_000_000
"""Limit of the messages in memory that wait for the others of their group."""

MIN_PAIRED_BY_TIME = 0.75
"""Share of the possible pairs that recording times must settle before they are believed."""

STAMPS, RECORDING_TIMES = "stamps", "recording times"

INFO_KINDS = ("camera_info", "depth_camera_info")
"""Of the images, and of the depth where it has a camera of its own."""


@dataclass(frozen=True)
class Recorded:
    """A message as it lies in the bag.

    Attributes:
        kind: "image", one of `INFO_KINDS`, or of what it is ground truth.
        time_ns: when it was recorded.
        stamp_ns: of its header.
        data: serialised (CDR).
    """

    kind: str
    time_ns: int
    stamp_ns: int
    data: bytes


class Track:
    """The times of all messages of one kind, in recording order.

    Attributes:
        times: [n] int64 ns, when they were recorded.
        stamps: [n] int64 ns, of their headers.
        unique: [n] bool, whether no other message of the kind has the same stamp.
        stamps_identify: False where most stamps are shared, so that they stand still.
    """

    def __init__(self, times: Sequence[int], stamps: Sequence[int]) -> None:
        self.times = np.array(times, np.int64)
        self.stamps = np.array(stamps, np.int64)
        values, of_value, counts = np.unique(self.stamps, return_inverse=True, return_counts=True)
        self.unique = counts[of_value] == 1
        self.stamps_identify = 2 * values.size > self.stamps.size

    def __len__(self) -> int:
        return int(self.stamps.size)


@dataclass(frozen=True)
class Pairing:
    """How the messages of one topic of ground truth belong to the images.

    Attributes:
        messages: how many there are.
        partners: number of an image -> number of its message; each counts from 0 in recording
            order.
        clock: what they were paired by, `STAMPS` or `RECORDING_TIMES`.
        tolerance_ns: how far apart a pair may be by that clock.
        offsets_ns: of each pair, from the image to the message.
        unmatched: why messages belong to no image -> how many.
        nearest_ns: distance of the nearest unmatched message from any image; None if all match.
    """

    messages: int
    partners: Mapping[int, int]
    clock: str
    tolerance_ns: int
    offsets_ns: tuple[int, ...]
    unmatched: Mapping[str, int]
    nearest_ns: int | None


@dataclass(frozen=True)
class Calibrations:
    """Which CameraInfo of one topic belongs to which image.

    Attributes:
        contents: the different ones there are.
        of_image: index among them, for each image.
    """

    contents: tuple[Recorded, ...]
    of_image: tuple[int, ...]


@dataclass(frozen=True)
class Matching:
    """Which messages of a bag belong together.

    Attributes:
        images: how many there are.
        stamps_identify: whether the images can be told apart by their stamps.
        infos: of each of `INFO_KINDS` that there is, which one belongs to each image.
        truth: kind -> pairing, for the kinds of truth there are.
    """

    images: int
    stamps_identify: bool
    infos: Mapping[str, Calibrations]
    truth: Mapping[str, Pairing]


def find_matching(messages: Iterable[Recorded], tolerance_ns: int | None = None) -> Matching:
    """Decide which messages belong together.

    Args:
        messages: all of them, in recording order; only their times are kept.
        tolerance_ns: how far ground truth may be stamped from its image. None: half the shorter
            one of both topics' periods, at most `MAX_TOLERANCE_NS`.
    """
    times: dict[str, list[int]] = {}
    stamps: dict[str, list[int]] = {}
    contents = {kind: _Contents() for kind in INFO_KINDS}
    for message in messages:
        times.setdefault(message.kind, []).append(message.time_ns)
        stamps.setdefault(message.kind, []).append(message.stamp_ns)
        if message.kind in contents:
            contents[message.kind].enter(message)
    tracks = {kind: Track(times[kind], stamps[kind]) for kind in times}
    images = tracks.pop("image", Track([], []))
    infos = {kind: tracks.pop(kind) for kind in INFO_KINDS if kind in tracks}
    return Matching(
        images=len(images),
        stamps_identify=images.stamps_identify,
        infos={kind: contents[kind].of(images, track) for kind, track in infos.items()},
        truth={kind: pair(images, track, tolerance_ns) for kind, track in tracks.items()},
    )


def match(
    messages: Iterable[Recorded], matching: Matching | None = None
) -> Iterator[dict[str, Recorded]]:
    """Every image, in recording order, with the messages that belong to it, by their kind.

    A message that lies more than `MAX_HELD_BYTES` of others away from its image is left out.

    Args:
        messages: all of them, in recording order.
        matching: made of the same messages; None: made here, which goes through them once more.
    """
    waiting = _WaitingRoom(find_matching(messages) if matching is None else matching)
    for message in messages:
        waiting.enter(message)
        while waiting.is_complete() or waiting.is_full():
            yield waiting.release()
        waiting.make_room()
    while waiting.images:
        yield waiting.release()


class _WaitingRoom:
    """Messages in memory, until the group of the first image is complete.

    Attributes:
        images: those that have not been released.
    """

    def __init__(self, matching: Matching) -> None:
        self.images: deque[Recorded] = deque()
        self._matching = matching
        self._released = 0
        self._truth: dict[tuple[str, int], Recorded] = {}
        self._image_of = {
            (kind, message): image
            for kind, pairing in matching.truth.items()
            for image, message in pairing.partners.items()
        }
        self._seen: Counter[str] = Counter()
        self._bytes = 0

    def enter(self, message: Recorded) -> None:
        """Keep a message if a group needs it."""
        key = (message.kind, self._seen[message.kind])
        self._seen[message.kind] += 1
        if message.kind == "image":
            self.images.append(message)
        elif self._image_of.get(key, -1) >= self._released:
            self._truth[key] = message
        else:
            return
        self._bytes += len(message.data)

    def is_complete(self) -> bool:
        """Whether all that belongs to the first image has been read."""
        return bool(self.images) and all(
            number < self._seen[kind] for kind, number in self._partners().items()
        )

    def is_full(self) -> bool:
        """Whether the first image must go to make room."""
        return bool(self.images) and self._bytes > MAX_HELD_BYTES

    def release(self) -> dict[str, Recorded]:
        """The first image with what is there for it."""
        group = {"image": self.images.popleft()}
        for kind, number in self._partners().items():
            message = self._truth.pop((kind, number), None)
            if message is not None:
                group[kind] = message
        self._bytes -= sum(len(message.data) for message in group.values())
        for kind, infos in self._matching.infos.items():
            group[kind] = infos.contents[infos.of_image[self._released]]
        self._released += 1
        return group

    def make_room(self) -> None:
        """Forget the oldest truth whose images are still to come, if there is too much of it."""
        while self._bytes > MAX_HELD_BYTES and self._truth:
            self._bytes -= len(self._truth.pop(next(iter(self._truth))).data)

    def _partners(self) -> dict[str, int]:
        """Kind -> number of the truth that belongs to the first image."""
        return {
            kind: pairing.partners[self._released]
            for kind, pairing in self._matching.truth.items()
            if self._released in pairing.partners
        }


def pair(images: Track, truth: Track, tolerance_ns: int | None = None) -> Pairing:
    """Find the image of every message of one topic of truth, one to one, the nearest first.

    Stamps decide, where they tell the messages of both topics apart. Where they stand still (all
    zero, or whole seconds), recording times do, but only where these leave no doubt.

    Args:
        tolerance_ns: see `find_matching`; recording times have a tolerance of their own.
    """
    if images.stamps_identify and truth.stamps_identify:
        return _pair_by_stamps(images, truth, tolerance_ns)
    return _pair_by_recording_times(images, truth)


def _pair_by_stamps(images: Track, truth: Track, tolerance_ns: int | None) -> Pairing:
    if tolerance_ns is None:
        tolerance_ns = default_tolerance_ns(images.stamps, truth.stamps)
    of_image, of_truth = np.flatnonzero(images.unique), np.flatnonzero(truth.unique)
    pairs = _nearest_pairs(images.stamps[of_image], truth.stamps[of_truth], tolerance_ns)
    partners = {int(of_image[i]): int(of_truth[j]) for i, j in pairs}
    distances = _distances(images.stamps, truth.stamps)
    unmatched: Counter[str] = Counter()
    for j in set(range(len(truth))) - set(partners.values()):
        if not truth.unique[j]:
            unmatched["it shares its stamp with others of its topic"] += 1
        elif distances[j] > tolerance_ns:
            unmatched[f"no image within {tolerance_ns / 1e6:g} ms"] += 1
        else:
            unmatched["the image has a nearer one, or shares its stamp with other images"] += 1
    return _pairing(STAMPS, images.stamps, truth.stamps, tolerance_ns, partners, unmatched)


def _pair_by_recording_times(images: Track, truth: Track) -> Pairing:
    # A quarter of the period: the next image is then three times as far away.
    period_ns = _period_ns(images.times, truth.times) or 0
    pairs = _nearest_pairs(images.times, truth.times, period_ns // 4)
    no_other_image = _second_distances(images.times, truth.times) > period_ns // 2
    no_other_truth = _second_distances(truth.times, images.times) > period_ns // 2
    partners = {i: j for i, j in pairs if no_other_truth[i] and no_other_image[j]}
    unmatched: Counter[str] = Counter()
    if len(partners) < MIN_PAIRED_BY_TIME * min(len(images), len(truth)):
        partners = {}
    if len(partners) < len(truth):
        reason = "stamps stand still, and recording times do not tell whose it is"
        unmatched[reason] = len(truth) - len(partners)
    return _pairing(RECORDING_TIMES, images.times, truth.times, period_ns // 4, partners, unmatched)


def _pairing(
    clock: str,
    images: NDArray[np.int64],
    truth: NDArray[np.int64],
    tolerance_ns: int,
    partners: dict[int, int],
    unmatched: Counter[str],
) -> Pairing:
    left = sorted(set(range(truth.size)) - set(partners.values()))
    nearest = _distances(images, truth[left]).min(initial=np.iinfo(np.int64).max)
    return Pairing(
        messages=int(truth.size),
        partners=dict(sorted(partners.items())),
        clock=clock,
        tolerance_ns=tolerance_ns,
        offsets_ns=tuple(int(truth[j] - images[i]) for i, j in sorted(partners.items())),
        unmatched=unmatched,
        nearest_ns=int(nearest) if left and images.size else None,
    )


def default_tolerance_ns(images: NDArray[np.int64], truth: NDArray[np.int64]) -> int:
    """Half the shorter period of two topics' stamps [n] ns, at most `MAX_TOLERANCE_NS`."""
    period_ns = _period_ns(images, truth)
    return MAX_TOLERANCE_NS if period_ns is None else min(period_ns // 2, MAX_TOLERANCE_NS)


def _period_ns(*clocks: NDArray[np.int64]) -> int | None:
    """The shortest usual time between two messages; None where each topic has one at most."""
    gaps = [np.diff(np.unique(clock)) for clock in clocks]
    return min((int(np.median(gap)) for gap in gaps if gap.size), default=None)


def _nearest_pairs(
    images: NDArray[np.int64], truth: NDArray[np.int64], tolerance_ns: int
) -> list[tuple[int, int]]:
    """(i, j) one to one, the nearest first; at the same distance truth that comes later first."""
    candidates = {
        *((int(i), int(j)) for j, i in _neighbours(truth, images)),
        *((int(i), int(j)) for i, j in _neighbours(images, truth)),
    }
    offsets = sorted(
        (abs(offset), -offset, i, j)
        for i, j in candidates
        if abs(offset := int(truth[j]) - int(images[i])) <= tolerance_ns
    )
    paired_images: set[int] = set()
    paired_truth: set[int] = set()
    pairs = []
    for _, _, i, j in offsets:
        if i not in paired_images and j not in paired_truth:
            paired_images.add(i)
            paired_truth.add(j)
            pairs.append((i, j))
    return pairs


def _neighbours(
    clock: NDArray[np.int64], other: NDArray[np.int64]
) -> Iterator[tuple[np.int64, np.int64]]:
    """(i, j) for each time of `clock`: the one of `other` before it, and the one after."""
    order = np.argsort(other, kind="stable")
    places = np.searchsorted(other[order], clock)
    for shift in (-1, 0):
        there = (places + shift >= 0) & (places + shift < other.size)
        yield from zip(np.flatnonzero(there), order[places[there] + shift], strict=True)


def _distances(images: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n] ns from each of truth's times to the nearest image."""
    return _nearest_two(images, truth)[0]


def _second_distances(clock: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n] ns from each time to the second nearest of `clock`; huge if there is none."""
    return _nearest_two(clock, times)[1]


def _nearest_two(
    clock: NDArray[np.int64], times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[n] ns from each time to the nearest of `clock`, and to the second; huge if there is none."""
    ordered = np.sort(clock)
    places = np.searchsorted(ordered, times)
    distances = np.full((4, times.size), np.iinfo(np.int64).max)
    for row, shift in enumerate((-2, -1, 0, 1)):
        there = (places + shift >= 0) & (places + shift < ordered.size)
        distances[row, there] = np.abs(ordered[places[there] + shift] - times[there])
    distances.sort(axis=0)
    return distances[0], distances[1]


class _Contents:
    """The different CameraInfos of a topic, in the order in which they first came."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._firsts: list[Recorded] = []
        self._of_message: list[int] = []

    def enter(self, message: Recorded) -> None:
        """Take the topic's next message."""
        # Encapsulation, stamp, and the rest: a camera that stays as it is repeats the rest.
        content = message.data[:4] + message.data[12:]
        if content not in self._numbers:
            self._numbers[content] = len(self._firsts)
            self._firsts.append(message)
        self._of_message.append(self._numbers[content])

    def of(self, images: Track, infos: Track) -> Calibrations:
        """Which one each image has, by the times of the images and of all that were entered."""
        chosen = np.array(self._of_message)[_choose_infos(images, infos)]
        return Calibrations(tuple(self._firsts), tuple(chosen.tolist()))


def _choose_infos(images: Track, infos: Track) -> NDArray[np.intp]:
    """Of each image, the number of its camera_info: it holds until the next one.

    One that is as near as truth may be belongs to the image even if it is stamped after it.
    """
    by_stamps = images.stamps_identify and infos.stamps_identify
    of_images, of_infos = (
        (images.stamps, infos.stamps) if by_stamps else (images.times, infos.times)
    )
    order = np.argsort(of_infos, kind="stable")
    ordered = of_infos[order]
    after = np.searchsorted(ordered, of_images, side="right")
    before = np.maximum(after - 1, 0)
    after = np.minimum(after, ordered.size - 1)
    to_next = np.abs(ordered[after] - of_images)
    is_next = to_next < np.abs(of_images - ordered[before])
    is_next &= to_next <= default_tolerance_ns(of_images, of_images)
    return order[np.where(is_next, after, before)]
