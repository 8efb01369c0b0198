"""Bags become frames; what is wrong with a bag is said in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pag_ros.errors import BagError
from pag_ros.evaluation import bags as bags_module
from pag_ros.evaluation.bags import Bag, Topics, frames, printable, stamp_of

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


def test_a_lens_that_bends_is_told_of_unless_that_is_undone(messages, tmp_path):
    info = messages.camera_info()
    info.d[:2] = -0.6, 0.3
    pixels = np.zeros((12, 16, 3), np.uint8)
    content = [("/image", 0, messages.image(pixels, "rgb8")), ("/camera_info", 1, info)]
    path = messages.bag(tmp_path / "b", "mcap", content)
    with Bag(path) as bag:
        assert len(list(bag.frames())) == 1
        (problem,) = bag.problems
        assert problem.startswith("the lens (plumb_bob) bends straight lines by ")
    with Bag(path, rectify=True) as bag:
        assert len(list(bag.frames())) == 1
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
    info = messages.camera_info(800, 600, fx=500.0)
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
        ("/depth", 1, messages.image(np.ones((5, 8), np.float32), "32FC1")),
        ("/labels", 1, messages.image(np.ones((6, 8), np.uint8), "mono8")),
    ]
    with Bag(messages.bag(tmp_path / "b", "mcap", content)) as bag:
        (frame,) = bag.frames()
        assert frame.truth.depth is None
        assert frame.truth.labels is None
        (reason,) = bag.truth["depth"].unusable
        assert reason.startswith("8x5 pixels, but its image has 16x12; the CameraInfo")
        assert "--depth-camera-info-topic" in reason
        assert bag.truth["labels"].unusable == {"8x6 pixels, but its image has 16x12": 1}
        assert not bag.problems


def test_the_camera_info_of_a_scaled_image_is_scaled(messages, tmp_path):
    content = [
        ("/image", 1, messages.image(np.zeros((12, 16, 3), np.uint8), "rgb8")),
        ("/camera_info", 1, messages.camera_info(width=32, height=24, fx=20.0)),
    ]
    (frame,) = frames(messages.bag(tmp_path / "b", "mcap", content))
    assert frame.focal_px == 10.0


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


def test_whatever_a_decoder_raises_costs_one_frame(write_room_bag, monkeypatch):
    decode = bags_module.to_rgb

    def to_rgb(message):
        if message.header.stamp.nanosec == 100_000_000:
            raise ZeroDivisionError("odd width")
        return decode(message)

    monkeypatch.setattr(bags_module, "to_rgb", to_rgb)
    with Bag(write_room_bag()) as bag:
        assert [frame.number for frame in bag.frames()] == [0, 2, 3]
        assert bag.problems == {"image left out: cannot be decoded (odd width)": 1}
        assert bag.images_left_out == 1
        assert bag.truth["depth"].unusable == {"its image was left out": 1}
        assert bag.truth["depth"].scored == 3


def test_whatever_a_reader_of_truth_raises_costs_one_message(write_room_bag, monkeypatch):
    def to_depth(message):
        raise MemoryError

    monkeypatch.setitem(bags_module.TRUTH_READERS, "depth", to_depth)
    with Bag(write_room_bag()) as bag:
        assert len(list(bag.frames())) == 4
        assert bag.truth["depth"].unusable == {
            "cannot be decoded (it tells of more than it can hold)": 4
        }
        assert bag.truth["labels"].scored == 4


def test_every_message_of_truth_is_counted(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    near, far = np.ones((12, 16), np.float32), np.ones((5, 8), np.float32)
    content = [("/camera_info", 0, messages.camera_info())]
    for i in range(6):
        now = SECOND + i * SECOND // 10
        content.append(("/image", now, messages.image(grey, "rgb8", now)))
        stamp = now + SECOND // 10 * 40 if i == 5 else now  # one is stamped seconds later
        content.append(("/depth", now + 1, messages.image(far if i == 4 else near, "32FC1", stamp)))
    with Bag(messages.bag(tmp_path / "b", "mcap", content)) as bag:
        reading = bag.frames()
        next(reading)
        tally = bag.truth["depth"]
        assert (tally.scored, tally.unread, tally.unmatched.total()) == (1, 4, 1)
        list(reading)
        assert (tally.scored, tally.matched, tally.unread) == (4, 5, 0)
        assert tally.unmatched == {"no image within 50 ms": 1}
        assert tally.unusable.total() == 1


def test_messages_that_the_index_tells_of_and_that_are_not_there_are_a_problem(write_room_bag):
    path = write_room_bag()
    text = (path / "metadata.yaml").read_text()
    (path / "metadata.yaml").write_text(text.replace("- message_count: 4", "- message_count: 7"))
    with Bag(path) as bag:
        assert bag.matching.images == 4
        assert any(text.startswith("/camera/image: 4 messages") for text in bag.problems)


def test_messages_left_in_a_journal_are_a_problem(write_room_bag):
    path = write_room_bag(storage="sqlite3")
    next(path.glob("*.db3")).with_suffix(".db3-wal").write_bytes(b"left by a killed recorder")
    with Bag(path) as bag:
        assert bag.matching.images == 4
        assert any("wal_checkpoint" in text for text in bag.problems)


@pytest.mark.parametrize("count", [".inf", ".nan", "-1", "'4'", "[4]", "1.5", "null", "true"])
def test_a_count_that_is_none_is_refused(write_room_bag, count):
    path = write_room_bag()
    text = (path / "metadata.yaml").read_text()
    broken = text.replace("- message_count: 4", f"- message_count: {count}")
    (path / "metadata.yaml").write_text(broken)
    assert "metadata.yaml: message_count of /camera/image is" in error_of(path)


@pytest.mark.parametrize("field", ["name", "type"])
@pytest.mark.parametrize("value", ["[/a]", "{a: b}", "5", "null"])
def test_a_topic_that_is_no_text_is_refused(write_room_bag, field, value):
    path = write_room_bag()
    lines = (path / "metadata.yaml").read_text().splitlines()
    broken = [f"      {field}: {value}" if f"      {field}: " in line else line for line in lines]
    (path / "metadata.yaml").write_text("\n".join(broken))
    assert f"as its {field}, not a text" in error_of(path)


def test_files_that_are_no_list_are_refused(write_room_bag):
    path = write_room_bag()
    text = (path / "metadata.yaml").read_text()
    begin, end = text.index("\n  files:"), text.index("\n  message_count:")
    (path / "metadata.yaml").write_text(text[:begin] + "\n  files: abc" + text[end:])
    assert "metadata.yaml: files is a str, not a list" in error_of(path)


def test_names_from_a_bag_cannot_steer_the_terminal(messages, tmp_path):
    grey = np.zeros((12, 16, 3), np.uint8)
    content = [
        ("/a\x1b]0;title\x07", 0, messages.image(grey, "rgb8")),
        ("/b", 0, messages.image(grey, "rgb8")),
        ("/camera_info", 0, messages.camera_info()),
    ]
    text = error_of(messages.bag(tmp_path / "b", "mcap", content))
    assert "/a\\x1b]0;title\\x07, /b" in text
    assert printable("/über \u202e") == "/über \\u202e"
