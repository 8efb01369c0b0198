"""Depth of another camera is brought to the image's view, or it is said what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pag_ros.errors import BagError, ParameterError
from pag_ros.evaluation.bags import Bag, Topics, frames
from pag_ros.runtime.floor_scale import Mount

SECOND = 10**9
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
"""From a robot's axes (x forward, z up) to a camera's (z forward, y down)."""

COLOR, DEPTH = "color_optical", "depth_optical"
EDGES = [
    ("link", "depth_link", (0, 0, 0), (0, 0, 0, 1)),
    ("depth_link", DEPTH, (0, 0, 0), OPTICAL),
    ("link", "color_link", (0, -0.1, 0), (0, 0, 0, 1)),
    ("color_link", COLOR, (0, 0, 0), OPTICAL),
]
"""The colour camera is 0.1 m to the right of the depth camera: things move left by fx 0.1 / z."""


class Recording:
    """A colour camera of 16x12 pixels, fx 20, and a depth camera of 24x20, fx 20; both look ahead.

    Everything is 2 m away but a column 1 m away in the depth picture's columns 12 and 13.
    """

    def __init__(self, messages: Any) -> None:
        self.messages = messages
        depth = np.full((20, 24), 2.0, np.float32)
        depth[:, 12:14] = 1.0
        self.depth = depth
        self.frame_id = DEPTH
        self.edges = EDGES
        self.info = messages.camera_info(24, 20, frame_id=DEPTH)
        self.info_times = [0, 1, 2]
        self.info_topic = "/cam/depth/camera_info"
        self.depth_topic = "/cam/depth/image_rect_raw"
        self.color_info = messages.camera_info(frame_id=COLOR)
        self.extra: list[tuple[str, int, Any]] = []

    def write(self, path, storage="mcap"):
        m = self.messages
        grey = np.zeros((12, 16, 3), np.uint8)
        content = [("/tf_static", 0, m.transforms(edge)) for edge in self.edges] + self.extra
        for i in range(3):
            now = SECOND + i * SECOND // 10
            self.color_info.header = m.header(now, COLOR)
            content += [
                ("/cam/color/image_raw", now, m.image(grey, "rgb8", now, COLOR)),
                ("/cam/color/camera_info", now, self.color_info),
                (self.depth_topic, now + 1, m.image(self.depth, "32FC1", now, self.frame_id)),
            ]
            if i in self.info_times:
                self.info.header = m.header(now, self.info.header.frame_id)
                content.append((self.info_topic, now + 2, self.info))
        return m.bag(path / "b", storage, content)


@pytest.fixture
def recording(messages):
    return Recording(messages)


def depths_of(path, **options):
    with Bag(path, **options) as bag:
        return [frame.truth.depth for frame in bag.frames()], bag


def only_reason(path, **options):
    """Why none of three depths could be used."""
    found, bag = depths_of(path, **options)
    assert found == [None] * 3
    ((reason, count),) = bag.truth["depth"].unusable.items()
    assert count == 3
    return reason


def test_depth_is_registered_by_the_transforms_in_the_bag(recording, tmp_path, storage):
    path = recording.write(tmp_path, storage)
    found, bag = depths_of(path)
    assert bag.topics.depth_camera_info == "/cam/depth/camera_info"
    for depth in found:
        # Column c of the depth picture is 12 + (z (c - 12) / 20 - 0.1) 20 / z - 4 of the image.
        row = depth[6]
        assert depth.shape == (12, 16)
        assert row[[6, 7]].tolist() == [1.0, 1.0]
        assert row[:6].tolist() == [2.0] * 6
        assert np.isnan(row[8]), "behind the near column, which the image's camera sees past"
        assert row[9:].tolist() == [2.0] * 7
    tally = bag.truth["depth"]
    assert tally.notes == {"registered from depth_optical to color_optical": 3}
    assert "; 3 registered from depth_optical to color_optical" in tally.summary()
    assert tally.to_json()["notes"] == dict(tally.notes)
    assert not tally.unusable


@pytest.mark.parametrize("info_times", [[0], [2]])
def test_one_camera_info_serves_all_depths_whenever_it_came(recording, tmp_path, info_times):
    recording.info_times = info_times
    found, _ = depths_of(recording.write(tmp_path))
    assert all(depth[6, 6] == 1.0 for depth in found)


def test_transforms_may_come_last(recording, tmp_path, messages):
    recording.edges = EDGES[:2]
    recording.extra = [("/robot/tf_static", 5 * SECOND, messages.transforms(*EDGES[2:]))]
    found, _ = depths_of(recording.write(tmp_path))
    assert all(depth[6, 6] == 1.0 for depth in found)


def test_depth_of_the_image_s_size_but_of_another_frame_is_registered_too(
    recording, tmp_path, messages
):
    recording.depth = recording.depth[4:16, 4:20].copy()
    recording.info = messages.camera_info(frame_id=DEPTH)
    found, bag = depths_of(recording.write(tmp_path))
    assert found[0][6, [6, 7]].tolist() == [1.0, 1.0]
    assert bag.truth["depth"].notes.total() == 3


@pytest.mark.parametrize("case", ["nothing joins them", "the frame of its info", "a scaled info"])
def test_the_same_view_under_another_name_is_taken_as_it_is(recording, tmp_path, messages, case):
    recording.depth = recording.depth[4:16, 4:20].copy()
    recording.info = messages.camera_info(frame_id=DEPTH)
    if case == "nothing joins them":
        recording.edges = []
    else:
        recording.info.header.frame_id = COLOR
    if case == "a scaled info":
        recording.info = messages.camera_info(32, 24, 40.0, frame_id=COLOR)
    found, bag = depths_of(recording.write(tmp_path))
    np.testing.assert_array_equal(found[0], recording.depth)
    assert not bag.truth["depth"].notes


@pytest.mark.parametrize(("field", "value"), [(0, 21.0), (4, 21.0), (2, 9.5), (5, 7.5)])
def test_another_calibration_is_another_view_even_of_one_frame(
    recording, tmp_path, messages, field, value
):
    recording.depth, recording.frame_id = np.ones((12, 16), np.float32), "elsewhere"
    recording.info = messages.camera_info(frame_id=COLOR)
    path = recording.write(tmp_path / "alike")
    assert depths_of(path)[0][0].all()
    recording.info.k[field] = value
    assert "no transform elsewhere" in only_reason(recording.write(tmp_path / "other"))


def test_without_transforms_it_is_said_which_one_is_missing(recording, tmp_path):
    recording.edges = EDGES[:3]
    reason = only_reason(recording.write(tmp_path))
    assert "no transform depth_optical -> color_optical in /tf_static" in reason


def test_without_its_camera_info_it_is_said_which_option_names_it(recording, tmp_path):
    recording.info_times = []
    reason = only_reason(recording.write(tmp_path))
    assert reason.startswith("24x20 pixels, but its image has 16x12")
    assert "--depth-camera-info-topic" in reason


def test_a_named_camera_info_is_the_depth_s(recording, tmp_path):
    recording.info_topic = "/elsewhere/info"
    path = recording.write(tmp_path)
    assert "--depth-camera-info-topic" in only_reason(path)
    with Bag(path, Topics(depth_camera_info="/elsewhere/info")) as bag:
        assert next(bag.frames()).truth.depth[6, 6] == 1.0
    with pytest.raises(BagError, match="no depth_camera_info topic /tf_static with messages"):
        Bag(path, Topics(depth_camera_info="/tf_static"))


def test_no_camera_info_for_the_depth_leaves_it_as_it_is(recording, tmp_path, messages):
    recording.depth = recording.depth[4:16, 4:20].copy()
    recording.edges = []
    recording.info = messages.camera_info(fx=30.0, frame_id=DEPTH)
    path = recording.write(tmp_path)
    assert "--depth-camera-info-topic none" in only_reason(path)
    found, bag = depths_of(path, wanted=Topics(depth_camera_info="none"))
    np.testing.assert_array_equal(found[0], recording.depth)
    assert not bag.truth["depth"].notes


@pytest.mark.parametrize(
    ("edge", "problem"),
    [
        (("link", DEPTH, (np.nan, 0, 0), (0, 0, 0, 1)), "link -> depth_optical has a translation"),
        (("link", DEPTH, (0, 0, 0), (0, 0, 0, 0)), "link -> depth_optical has a rotation"),
    ],
)
def test_a_transform_that_is_none_is_counted_and_not_used(recording, tmp_path, edge, problem):
    recording.edges = [edge, *EDGES[2:]]
    path = recording.write(tmp_path)
    assert "no transform" in only_reason(path)
    _, bag = depths_of(path)
    ((text, count),) = bag.problems.items()
    assert text.startswith("/tf_static: transform ")
    assert problem in text
    assert count == 1


def test_transforms_that_go_in_a_circle_are_said(recording, tmp_path):
    recording.edges = [*EDGES, (DEPTH, "link", (0, 0, 0), (0, 0, 0, 1))]
    assert "go round in a circle" in only_reason(recording.write(tmp_path))


def test_a_damaged_message_of_transforms_costs_no_other(recording, tmp_path, messages, monkeypatch):
    from pag_ros.evaluation import bags

    many = [("x", f"y{i}", (0, 0, 0), (0, 0, 0, 1)) for i in range(30)]
    recording.extra = [("/tf_static", 1, messages.transforms(*many))]
    monkeypatch.setattr(bags, "MAX_TF_BYTES", 1000)
    found, bag = depths_of(recording.write(tmp_path))
    assert found[0][6, 6] == 1.0
    ((text, count),) = bag.problems.items()
    assert text.startswith("/tf_static: message of ")
    assert count == 1


def test_equal_frames_are_registered_without_a_transform_and_that_is_said(recording, tmp_path):
    recording.frame_id = COLOR
    recording.edges = []
    found, bag = depths_of(recording.write(tmp_path))
    assert found[0][6].tolist() == [2.0] * 8 + [1.0] * 2 + [2.0] * 6
    (note,) = bag.truth["depth"].notes
    assert note == "registered without a transform, both are of color_optical"


def test_whatever_a_registration_raises_costs_one_message(recording, tmp_path, monkeypatch):
    from pag_ros.evaluation import alignment

    def register_depth(*arguments):
        raise ZeroDivisionError("odd cameras")

    monkeypatch.setattr(alignment, "register_depth", register_depth)
    reason = only_reason(recording.write(tmp_path))
    assert reason == "cannot be brought to its image (odd cameras)"


def test_depth_that_falls_beside_the_image_is_said(recording, tmp_path):
    backwards = ("link", "color_link", (0, 0, 0), (0, 0, 1, 0))
    recording.edges = [*EDGES[:2], backwards, EDGES[3]]
    reason = only_reason(recording.write(tmp_path))
    assert reason == (
        "not one pixel of it falls into the image when registered from depth_optical to "
        "color_optical"
    )


def test_an_uncalibrated_depth_camera_is_said(recording, tmp_path, messages):
    recording.info = messages.camera_info(24, 20, fx=0.0, frame_id=DEPTH)
    reason = only_reason(recording.write(tmp_path))
    assert reason.startswith("the depth camera's CameraInfo: camera_info has fx = 0")


STRONG = np.array([2.0, 0, 0, 0, 0])


def test_a_lens_of_the_depth_camera_is_undone(recording, tmp_path):
    recording.depth[:] = 2.0
    recording.depth[:, 18:20] = 1.0
    straight, _ = depths_of(recording.write(tmp_path / "straight"))
    recording.info.d = STRONG
    recording.depth_topic = "/cam/depth/image_raw"
    bent, _ = depths_of(recording.write(tmp_path / "bent"))
    assert np.flatnonzero(straight[0][6] == 1.0).tolist() == [12, 13]
    # x (1 + 2 x^2): what a pinhole sees at .25 and .3 the lens shows at .281 and .354.
    assert np.flatnonzero(bent[0][6] == 1.0).tolist() == [11, 12]
    recording.depth_topic = "/cam/depth/image_rect"
    rectified, _ = depths_of(recording.write(tmp_path / "rectified"))
    np.testing.assert_array_equal(rectified[0], straight[0])


def test_a_lens_of_the_depth_camera_that_is_not_known_is_said(recording, tmp_path):
    recording.depth_topic = "/cam/depth/image_raw"
    recording.info.d, recording.info.distortion_model = STRONG, "odd"
    assert "distortion model 'odd'" in only_reason(recording.write(tmp_path))


@pytest.mark.parametrize("info", [None, (8, 6, 10.0), (32, 24, 40.0)])
@pytest.mark.parametrize("shape", [(6, 8), (24, 32)])
def test_the_image_s_view_at_another_size_is_brought_to_it_by_nearest_pixels(
    messages, tmp_path, shape, info
):
    depth = np.random.default_rng(0).uniform(1, 5, shape).astype(np.float32)
    depth[0, 0] = np.nan
    content = [
        ("/image", 1, messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8")),
        ("/camera_info", 1, messages.camera_info()),
        ("/depth/image", 1, messages.image(depth, "32FC1")),
    ]
    if info:
        content.append(("/depth/camera_info", 1, messages.camera_info(*info)))
    path = messages.bag(tmp_path / "b", "mcap", content)
    wanted = Topics(camera_info="/camera_info")
    with Bag(path, wanted) as bag:
        (frame,) = bag.frames()
        ((note, count),) = bag.truth["depth"].notes.items()
    if shape == (6, 8):
        np.testing.assert_array_equal(frame.truth.depth, depth.repeat(2, 0).repeat(2, 1))
    else:
        np.testing.assert_array_equal(frame.truth.depth, depth[1::2, 1::2])
    size = f"{shape[1]}x{shape[0]}"
    assert (note, count) == (f"brought from {size} to the image's size by nearest pixels", 1)


class Several:
    """Depths beside one another, as drivers publish them: topic -> (frame_id, CameraInfo)."""

    def __init__(self, messages: Any, **depths: tuple[str, Any]) -> None:
        ones = np.ones((12, 16), np.float32)
        self.content = [
            (
                "/cam/color/image",
                1,
                messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8", 1, COLOR),
            ),
            ("/cam/color/camera_info", 1, messages.camera_info(frame_id=COLOR)),
        ]
        for name, (frame_id, info) in depths.items():
            image = messages.image(ones, "32FC1", 1, frame_id)
            self.content.append((f"/cam/{name}/image", 1, image))
            if info is not None:
                self.content.append((f"/cam/{name}/camera_info", 1, info))


@pytest.mark.parametrize("case", ["no own info", "not its info", "equal info", "frame", "name"])
def test_of_several_depths_the_one_of_the_image_s_camera_is_taken(messages, tmp_path, case):
    other = messages.camera_info(fx=30.0, frame_id=DEPTH)
    same = messages.camera_info(frame_id=COLOR)
    depths = {
        "no own info": {"depth": (DEPTH, other), "there": (DEPTH, None)},
        "not its info": {"depth": (COLOR, same), "there": (COLOR, None)},
        "equal info": {"depth": (COLOR, other), "there": (DEPTH, same)},
        "frame": {"depth": (DEPTH, other), "there": (COLOR, other)},
        "name": {"depth": (COLOR, other), "there_aligned": (COLOR, other)},
    }[case]
    path = messages.bag(tmp_path / "b", "mcap", Several(messages, **depths).content)
    with Bag(path) as bag:
        assert bag.topics.depth.startswith("/cam/there")


def test_what_cannot_be_told_apart_is_asked_for(messages, tmp_path):
    depths = {"one": (DEPTH, None), "two": (DEPTH, None)}
    path = messages.bag(tmp_path / "b", "mcap", Several(messages, **depths).content)
    with pytest.raises(BagError, match=r"--depth-topic: /cam/one/image, /cam/two/image"):
        Bag(path)
    with Bag(path, Topics(depth="/cam/two/image")) as bag:
        assert bag.topics.depth == "/cam/two/image"


BENT = np.array([0.6, 0.2, 0, 0, 0])


def test_rectified_frames_are_those_of_a_pinhole(messages, tmp_path):
    columns = np.tile(np.arange(16, dtype=np.uint8), (12, 1))
    info = messages.camera_info()
    info.d = BENT
    content = [
        ("/image", 1, messages.image(np.repeat(10 * columns[..., None], 3, 2), "rgb8")),
        ("/camera_info", 1, info),
        ("/depth", 1, messages.image(columns.astype(np.float32) + 1, "32FC1")),
        ("/labels", 1, messages.image(columns, "mono8")),
        ("/normals", 1, messages.image(np.tile(np.float32([0, 0, -1]), (12, 16, 1)), "32FC3")),
    ]
    path = messages.bag(tmp_path / "b", "mcap", content)
    with Bag(path) as bag:
        (as_it_is,) = bag.frames()
    with Bag(path, rectify=True) as bag:
        (frame,) = bag.frames()
    assert frame.intrinsics == as_it_is.intrinsics
    assert as_it_is.truth.labels.tolist() == columns.tolist()
    assert frame.truth.labels[6, 8] == 8
    assert frame.truth.labels[0, 0] == 255, "outside of what the lens saw"
    assert np.isnan(frame.truth.depth[0, 0])
    assert np.isnan(frame.truth.normals[0, 0]).all()
    seen = frame.truth.labels < 255
    np.testing.assert_array_equal(frame.truth.depth[seen], frame.truth.labels[seen] + 1.0)
    inner = np.s_[3:9, 3:13]
    assert np.abs(frame.image[inner][..., 0] - 10.0 * frame.truth.labels[inner]).max() <= 6


def test_registered_depth_lies_in_the_picture_as_it_is_and_rectified(recording, tmp_path):
    recording.depth[:] = 2.0
    recording.depth[:, 18:20] = 1.0
    straight, _ = depths_of(recording.write(tmp_path / "straight"))
    recording.color_info.d = 2 * STRONG
    path = recording.write(tmp_path)
    rectified, _ = depths_of(path, rectify=True)
    np.testing.assert_array_equal(rectified[0], straight[0])
    as_it_is, _ = depths_of(path)
    # x (1 + 4 x^2): what a pinhole sees at .2 and .25, the lens shows at .232 and .3125.
    assert np.flatnonzero(straight[0][6] == 1.0).tolist() == [12, 13]
    assert np.flatnonzero(as_it_is[0][6] == 1.0).tolist()[:3] == [12, 13, 14]


def test_a_lens_that_is_not_known_costs_frames_only_if_they_are_to_be_rectified(messages, tmp_path):
    info = messages.camera_info()
    info.d, info.distortion_model = BENT, "odd"
    grey = np.zeros((12, 16, 3), np.uint8)
    content = [("/image", 1, messages.image(grey, "rgb8")), ("/camera_info", 1, info)]
    path = messages.bag(tmp_path / "b", "mcap", content)
    assert len(list(frames(path))) == 1
    with Bag(path, rectify=True) as bag:
        assert list(bag.frames()) == []
        (problem,) = bag.problems
        assert "distortion model 'odd'" in problem


def test_a_topic_of_rectified_pictures_is_not_rectified_again(messages, tmp_path):
    info = messages.camera_info()
    info.d = BENT
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    content = [
        ("/cam/image_rect_color", 1, messages.image(noise, "rgb8")),
        ("/cam/camera_info", 1, info),
    ]
    path = messages.bag(tmp_path / "b", "mcap", content)
    with Bag(path, rectify=True) as bag:
        np.testing.assert_array_equal(next(bag.frames()).image, noise)


def test_a_frame_has_the_camera_s_intrinsics(room_bag):
    frame = next(frames(room_bag))
    assert (frame.intrinsics.fx, frame.intrinsics.cx, frame.intrinsics.cy) == (20.0, 8.0, 6.0)
    assert frame.focal_px == frame.intrinsics.fx


@pytest.mark.parametrize(("encoding", "unit"), [("16UC1", 1 / 5000), ("32FC1", 1e-3)])
def test_depth_in_other_units(messages, tmp_path, encoding, unit):
    stored = np.full((12, 16), 10_000, np.uint16 if encoding == "16UC1" else np.float32)
    content = [
        ("/image", 1, messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8")),
        ("/camera_info", 1, messages.camera_info()),
        ("/depth", 1, messages.image(stored, encoding)),
    ]
    path = messages.bag(tmp_path / "b", "mcap", content)
    found, _ = depths_of(path, depth_scale=unit)
    np.testing.assert_allclose(found[0], 10_000 * unit, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-7, 11.0, float("nan"), float("inf")])
def test_units_that_no_camera_has_are_refused(room_bag, scale):
    with pytest.raises(ParameterError, match=r"must lie in 1e-06\.\.10 m, got"):
        Bag(room_bag, depth_scale=scale)


def mounts_of(path, ground_frame):
    with Bag(path, ground_frame=ground_frame) as bag:
        return [frame.mount for frame in bag.frames()]


def test_the_place_above_the_ground_is_that_of_the_transforms(recording, tmp_path):
    nod = (0.0, np.sin(np.radians(10.0)), 0.0, np.cos(np.radians(10.0)))
    recording.edges = [*EDGES, ("base_footprint", "link", (0.3, 0.0, 1.3), nod)]
    path = recording.write(tmp_path)
    for mount in mounts_of(path, "base_footprint"):
        assert mount.height_m == pytest.approx(1.3)
        assert mount.up == pytest.approx(Mount.pitched(1.3, 20.0).up)
    assert mounts_of(path, None) == [None] * 3


def test_a_ground_that_nothing_joins_to_the_camera_ends_the_evaluation(recording, tmp_path):
    path = recording.write(tmp_path)
    with pytest.raises(BagError, match=f"--ground-frame: no transform {COLOR} -> map in /tf_st"):
        mounts_of(path, "map")
    recording.edges = [*EDGES, ("base", "link", (0.0, 0.0, -1.0), (0, 0, 0, 1))]
    path = recording.write(tmp_path / "below")
    with pytest.raises(BagError, match="the camera is -1 m above the ground frame"):
        mounts_of(path, "base")
