"""The demo's bag is there, and without ROS the demo says what to install."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pag_ros.cli import main
from pag_ros.cli.demo import demo_bag
from pag_ros.evaluation.bags import Bag

MAX_BYTES = 8_000_000


def test_the_bag_holds_real_rooms_and_a_walk_with_truth():
    with Bag(demo_bag()) as bag:
        frames = list(bag.frames())
        assert not bag.problems
        assert len(frames) == bag.count
    rooms = [f for f in frames if f.frame_id == "oak_left_camera_optical_frame"]
    walk = [f for f in frames if f.frame_id == "walk_camera_optical_frame"]
    assert len(rooms) == 48
    assert len(rooms) + len(walk) == len(frames)
    assert len({f.image.tobytes() for f in rooms}) == 12
    assert all(f.focal_px == pytest.approx(451.03, abs=0.01) for f in rooms)
    assert all(0.25 < np.isfinite(f.truth.depth).mean() < 0.75 for f in rooms)
    assert all(np.nanmax(f.truth.depth) <= 8.0 for f in rooms)
    exact = [f for f in walk if f.truth.normals is not None and f.truth.labels is not None]
    assert len(exact) >= 20
    assert all(np.isfinite(f.truth.depth).mean() > 0.9 for f in exact)


def test_images_come_at_ten_a_second():
    with Bag(demo_bag()) as bag:
        times = [m.time_ns for m in bag.recorded() if m.kind == "image"]
    assert set(np.diff(times)) == {100_000_000}


def test_the_bag_is_small():
    assert sum(file.stat().st_size for file in demo_bag().iterdir()) <= MAX_BYTES


@pytest.mark.parametrize("command", [["demo"], ["replay", "somewhere", "--out", "out"]])
def test_without_ros_one_line_says_what_to_install(monkeypatch, capsys, command):
    monkeypatch.setitem(sys.modules, "pag_ros.replay.live", None)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "pip install" in error
