"""The real node with a transformer that `pag_ros adopt` has made: outputs, budget, deadline."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")
pytest.importorskip("torch", reason="needs torch: pip install '.[train]'")

from diagnostic_msgs.msg import DiagnosticArray
from ros_client import Client, NodeProcess, camera_info, fields_of, image, picture, pixels_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from small_transformer import BLOCKS, HEIGHT, PATCHES, SIZE, WIDTH, small_transformer

from pag_ros.budget import LatencyTable, StageLatency, save_table
from pag_ros.cli import main
from pag_ros.lab.transformers.tiny import MAX_DEPTH_M, save_network
from pag_ros.ros.budget_report import BudgetReport, read_report
from pag_ros.runtime import open_session
from pag_ros.runtime.calibration import latency_key

FOCAL_PX = 90.0
BUDGET = "pag_perception/budget"
OUTPUTS = {
    "depth/image": Image,
    "normals/image": Image,
    "computed/image": Image,
    "points": PointCloud2,
    "depth/camera_info": CameraInfo,
    "normals/camera_info": CameraInfo,
    BUDGET: DiagnosticArray,
}


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that the command makes of a small checkpoint with random weights."""
    folder = tmp_path_factory.mktemp("adopted")
    save_network(small_transformer(), folder / "small.safetensors")
    size = ["--size", f"{WIDTH}x{HEIGHT}", "--max-depth", f"{MAX_DEPTH_M:g}"]
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:  # nobody needs the graph for GPUs here
        patch.setattr("pag_ros.lab.transformers.adopt.export_standard", lambda *_: None)
        assert main(["adopt", str(folder / "small.safetensors"), "--out", str(out), *size]) == 0
    return out / "small.onnx"


StartNode = Callable[..., NodeProcess]
Connect = Callable[[NodeProcess], Client]


def send_picture(client: Client, topics: list[str]) -> dict[str, Any]:
    """Publish a picture of the network's size, and what comes back by topic."""
    message = client.stamped(image(picture(*SIZE)))
    return dict(zip(topics, client.answers(message, topics), strict=True))


def report_of(message: DiagnosticArray) -> BudgetReport:
    report = read_report({v.key: v.value for v in message.status[0].values})
    assert report is not None
    return report


def test_depth_normals_points_and_what_was_computed_are_published(
    adopted: Path, start_node: StartNode, connect: Connect
) -> None:
    client = connect(start_node(model=adopted, budget=0.5))
    topics = client.listen_to_all(OUTPUTS)
    client.publish_until_used(camera_info(*SIZE, fx=FOCAL_PX))
    got = send_picture(client, topics)

    keep = (PATCHES // 2,) * BLOCKS
    with closing(open_session(adopted, "cpu", 1)) as session:
        wanted = session.infer(picture(*SIZE), FOCAL_PX, keep)
        assert wanted.depth.std() > 0.1
        np.testing.assert_allclose(pixels_of(got["depth/image"]), wanted.depth, rtol=1e-4)
        np.testing.assert_allclose(pixels_of(got["normals/image"]), wanted.normals, atol=1e-3)
        np.testing.assert_array_equal(pixels_of(got["computed/image"]), wanted.computed)
    report = report_of(got[BUDGET])
    assert (report.budget, report.density, report.keep) == (0.5, 0.5, keep)
    assert pixels_of(got["computed/image"]).mean() == BLOCKS / 2
    cloud = fields_of(got["points"])
    assert set(cloud) == {"x", "y", "z", "rgb", "normal_x", "normal_y", "normal_z"}
    np.testing.assert_array_equal(cloud["z"], pixels_of(got["depth/image"]))
    assert {message.header.frame_id for message in got.values()} == {"camera_optical"}


def test_what_it_does_not_know_has_no_topics(
    adopted: Path, start_node: StartNode, connect: Connect
) -> None:
    node = start_node(model=adopted)
    node.wait_for_log("active, listening")
    client = connect(node)
    client.listen("computed/image", Image)
    send_picture(client, ["computed/image"])
    named = {name for name, _ in client.node.get_topic_names_and_types()}
    assert {"/depth/image", "/depth/camera_info", "/normals/camera_info", "/points"} <= named
    assert not [name for name in named if name.startswith(("/segmentation", "/boundary"))]
    assert "labels" not in node.log


def test_a_frame_that_begins_late_is_trimmed_between_its_blocks(
    adopted: Path,
    start_node: StartNode,
    connect: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its table the planned half takes 1.5 s, of which 1.4 are left when the picture comes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    block = ((0, PATCHES // 2, PATCHES), (0.0, 0.5 / BLOCKS, 1.0 / BLOCKS))
    with closing(open_session(adopted, "cpu", 1)) as session:
        gated = [StageLatency(name, *block) for name in session.stages[1:-1]]
        stages = StageLatency("encoder", (0,), (0.0,)), *gated, StageLatency("heads", (0,), (1.0,))
        save_table(LatencyTable(stages), latency_key(session))
    half = {"budget_mode": "deadline", "budget": 0.5, "budget_min": 0.5}
    client = connect(start_node(model=adopted, deadline_ms=1400.0, **half))
    topics = client.listen_to_all({"depth/image": Image, BUDGET: DiagnosticArray})
    client.publish_until_used(camera_info(*SIZE, fx=FOCAL_PX))
    got = send_picture(client, topics)

    report = report_of(got[BUDGET])
    assert report.keep_planned == (PATCHES // 2,) * BLOCKS
    assert 0 < report.keep[0] < PATCHES // 2
    assert report.density < report.budget == 0.5
    assert not report.late
    assert np.isfinite(pixels_of(got["depth/image"])).all()
    assert client.counters()["late"] == 0
    status = client.diagnostic("deadline")
    durations = {v.key for v in status.values}
    assert {"encoder_ms", "block0_ms", f"block{BLOCKS - 1}_ms", "heads_ms"} <= durations
    engine = {v.key: v.value for v in client.diagnostic("engine").values}
    assert (engine["input"], engine["gated_blocks"]) == (f"{WIDTH}x{HEIGHT}", str(BLOCKS))


def test_an_impossible_deadline_halves_the_rate_and_not_the_resolution(
    adopted: Path, start_node: StartNode, connect: Connect
) -> None:
    node = start_node(model=adopted, budget_mode="deadline", deadline_ms=5000.0)
    client = connect(node)
    client.listen("computed/image", Image)
    send_picture(client, ["computed/image"])
    assert client.set_parameter("deadline_ms", 0.01)[0]
    client.counters()

    def degraded() -> bool:
        client.publish("image", client.stamped(image(picture(*SIZE))))
        return "degraded" in client.diagnostic("budget").message

    client.until(degraded, "the node to say that it is degraded")
    assert "every second frame" in node.log
    assert "half the input resolution" not in node.log


def test_another_size_is_refused_with_the_way_to_have_it(
    adopted: Path, start_node: StartNode
) -> None:
    node = start_node(model=adopted, network_size="224x168")
    node.wait_for_log("configure failed: small runs at 112x84 only")
    assert "`pag_ros adopt` make models of other sizes (--size)" in node.log
