"""A bag through the real node, over DDS, in separate processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from pag_ros.budget.outcomes import PROCESSED, UNACCOUNTED
from pag_ros.errors import BagError, NodeError, ParameterError
from pag_ros.evaluation.bags import stamp_of
from pag_ros.replay import node_process
from pag_ros.replay.live import ReplayOptions, replay, shots
from pag_ros.replay.node_process import NodeProcess
from pag_ros.replay.player import stamped


def pag_ros(*words: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "pag_ros.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
    )


def test_every_image_of_a_replay_has_an_end(write_room_bag, tiny_model, tmp_path):
    out = tmp_path / "out"
    ran = pag_ros(
        "replay",
        write_room_bag(),
        "--out",
        out,
        "--model",
        tiny_model,
        "--rate",
        0.5,
        "--loop",
        2,
        "--size",
        "96x72",
    )
    assert ran.returncode == 0, ran.stderr + (out / "node.log").read_text()
    data = json.loads((out / "report.json").read_text())
    (run,) = data["runs"]
    assert sum(run["outcomes"].values()) == len(run["frames"]) == 8
    assert run["outcomes"][UNACCOUNTED] == 0
    assert run["outcomes"][PROCESSED] > 0
    assert data["counters"]["received"] + run["outcomes"]["lost"] == 8
    assert data["deadline_ms"] == pytest.approx(200.0)
    assert data["about"]["model"] == "tiny (96x72)"
    assert data["about"]["device"].endswith(", 96x72")
    assert set(run["scores"]) >= {"depth", "normals", "segmentation"}
    assert "</html>" in (out / "report.html").read_text(encoding="utf-8")


def test_a_bad_model_is_one_line_and_no_process_is_left(write_room_bag, tmp_path):
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"no model")
    ran = pag_ros("replay", write_room_bag(), "--out", tmp_path / "out", "--model", model)
    assert ran.returncode == 2
    assert ran.stderr.startswith("pag_ros: error: ")
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_leaves_no_node_behind(write_room_bag, tiny_model, tmp_path, number):
    out = tmp_path / "out"
    bag, words = write_room_bag(), ("--model", tiny_model, "--rate", 0.01, "--out", out)
    command = [sys.executable, "-m", "pag_ros.cli", "replay", *map(str, (bag, *words))]
    replay = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A shell's background jobs ignore SIGINT, and so would we.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60.0
    log = out / "node.log"
    while not (log.is_file() and "active" in log.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    replay.send_signal(number)
    assert replay.wait(30.0) != 0
    assert not running(f"__ns:=/pag_replay_{replay.pid}")


def running(word: str) -> list[str]:
    """Process ids that have this word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0.0},
        {"loops": 0},
        {"deadline_ms": -1.0},
        {"params_file": Path("none.yaml")},
        {"camera_height": 1.0, "start_node": False},
        {"camera": "front"},
    ],
)
def test_options_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ParameterError):
        ReplayOptions(bag=tmp_path, out=tmp_path, **wrong)


def test_a_parameter_file_for_another_node_is_refused_before_one_is_started(
    write_room_bag, tiny_model, tmp_path
):
    file = tmp_path / "p.yaml"
    file.write_text("pag_perception: {ros__parameters: {budget: 0.5}}")
    options = ReplayOptions(write_room_bag(), tmp_path, model=str(tiny_model), params_file=file)
    with pytest.raises(ParameterError, match=r"/pag_perception, none for /pag_replay_"):
        replay(options)
    assert not (tmp_path / "node.log").exists()


def test_the_cameras_place_is_the_nodes_if_it_is_given(tmp_path):
    from pag_ros.replay.live import _mount_parameters

    options = ReplayOptions(bag=tmp_path, out=tmp_path)
    assert _mount_parameters(options) == {}
    options = ReplayOptions(bag=tmp_path, out=tmp_path, camera_height=1.2, camera_pitch=0.0)
    assert _mount_parameters(options) == {"camera_height": 1.2, "camera_pitch": 0.0}


def test_a_node_that_dies_is_reported_with_its_last_words(tmp_path):
    log = tmp_path / "node.log"
    with NodeProcess("/nowhere", {"no such parameter!": 1}, None, log) as node:
        node.wait(60.0)
        with pytest.raises(NodeError, match="exit code"):
            node.require_running()


def test_a_node_that_was_started_in_the_background_ends_in_order(tmp_path, monkeypatch):
    """A shell's background jobs ignore SIGINT, and so do their children."""
    monkeypatch.setattr(node_process, "STOP_SIGNALS", node_process.STOP_SIGNALS[:1])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = tmp_path / "node.log"
    try:
        with NodeProcess("/background", {"model": "no_such_model"}, None, log) as node:
            until = time.monotonic() + 60.0
            while "no_such_model" not in log.read_text() and time.monotonic() < until:
                time.sleep(0.1)
            node.require_running()
        with pytest.raises(NodeError, match="exit code 0"):
            node.require_running()
    finally:
        signal.signal(signal.SIGINT, before)


def test_images_keep_their_times_and_get_new_stamps(write_room_bag):
    from pag_ros.evaluation.bags import Bag

    with Bag(write_room_bag()) as bag:
        found = list(shots(bag, rate=2.0))
        assert [shot.at_s for shot in found] == pytest.approx([0.0, 0.05, 0.1, 0.15])
        assert all(shot.has_truth for shot in found)
        now_ns = 1_795_000_000_123_456_789
        data = stamped(found[1].image, now_ns)
        assert stamp_of(data) == now_ns
        image = bag.deserialise(data, bag.types["image"])
        assert image.header.frame_id == "camera"
        assert (np.asarray(image.data) == 10).all()


def test_a_bag_with_nothing_to_play_says_why(messages, tmp_path, tiny_model):

    junk = b"\0\1\0\0junk that is no image message"
    content = [("/image", 0, junk), ("/camera_info", 0, messages.camera_info())]
    bag = messages.bag(tmp_path / "b", "mcap", content)
    with pytest.raises(BagError, match="no image can be played"):
        replay(ReplayOptions(bag=bag, out=tmp_path, model=str(tiny_model)))


def test_truth_that_belongs_to_no_image_is_told_before_the_node_starts(
    write_room_bag, tmp_path, tiny_model, monkeypatch
):
    from pag_ros.replay import live as module

    monkeypatch.setattr(module, "_node", None)
    bag = write_room_bag(lag_ns=70_000_000_000)
    with pytest.raises(BagError, match=r"/truth/depth: not one of 4 .* --sync-tolerance 69700"):
        module.replay(ReplayOptions(bag=bag, out=tmp_path, model=str(tiny_model)))


def test_the_node_is_warmed_up_with_an_image_that_can_be_decoded(messages, tmp_path):
    from pag_ros.evaluation.bags import Bag
    from pag_ros.replay.live import _look_into

    content = [("/camera_info", 0, messages.camera_info())]
    for i in range(3):
        image = messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8", i * 10**8)
        image.step = 1 if i == 0 else image.step
        content.append(("/image", i * 10**8, image))
    with Bag(messages.bag(tmp_path / "b", "mcap", content)) as bag:
        found = _look_into(bag, rate=1.0)
    assert (found.first.number, found.pixels, found.numbers) == (1, 12 * 16, [0, 1, 2])
