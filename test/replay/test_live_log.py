"""The books of a replay add up, and its outputs are scored against the right frames."""

from __future__ import annotations

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from pag_ros.budget.outcomes import PROCESSED, UNACCOUNTED, UNDELIVERED
from pag_ros.evaluation.bags import Bag
from pag_ros.manifest import BlockSpec, LabelClass, Manifest
from pag_ros.replay.live_log import (
    BYTES_PER_PIXEL,
    MAX_KEPT_BYTES,
    PARTS,
    LiveLog,
    evaluate,
    worth_keeping,
)

KINDS = frozenset({"depth", "labels"})
MANIFEST = Manifest(
    name="tiny",
    sha256="0" * 64,
    height=12,
    width=16,
    focal_range=(10.0, 30.0),
    depth_range_m=(0.3, 10.0),
    classes=tuple(LabelClass(f"class{i}", (i, i, i)) for i in range(4)),
    blocks=(BlockSpec("block", 12, 16, 8, 100),),
    dense_macs=1,
    heads=("depth", "segmentation"),
    license="none",
    training_data="none",
)
START = 50 * 10**9
MS = 10**6


def log_of(count: int) -> LiveLog:
    log = LiveLog(frozenset(range(count)))
    log.expected = KINDS
    for i in range(count):
        log.send(START + i * 100 * MS, i)
    return log


def test_latency_is_from_the_stamp_to_the_last_output():
    log = log_of(1)
    log.arrive("labels", START, START + 30 * MS, b"")
    log.arrive("depth", START, START + 42 * MS, b"")
    (record,) = log.records()
    assert record.latency_ms == pytest.approx(42.0)


def test_delivery_is_what_the_nodes_own_parts_leave_of_the_latency():
    log = log_of(2)
    parts = {"to_node": 1.0, "waiting": 2.0, "prepare": 3.0, "network": 20.0, "publish": 4.0}
    for stamp in log.sent:
        log.report(stamp, 0.5, late=False, parts_ms=parts)
    for kind in KINDS:
        log.arrive(kind, START, START + 42 * MS, b"")
    answered, lost = log.records()
    assert tuple(answered.parts_ms) == PARTS
    assert answered.parts_ms["delivery"] == pytest.approx(12.0)
    assert sum(answered.parts_ms.values()) == pytest.approx(answered.latency_ms)
    assert "delivery" not in lost.parts_ms


def test_a_node_that_tells_no_parts_has_none():
    log = log_of(1)
    log.report(START, 0.5, late=False, parts_ms={})
    for kind in KINDS:
        log.arrive(kind, START, START + 42 * MS, b"")
    assert log.records()[0].parts_ms == {}


def test_a_frame_with_some_outputs_only_is_not_answered():
    log = log_of(1)
    log.arrive("depth", START, START + 30 * MS, b"")
    assert log.answered() == 0
    assert log.records()[0].latency_ms is None


def test_every_image_has_an_end():
    log = log_of(10)
    for i in range(4):
        for kind in KINDS:
            log.arrive(kind, START + i * 100 * MS, START + i * 100 * MS + 1, b"")
    counters = {"received": 9, "superseded": 2, "skipped": 1, "bad": 1, "idle": 0, "processed": 5}
    outcomes = log.outcomes(counters)
    assert outcomes == {
        PROCESSED: 4,
        UNDELIVERED: 1,
        "superseded": 2,
        "skipped": 1,
        "abandoned": 0,
        "bad": 1,
        "idle": 0,
        "lost": 1,
        UNACCOUNTED: 0,
    }
    assert sum(outcomes.values()) == 10


def test_an_image_that_the_node_forgot_is_unaccounted_for():
    counters = {"received": 3, "processed": 0, "superseded": 1, "skipped": 1}
    assert log_of(3).outcomes(counters)[UNACCOUNTED] == 1


def test_without_counters_what_is_not_answered_is_unaccounted_for():
    assert log_of(3).outcomes({})[UNACCOUNTED] == 3


def test_outputs_of_unknown_stamps_are_ignored():
    log = log_of(1)
    log.arrive("depth", 77, 78, b"")
    log.report(77, 0.5, late=False, parts_ms={})
    assert log.answered() == 0


def test_outputs_are_kept_as_far_as_memory_allows():
    numbers = list(range(100, 125))
    assert worth_keeping(numbers, pixels=1) == frozenset(numbers)
    some = worth_keeping(numbers, pixels=MAX_KEPT_BYTES // BYTES_PER_PIXEL // 5)
    assert some == {100, 106, 112, 118, 124}
    assert len(worth_keeping(numbers, pixels=MAX_KEPT_BYTES)) == 1


def test_only_what_is_worth_keeping_is_kept_and_once():
    log = LiveLog(frozenset({7}))
    for at, number in ((1, 7), (2, 8), (3, 7)):
        log.send(at, number)
        log.arrive("depth", at, at, b"x")
    assert [bool(entry.data) for entry in log.sent.values()] == [True, False, False]


def answered_log(messages, count):
    """All of `count` images answered by the depths and labels of the room bag, but one label."""
    types = get_typestore(Stores.ROS2_JAZZY)
    log = log_of(count)
    for i in range(count):
        stamp = START + i * 100 * MS
        depth = messages.image(np.full((12, 16), i + 1.0, np.float32), "32FC1")
        labels = messages.image(np.full((12, 16), 0 if i == 3 else i, np.uint8), "mono8")
        for kind, message in (("depth", depth), ("labels", labels)):
            data = bytes(types.serialize_cdr(message, message.__msgtype__))
            log.arrive(kind, stamp, stamp + 20 * MS, data)
        log.report(stamp, 0.25 * i, late=False, parts_ms={})
    return log


def evaluated(log, path):
    about = {"model": "tiny", "device": "none"}
    with Bag(path) as bag:
        return evaluate(log, bag, MANIFEST, {"received": 4}, about, {}, deadline_ms=10.0)


def test_outputs_are_scored_against_the_truth_of_their_frame(messages, write_room_bag):
    evaluation = evaluated(answered_log(messages, 4), write_room_bag())
    run = evaluation.runs[0]
    assert run.scores.tasks["depth"]["AbsRel"] == pytest.approx(0.0)
    assert run.scores.tasks["segmentation"]["pixel_accuracy"] == pytest.approx(0.75)
    assert "normals" not in run.scores.tasks
    assert run.late(10.0) == 4
    assert run.densities.tolist() == [0.0, 0.25, 0.5, 0.75]
    assert len(evaluation.samples) == 4
    assert set(evaluation.samples[0].rows["ground truth"]) == {"depth", "normals", "labels"}


def test_frames_are_told_apart_where_stamps_stand_still(messages, write_room_bag):
    log = answered_log(messages, 4)
    del log.sent[START]
    run = evaluated(log, write_room_bag(stamp_ns=0)).runs[0]
    assert run.scores.tasks["depth"]["AbsRel"] == pytest.approx(0.0)
    assert run.scores.tasks["segmentation"]["pixel_accuracy"] == pytest.approx(2 / 3)


def test_truth_without_an_output_is_counted(messages, write_room_bag):
    depth, normals, labels = evaluated(answered_log(messages, 3), write_room_bag()).truth
    reason = "no output to be compared with"
    assert (depth.scored, depth.unscored) == (3, {reason: 1})
    assert (normals.scored, normals.unscored) == (0, {reason: 4})
    assert (labels.scored, labels.unscored) == (3, {reason: 1})
    assert depth.failure() is None
    assert normals.failure() is None, "the bag is not to blame, and nobody asked for it"


def test_a_broken_output_is_a_problem_not_a_crash(write_room_bag):
    log = log_of(4)
    log.arrive("depth", START, START + 1, b"\0\1\0\0rubbish")
    with Bag(write_room_bag()) as bag:
        evaluation = evaluate(log, bag, MANIFEST, {}, {}, {}, deadline_ms=10.0)
    assert any("depth/image" in problem for problem in evaluation.problems)
