"""Messages meet their images by stamp whatever their order, and by nothing that may be wrong."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.evaluation import matching
from pag_ros.evaluation.matching import (
    RECORDING_TIMES,
    STAMPS,
    Pairing,
    Recorded,
    find_matching,
    match,
)

MS = 10**6


def recorded(kind: str, time_ms: float, stamp_ms: float, data: bytes = b"") -> Recorded:
    return Recorded(kind, round(time_ms * MS), round(stamp_ms * MS), data)


def groups(messages: list[Recorded], tolerance_ms: float | None = None) -> list[dict[str, int]]:
    """The stamps in ms of every group."""
    tolerance = None if tolerance_ms is None else round(tolerance_ms * MS)
    matching = find_matching(messages, tolerance)
    return [{k: m.stamp_ns // MS for k, m in group.items()} for group in match(messages, matching)]


def camera(
    image_stamps: list[float], depth_stamps: list[float], depth_late_ms: float = 1.0
) -> list[Recorded]:
    """Images recorded 100 ms apart, each with its depth recorded a little later."""
    messages = []
    for i, (image, depth) in enumerate(zip(image_stamps, depth_stamps, strict=True)):
        messages.append(recorded("image", 100 * i, image))
        messages.append(recorded("depth", 100 * i + depth_late_ms, depth))
    return sorted(messages, key=lambda m: m.time_ns)


def depth_of(messages: list[Recorded], tolerance_ms: float | None = None) -> Pairing:
    tolerance = None if tolerance_ms is None else round(tolerance_ms * MS)
    return find_matching(messages, tolerance).truth["depth"]


def own(count: int) -> dict[int, int]:
    return {i: i for i in range(count)}


def test_messages_of_one_stamp_meet_in_any_order():
    assert groups(
        [
            recorded("depth", 10, 0),
            recorded("image", 20, 0),
            recorded("image", 120, 100),
            recorded("camera_info", 130, 0, b"\0\1\0\0stampnano1"),
            recorded("camera_info", 140, 100, b"\0\1\0\0stampnano2"),
            recorded("depth", 200, 100),
        ]
    ) == [
        {"image": 0, "camera_info": 0, "depth": 0},
        {"image": 100, "camera_info": 100, "depth": 100},
    ]


def test_truth_is_for_its_own_moment_only():
    assert groups(
        [
            recorded("camera_info", 0, 0),
            recorded("depth", 1000, 985),
            recorded("image", 1000, 1000),
            recorded("image", 2000, 2000),
        ]
    ) == [
        {"image": 1000, "camera_info": 0, "depth": 985},
        {"image": 2000, "camera_info": 0},
    ]


def test_an_unsorted_recording_is_matched_by_stamp():
    stamps = [300, 0, 500, 100, 400, 200]
    assert depth_of(camera(stamps, stamps)).partners == own(6)
    swapped = depth_of(camera(stamps, stamps[::-1]))
    assert swapped.partners == {i: 5 - i for i in range(6)}
    assert swapped.clock == STAMPS


@given(st.permutations(range(12)), st.permutations(range(12)))
def test_the_order_in_the_bag_does_not_matter(image_order, depth_order):
    messages = camera([100 * i for i in image_order], [100 * i + 20 for i in depth_order])
    pairing = depth_of(messages)
    assert {image_order[i]: depth_order[j] for i, j in pairing.partners.items()} == own(12)
    assert set(pairing.offsets_ns) == {20 * MS}
    for group in match(messages):
        assert group["depth"].stamp_ns - group["image"].stamp_ns == 20 * MS


@given(
    st.lists(st.integers(0, 40), max_size=25),
    st.lists(st.integers(0, 40), max_size=25),
    st.integers(1, 30),
)
def test_every_message_has_one_end_and_every_image_one_message_at_most(images, depths, period):
    messages = [recorded("image", i, period * stamp) for i, stamp in enumerate(images)]
    messages += [recorded("depth", i, period * stamp) for i, stamp in enumerate(depths)]
    matching = find_matching(messages)
    assert matching.images == len(images)
    assert len(list(match(messages, matching))) == len(images)
    if depths:
        pairing = matching.truth["depth"]
        assert len(set(pairing.partners.values())) == len(pairing.partners)
        assert len(pairing.partners) + sum(pairing.unmatched.values()) == len(depths)


@pytest.mark.parametrize("lag", [-30, 30, 49])
def test_a_constant_lag_below_half_a_period_is_bridged_and_known(lag):
    stamps = [100 * i for i in range(6)]
    pairing = depth_of(camera(stamps, [stamp + lag for stamp in stamps]))
    assert pairing.partners == own(6)
    assert set(pairing.offsets_ns) == {lag * MS}
    assert not pairing.unmatched


def test_the_tolerance_is_half_the_shorter_period_and_bounded():
    quick = [33 * i for i in range(6)]
    assert depth_of(camera(quick, [s + 200 for s in quick])).tolerance_ns == 16.5 * MS
    slow = [1000 * i for i in range(6)]
    assert depth_of(camera(slow, [s + 60 for s in slow])).unmatched == {"no image within 50 ms": 6}


def test_a_tolerance_that_was_asked_for_is_kept():
    stamps = [1000 * i for i in range(6)]
    messages = camera(stamps, [stamp + 60 for stamp in stamps])
    assert depth_of(messages).nearest_ns == 60 * MS
    assert depth_of(messages, tolerance_ms=60).partners == own(6)
    assert depth_of(messages, tolerance_ms=0).partners == {}
    assert groups(messages, tolerance_ms=0) == [{"image": stamp} for stamp in stamps]


def test_truth_of_half_the_rate_belongs_to_every_second_image():
    messages = [recorded("image", 33 * i, 33 * i) for i in range(8)]
    messages += [recorded("depth", 66 * i, 66 * i) for i in range(4)]
    pairing = depth_of(messages)
    assert pairing.partners == {0: 0, 2: 1, 4: 2, 6: 3}


def test_what_lost_its_partner_takes_no_other():
    messages = camera([100 * i for i in range(6)], [100 * i + 30 for i in range(6)])
    without_image = [m for m in messages if not (m.kind == "image" and m.stamp_ns == 200 * MS)]
    pairing = depth_of(without_image)
    assert pairing.partners == {0: 0, 1: 1, 2: 3, 3: 4, 4: 5}
    assert pairing.unmatched == {"no image within 50 ms": 1}


def test_an_image_takes_the_nearest_of_several():
    messages = [recorded("image", 100 * i, 100 * i) for i in range(3)]
    messages += [recorded("depth", t, t) for t in (0, 60, 97, 104, 160, 200)]
    pairing = depth_of(messages, tolerance_ms=10)
    assert pairing.partners == {0: 0, 1: 2, 2: 5}
    assert pairing.unmatched == {
        "no image within 10 ms": 2,
        "the image has a nearer one, or shares its stamp with other images": 1,
    }


@pytest.mark.parametrize("second_ms", [1e9, 1000])
def test_stamps_that_stand_still_do_not_pair(second_ms):
    """All zero, or of whole seconds: recording times do, as each depth is near one image only."""
    stamps = [second_ms * (100 * i // second_ms) for i in range(40)]
    pairing = depth_of(camera(stamps, stamps))
    assert pairing.partners == own(40)
    assert pairing.clock == RECORDING_TIMES


@pytest.mark.parametrize("still", ["image", "depth"])
def test_one_topic_whose_stamps_stand_still_is_enough_to_mistrust_them(still):
    running, zeros = [100 * i for i in range(6)], [0] * 6
    stamps = (zeros, running) if still == "image" else (running, zeros)
    pairing = depth_of(camera(*stamps))
    assert pairing.partners == own(6)
    assert pairing.clock == RECORDING_TIMES


@pytest.mark.parametrize("late", [45, 50, 60])
def test_recording_times_that_leave_a_doubt_do_not_pair_either(late):
    pairing = depth_of(camera([0] * 6, [0] * 6, depth_late_ms=late))
    assert pairing.partners == {}
    reason = "stamps stand still, and recording times do not tell whose it is"
    assert pairing.unmatched == {reason: 6}


def test_recording_times_that_stand_still_pair_nothing():
    messages = [recorded(kind, 7, 0) for _ in range(4) for kind in ("image", "depth")]
    assert depth_of(messages).partners == {}


def test_recording_times_that_drift_pair_nothing():
    messages = [recorded("image", 100 * i, 0) for i in range(50)]
    messages += [recorded("depth", 90 * i, 0) for i in range(50)]
    assert depth_of(messages).partners == {}


def test_recording_times_of_a_burst_pair_nothing_in_it():
    """The third depth, 8 ms late as all are, is nearer to the fourth image than to its own."""
    times = [0, 100, 200, 210, *range(300, 1300, 100)]
    messages = [recorded("image", t, 0) for t in times]
    messages += [recorded("depth", t + 8, 0) for t in times]
    pairing = depth_of(messages)
    assert pairing.partners == {i: i for i in range(len(times)) if i not in (2, 3)}


def test_a_few_shared_stamps_cost_only_their_own():
    stamps = [0, 0, 0, 300, 400, 500, 600, 700]
    pairing = depth_of(camera(stamps, stamps))
    assert pairing.partners == {i: i for i in range(3, 8)}
    assert pairing.clock == STAMPS
    assert pairing.unmatched == {"it shares its stamp with others of its topic": 3}


def test_clocks_that_differ_pair_nothing():
    stamps = [100 * i for i in range(6)]
    pairing = depth_of(camera(stamps, [stamp + 1e12 for stamp in stamps]))
    assert pairing.partners == {}
    assert pairing.nearest_ns == (1e12 - 500) * MS


def infos_of(messages: list[Recorded]) -> list[bytes]:
    return [group["camera_info"].data[12:] for group in match(messages)]


def info(time_ms: float, stamp_ms: float, content: bytes) -> Recorded:
    return recorded("camera_info", time_ms, stamp_ms, b"\0\1\0\0stampnan" + content)


def test_a_camera_info_holds_until_the_next_and_serves_those_before_the_first():
    images = [recorded("image", 100 * i, 100 * i) for i in range(6)]
    assert infos_of([*images, info(5000, 5000, b"a")]) == [b"a"] * 6
    changing = [info(0, 190, b"a"), *images, info(0, 390, b"b")]
    assert infos_of(changing) == [b"a"] * 4 + [b"b"] * 2


def test_a_camera_info_stamped_just_after_its_image_belongs_to_it():
    messages = []
    for i in range(4):
        messages += [recorded("image", 100 * i, 100 * i), info(100 * i, 100 * i + 2, b"%d" % i)]
    assert infos_of(messages) == [b"0", b"1", b"2", b"3"]


def test_camera_infos_whose_stamps_stand_still_go_by_their_recording():
    messages = []
    for i in range(4):
        messages += [info(100 * i, 0, b"%d" % (i // 2)), recorded("image", 100 * i + 1, 100 * i)]
    assert infos_of(messages) == [b"0", b"0", b"1", b"1"]


def test_a_bag_without_camera_info_has_groups_without():
    assert groups([recorded("image", 0, 0)]) == [{"image": 0}]


def test_a_group_comes_out_as_soon_as_it_is_complete():
    messages = camera([0, 100], [0, 100])
    matching = find_matching(messages)
    read = []

    def reading():
        for message in messages:
            read.append(message)
            yield message

    next(match(reading(), matching))
    assert len(read) == 2


@pytest.mark.parametrize("first", ["image", "depth"])
def test_what_lies_too_far_apart_is_given_up_and_no_more_is_held(monkeypatch, first):
    monkeypatch.setattr(matching, "MAX_HELD_BYTES", 500)
    stamps = [100 * i for i in range(20)]
    messages = sorted(camera(stamps, stamps), key=lambda m: m.kind != first)
    alive: weakref.WeakSet[Recorded] = weakref.WeakSet()

    def reading():
        for message in messages:
            copy = Recorded(message.kind, message.time_ns, message.stamp_ns, bytes(100))
            alive.add(copy)
            yield copy

    seen, complete, most_alive = [], 0, 0
    for group in match(reading(), find_matching(messages)):
        seen.append(group["image"].stamp_ns // MS)
        if "depth" in group:
            assert group["depth"].stamp_ns == group["image"].stamp_ns
            complete += 1
        most_alive = max(most_alive, len(alive))
    assert seen == stamps
    assert complete == 5
    assert most_alive <= 5 + 3  # the limit, the group that was released, and the one being read


def test_times_of_a_long_recording_are_no_trouble():
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.uniform(25, 40, 5000))
    messages = camera(list(stamps), list(stamps + rng.uniform(-3, 3, 5000)))
    assert depth_of(messages).partners == own(5000)
