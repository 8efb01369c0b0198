"""Bags become frames; what is wrong with a bag is said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pag_ros.errors import BagError
from pag_ros.evaluation.bags import Bag, Recorded, Topics, frames, match, stamp_of

SECOND = 10**9


def error_of(path: Path, wanted: Topics | None = None) -> str:
    with pytest.raises(BagError) as caught:
        Bag(path, wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_frames_carry_picture_focal_length_and_truth(room_bag):
    found = list(frames(room_bag))
    assert len(found) == 4
    for i, frame in enumerate(found):
        assert frame.stamp_ns == SECOND + i * SECOND // 10
        assert frame.frame_id == "camera"
        assert frame.focal_px == 20.0
        assert frame.image.shape == (12, 16, 3)
        assert (frame.image == 10 * i).all()
        np.testing.assert_allclose(frame.truth.depth, i + 1.0)
        np.testing.assert_allclose(frame.truth.normals[0, 0], [0, 0, -1])
        assert (frame.truth.labels == i).all()


def test_topics_are_found_by_their_contents(room_bag):
    with Bag(room_bag) as bag:
        assert bag.topics == Topics(
            image="/camera/image",
            camera_info="/camera/camera_info",
            depth="/truth/depth",
            normals="/truth/normals",
            labels="/truth/labels",
        )
        assert bag.count == 4
        assert not bag.problems


def test_a_single_storage_file_is_a_bag_too(room_bag):
    file = next(p for p in room_bag.iterdir() if p.suffix in (".mcap", ".db3"))
    assert len(list(frames(file))) == 4


def test_truth_can_be_left_aside(room_bag):
    wanted = Topics(depth="none", normals="none", labels="none")
    assert all(f.truth.depth is None and f.truth.labels is None for f in frames(room_bag, wanted))


def test_a_bag_without_truth_has_frames(write_room_bag):
    assert [f.truth.depth for f in frames(write_room_bag(truth=False))] == [None] * 4


def test_a_bag_that_is_not_there(tmp_path):
    assert "no such bag" in error_of(tmp_path / "nothing")


def test_a_folder_that_is_no_bag(tmp_path):
    assert "metadata.yaml" in error_of(tmp_path)


def test_a_damaged_bag(tmp_path, write_room_bag):
    path = write_room_bag()
    file = next(path.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:2000])
    assert "not a readable bag" in error_of(path)
    (tmp_path / "noise.mcap").write_bytes(bytes(range(256)) * 8)
    assert "not a readable bag" in error_of(tmp_path / "noise.mcap")
    (tmp_path / "noise.db3").write_bytes(bytes(range(256)) * 8)
    assert "not a readable bag" in error_of(tmp_path / "noise.db3")
    (path / "metadata.yaml").write_text("a: [b")
    assert "not a readable bag" in error_of(path)


def test_damage_inside_the_bag_ends_reading_and_is_reported(messages, tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, (600, 800, 3), np.uint8)
    info = messages.camera_info(800, 600)
    content = [("/camera_info", 0, info)]
    content += [("/image", i, messages.image(noise, "rgb8", i)) for i in range(3)]
    path = messages.bag(tmp_path / "b", "mcap", content, compressed=True)
    file = next(path.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    file.write_bytes(data)
    with Bag(path) as bag:
        assert len(list(bag.frames())) == 1
        (problem,) = bag.problems
        assert "reading stopped" in problem


def test_damage_at_the_start_of_the_bag_is_no_lack_of_topics(messages, tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, (60, 80, 3), np.uint8)
    content = [("/image", 0, messages.image(noise, "rgb8"))]
    path = messages.bag(tmp_path / "b", "mcap", content, compressed=True)
    file = next(path.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
    file.write_bytes(data)
    assert "damaged" in error_of(path)


def test_a_bag_without_pictures(messages, tmp_path):
    info = messages.camera_info()
    path = messages.bag(tmp_path / "b", "mcap", [("/camera_info", 0, info)])
    assert "no image topic" in error_of(path)


def test_a_bag_without_camera_info(write_room_bag):
    assert "no camera_info" in error_of(write_room_bag(info=False))


def test_several_cameras_are_listed(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    path = messages.bag(
        tmp_path / "b",
        "mcap",
        [
            (f"/{side}/{name}", 0, message)
            for side in ("left", "right")
            for name, message in (
                ("image", messages.image(grey, "rgb8")),
                ("camera_info", messages.camera_info()),
            )
        ],
    )
    text = error_of(path)
    assert "--image-topic" in text
    assert "/left/image, /right/image" in text
    with Bag(path, Topics(image="/right/image")) as bag:
        assert bag.topics.camera_info == "/right/camera_info"


def test_a_raw_topic_is_preferred_to_its_compressed_copy(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    path = messages.bag(
        tmp_path / "b",
        "mcap",
        [
            ("/image", 0, messages.image(grey, "rgb8")),
            ("/image/compressed", 0, messages.compressed(grey, "rgb8; jpeg compressed bgr8")),
            ("/camera_info", 0, messages.camera_info()),
        ],
    )
    with Bag(path) as bag:
        assert bag.topics.image == "/image"
    with Bag(path, Topics(image="/image/compressed")) as bag:
        assert len(list(bag.frames())) == 1


@pytest.mark.parametrize("name", ["/nowhere", "/camera/camera_info"])
def test_a_named_topic_must_be_there_and_be_an_image(write_room_bag, name):
    text = error_of(write_room_bag(), Topics(image=name))
    assert f"no image topic {name}" in text
    assert "/camera/image" in text


def test_broken_messages_are_left_out_and_counted(messages, tmp_path, storage):
    grey = np.zeros((12, 16, 3), np.uint8)
    good = messages.image(grey, "rgb8", SECOND)
    short = messages.image(grey, "rgb8", 2 * SECOND)
    short.step = 5
    content = [
        ("/image", 1, good),
        ("/camera_info", 1, messages.camera_info()),
        ("/image", 2, short),
        ("/image", 3, b"\0\1\0\0junk that is no image message"),
        ("/image", 4, b"\0"),
        ("/image", 5, messages.image(grey, "rgb8", 5 * SECOND)),
    ]
    with Bag(messages.bag(tmp_path / "b", storage, content)) as bag:
        assert [f.stamp_ns for f in bag.frames()] == [SECOND, 5 * SECOND]
        assert bag.problems.total() == 3
        assert any("step 5" in text for text in bag.problems)


def test_truth_of_another_size_is_not_used(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    content = [
        ("/image", 1, messages.image(grey, "rgb8")),
        ("/camera_info", 1, messages.camera_info()),
        ("/depth", 1, messages.image(np.ones((6, 8), np.float32), "32FC1")),
    ]
    with Bag(messages.bag(tmp_path / "b", "mcap", content)) as bag:
        (frame,) = bag.frames()
        assert frame.truth.depth is None
        assert list(bag.problems) == ["depth of 8x6 pixels differs from the image's size"]


@pytest.mark.parametrize(("fx", "width"), [(0.0, 16), (float("nan"), 16), (20.0, 32)])
def test_a_camera_info_that_does_not_fit_costs_the_frame(messages, tmp_path, fx, width):
    grey = np.zeros((12, 16, 3), np.uint8)
    content = [
        ("/image", 1, messages.image(grey, "rgb8")),
        ("/camera_info", 1, messages.camera_info(width=width, fx=fx)),
    ]
    with Bag(messages.bag(tmp_path / "b", "mcap", content)) as bag:
        assert list(bag.frames()) == []
        assert bag.problems.total() == 1


def test_the_stamp_is_read_without_decoding(messages):
    from rosbags.typesys import Stores, get_typestore

    stamp = 123 * SECOND + 456
    message = messages.image(np.zeros((2, 2), np.uint8), "mono8", stamp)
    types = get_typestore(Stores.ROS2_JAZZY)
    assert stamp_of(bytes(types.serialize_cdr(message, message.__msgtype__))) == stamp
    big = types.serialize_cdr(message, message.__msgtype__, little_endian=False)
    assert stamp_of(bytes(big)) == stamp
    assert stamp_of(b"\0\1\0\0") is None


def recorded(kind: str, time_ms: int, stamp_ms: int) -> Recorded:
    return Recorded(kind, time_ms * 10**6, stamp_ms * 10**6, b"")


def stamps(messages: list[Recorded]) -> list[dict[str, int]]:
    return [{k: m.stamp_ns // 10**6 for k, m in group.items()} for group in match(messages)]


def test_messages_of_one_stamp_meet_in_any_order():
    assert stamps(
        [
            recorded("depth", 10, 0),
            recorded("image", 20, 0),
            recorded("image", 120, 100),
            recorded("camera_info", 130, 0),
            recorded("camera_info", 140, 100),
            recorded("depth", 200, 100),
        ]
    ) == [
        {"image": 0, "camera_info": 0, "depth": 0},
        {"image": 100, "camera_info": 100, "depth": 100},
    ]


def test_one_camera_info_serves_all_images_and_truth_only_its_own():
    assert stamps(
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


def test_an_image_waits_only_a_while():
    def messages():
        yield recorded("image", 0, 0)
        yield recorded("image", 600, 600)
        raise AssertionError("the first image should have come out by now")

    assert next(match(messages()))["image"].stamp_ns == 0
