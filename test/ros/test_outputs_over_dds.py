"""What a subscriber gets from the real node, over real DDS."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_client import (
    BEST_EFFORT,
    FOCAL_PX,
    RELIABLE,
    Client,
    camera_info,
    fields_of,
    image,
    picture,
    pixels_of,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Float64, String
from std_srvs.srv import SetBool

from pag_ros.image.decode import to_depth, to_labels, to_rgb
from pag_ros.replay.live_log import NODE_PARTS

DENSE = {
    "depth/image": "32FC1",
    "normals/image": "32FC3",
    "normals/color": "rgb8",
    "segmentation/mask": "mono8",
    "segmentation/confidence": "mono8",
    "segmentation/color": "rgb8",
    "computed/image": "mono8",
}
TWINS = ("depth/camera_info", "normals/camera_info", "segmentation/camera_info")


def test_every_image_gets_exactly_one_set_of_outputs_under_its_own_header(client: Client) -> None:
    topics = client.listen_to_all(
        {**dict.fromkeys(DENSE, Image), **dict.fromkeys(TWINS, CameraInfo)}
    )
    client.publish_until_used(camera_info())
    client.answers(client.stamped(image()), topics)

    sent = []
    for _ in range(5):
        message = client.stamped(image(), frame_id="left_optical")
        sent.append(message.header)
        client.answers_to_one(message, topics)

    for topic in topics:
        headers = [m.header for m in client.received[topic] if m.header.frame_id == "left_optical"]
        assert headers == sent, topic


def test_outputs_have_the_size_of_the_image_and_the_documented_encodings(client: Client) -> None:
    topics = client.listen_to_all(dict.fromkeys(DENSE, Image))
    client.publish_until_used(camera_info(96, 80))

    answers = client.answers(client.stamped(image(picture(96, 80))), topics)

    for message in answers:
        assert (message.width, message.height) == (96, 80)
    assert [m.encoding for m in answers] == list(DENSE.values())
    depth, normals, _, mask, confidence, _, computed = map(pixels_of, answers)
    assert not np.isnan(depth).any()
    assert np.isneginf(depth[depth < 0.3]).all()
    assert np.isposinf(depth[depth > 10.0]).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-4)
    assert set(np.unique(mask)) <= {0, 1, 2}
    assert confidence.min() > 0
    assert computed.max() <= 2


def test_points_lie_pixel_by_pixel_under_the_images_of_their_frame(client: Client) -> None:
    types = {"depth/image": Image, "normals/image": Image, "segmentation/mask": Image}
    topics = client.listen_to_all({**types, "points": PointCloud2})
    client.publish_until_used(camera_info())

    depth, normals, mask, message = client.answers(client.stamped(image()), topics)

    cloud = fields_of(message)
    assert message.header == depth.header
    trusted = np.isfinite(pixels_of(depth))
    assert trusted.any()
    np.testing.assert_array_equal(np.isfinite(cloud["z"]), trusted)
    np.testing.assert_array_equal(cloud["z"][trusted], pixels_of(depth)[trusted])
    np.testing.assert_array_equal(cloud["normal_z"], pixels_of(normals)[..., 2])
    np.testing.assert_array_equal(cloud["label"], pixels_of(mask))


def test_the_twin_of_camera_info_describes_the_output(client: Client) -> None:
    topics = client.listen_to_all({"depth/image": Image, "depth/camera_info": CameraInfo})
    client.publish_until_used(camera_info(64, 48))
    same = client.answers(client.stamped(image()), topics)[1]
    doubled = client.answers(client.stamped(image(picture(128, 96))), topics)[1]

    assert list(same.k) == list(camera_info(64, 48).k)
    assert (doubled.width, doubled.height) == (128, 96)
    assert doubled.k[0] == doubled.p[0] == 2 * FOCAL_PX
    assert doubled.k[2] == 64.0


@pytest.mark.parametrize("publisher", [RELIABLE, BEST_EFFORT], ids=["reliable", "best effort"])
@pytest.mark.parametrize("subscriber", [RELIABLE, BEST_EFFORT], ids=["reliable", "best effort"])
def test_publishers_and_subscribers_may_be_reliable_or_not(
    client: Client, publisher: QoSProfile, subscriber: QoSProfile
) -> None:
    client.listen("segmentation/mask", Image, subscriber)
    client.answers(client.stamped(image()), ["segmentation/mask"], publisher)


def test_depth_is_published_only_with_a_calibrated_camera(start_node, connect) -> None:
    client = connect(start_node())
    topics = client.listen_to_all(
        {"segmentation/mask": Image, "depth/image": Image, "points": PointCloud2}
    )
    for _ in range(3):
        client.answers(client.stamped(image()), ["segmentation/mask"])
    uncalibrated = camera_info()
    uncalibrated.k = [0.0] * 9
    client.publish("camera_info", uncalibrated)
    for _ in range(3):
        client.answers(client.stamped(image()), ["segmentation/mask"])
    assert client.received["depth/image"] == client.received["points"] == []

    client.publish_until_used(camera_info())
    client.answers(client.stamped(image()), topics)


def test_a_late_joiner_gets_the_labels(client: Client) -> None:
    latched = QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    topic = "segmentation/label_info_json"
    client.listen(topic, String, latched)
    client.until(lambda: bool(client.received[topic]), "the labels")
    labels = json.loads(client.received[topic][0].data)
    assert [c["name"] for c in labels["classes"]] == ["a", "b", "c"]
    assert labels["unlabelled"] == 255


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_encodings_show_the_same_picture(client: Client, encoding: str) -> None:
    client.listen("segmentation/color", Image)
    grey = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY)
    same = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    reference = client.answers(client.stamped(image(same)), ["segmentation/color"])[0]
    pixels = {
        "rgb8": same,
        "bgr8": same[..., ::-1].copy(),
        "rgba8": cv2.cvtColor(same, cv2.COLOR_RGB2RGBA),
        "bgra8": cv2.cvtColor(same, cv2.COLOR_RGB2BGRA),
        "mono8": grey,
    }[encoding]
    answer = client.answers(client.stamped(image(pixels, encoding)), ["segmentation/color"])[0]
    np.testing.assert_array_equal(pixels_of(answer), pixels_of(reference))


def test_row_padding_is_no_part_of_the_picture(client: Client) -> None:
    client.listen("segmentation/color", Image)
    reference = client.answers(client.stamped(image()), ["segmentation/color"])[0]
    padded = np.full((48, 64 * 3 + 20), 99, np.uint8)
    padded[:, : 64 * 3] = picture().reshape(48, -1)
    message = client.stamped(image())
    message.step, message.data = padded.shape[1], padded.tobytes()
    answer = client.answers(message, ["segmentation/color"])[0]
    np.testing.assert_array_equal(pixels_of(answer), pixels_of(reference))


def test_depth_in_millimetres_has_zero_for_the_unknown(client: Client) -> None:
    client.listen("depth/image", Image)
    client.publish_until_used(camera_info())
    assert client.set_parameter("depth_encoding", "16UC1") == (True, "")
    assert client.set_parameter("depth_max_m", 1.2) == (True, "")
    depth = pixels_of(client.answers(client.stamped(image()), ["depth/image"])[0])
    assert client.set_parameter("depth_encoding", "32FC1") == (True, "")
    assert client.set_parameter("depth_max_m", 0.0) == (True, "")

    assert depth.dtype == np.uint16
    assert ((depth == 0) | ((depth >= 300) & (depth <= 1200))).all()


def test_compressed_outputs_are_those_of_the_raw_ones(client: Client) -> None:
    pairs = {
        "depth/image": "depth/image/compressedDepth",
        "segmentation/mask": "segmentation/mask/compressed",
        "segmentation/color": "segmentation/color/compressed",
    }
    topics = client.listen_to_all(
        {**dict.fromkeys(pairs, Image), **dict.fromkeys(pairs.values(), CompressedImage)}
    )
    client.publish_until_used(camera_info())
    answers = dict(zip(topics, client.answers(client.stamped(image()), topics), strict=True))
    depth, mask, color = ((answers[raw], answers[packed]) for raw, packed in pairs.items())

    assert all(raw.header == packed.header for raw, packed in (depth, mask, color))
    np.testing.assert_allclose(to_depth(depth[1]), to_depth(depth[0]), rtol=1e-3)
    np.testing.assert_array_equal(to_labels(mask[1]), pixels_of(mask[0]))
    assert cv2.absdiff(to_rgb(color[1]), pixels_of(color[0])).mean() < 8


def test_outputs_of_half_the_size_are_described_by_their_camera_info(client: Client) -> None:
    types = {**dict.fromkeys(DENSE, Image), **dict.fromkeys(TWINS, CameraInfo)}
    topics = client.listen_to_all({**types, "points": PointCloud2})
    client.publish_until_used(camera_info())
    assert client.set_parameter("output_scale", 0.5) == (True, "")
    assert client.set_parameter("points_stride", 2) == (True, "")
    *answers, cloud = client.answers(client.stamped(image()), topics)
    assert client.set_parameter("output_scale", 1.0) == (True, "")
    assert client.set_parameter("points_stride", 1) == (True, "")

    assert {(m.width, m.height) for m in answers} == {(32, 24)}
    assert {m.k[0] for m in answers[len(DENSE) :]} == {FOCAL_PX / 2}
    assert (cloud.width, cloud.height) == (16, 12)
    x, z = (fields_of(cloud)[name] for name in "xz")
    trusted = np.isfinite(z)
    columns = np.broadcast_to(2 * np.arange(16), z.shape)
    expected = z * (columns - 16) / (FOCAL_PX / 2)
    np.testing.assert_allclose(x[trusted], expected[trusted], rtol=1e-4, atol=1e-6)


def test_the_figures_of_a_frame_are_published(client: Client) -> None:
    topics = client.listen_to_all(
        {
            "segmentation/mask": Image,
            "pag_perception/budget": DiagnosticArray,
            "debug/processing_time_ms": Float64,
            "debug/pipeline_latency_ms": Float64,
        }
    )
    _, budget, processing, latency = client.answers(client.stamped(image()), topics)
    values = {v.key: v.value for v in budget.status[0].values}
    assert float(values["budget"]) == 1.0
    assert values["keep"] == "48 48"
    # Its stamp, of 1970, is no time of this clock: latency counts from the arrival.
    assert 0.0 < processing.data == latency.data
    parts_ms = [float(values[f"{part}_ms"]) for part in NODE_PARTS]
    assert min(parts_ms) >= 0.0
    assert sum(parts_ms) == pytest.approx(latency.data, rel=1e-3)


def test_nothing_is_computed_while_nobody_listens(client: Client) -> None:
    def went_idle() -> bool:
        before = client.counters()
        client.publish("image", client.stamped(image()))
        after = client.counters()
        return after["idle"] > before["idle"] and after["processed"] == before["processed"]

    # At first the node may still believe in the listeners of an earlier test.
    client.until(went_idle, "a frame that is not processed")


def test_disabled_it_idles_and_enabled_it_goes_on(client: Client) -> None:
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])
    assert client.call("set_enabled", SetBool, SetBool.Request(data=False)).success
    idle = client.counters()["idle"]
    client.publish("image", client.stamped(image()))
    client.until_counted("idle", idle + 1)
    assert client.call("set_enabled", SetBool, SetBool.Request(data=True)).success
    client.answers(client.stamped(image()), ["segmentation/mask"])
