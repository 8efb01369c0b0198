"""Parameters of the running node: what is accepted takes effect, what is refused says why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from ros_client import PATIENCE_S, Client, NodeProcess, image
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from pag_ros.errors import ParameterError
from pag_ros.ros.engine import recalibrate
from pag_ros.runtime import open_perception


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("budget", 1.5, "budget"),
        ("budget", "much", "budget must be a float"),
        ("budget_mode", "greedy", "deadline, fixed"),
        ("deadline_ms", -1.0, "deadline_ms"),
        ("depth_encoding", "64FC1", "32FC1, 16UC1"),
        ("model", "other", "clean the node up first"),
        ("image_transport", "compressed", "clean the node up first"),
        ("camera_height", -1.0, "camera_height"),
        ("ground_frame", "base_footprint", "clean the node up first"),
        ("autostart", False, "read-only"),
    ],
)
def test_wrong_values_are_refused_with_the_reason(
    client: Client, name: str, value: object, reason: str
) -> None:
    accepted, text = client.set_parameter(name, value)
    assert not accepted
    assert reason in text


def test_the_budget_can_be_changed_while_running(client: Client) -> None:
    topics = client.listen_to_all(
        {"computed/image": Image, "pag_perception/budget": DiagnosticArray}
    )
    for value in (0.5, 0, 1):
        assert client.set_parameter("budget_min", 0.0) == (True, "")
        assert client.set_parameter("budget", value) == (True, "")
        budget = client.answers(client.stamped(image()), topics)[1].status[0]
        assert {v.key: v.value for v in budget.values}["budget"] == f"{value}"


def test_the_scale_of_the_depth_is_in_the_diagnostics(client: Client) -> None:
    client.counters()
    status = client.diagnostic("depth scale")
    assert {v.key: v.value for v in status.values} == {"source": "network"}
    assert client.set_parameter("camera_height", 1.2) == (True, "")
    client.until(
        lambda: len(client.diagnostic("depth scale").values) > 1, "diagnostics of the scale"
    )
    values = {v.key: v.value for v in client.diagnostic("depth scale").values}
    assert values["factor"] == "1"
    assert client.set_parameter("camera_height", 0.0) == (True, "")


def test_a_ground_frame_without_tf_leaves_the_node_unconfigured(
    start_node: Callable[..., NodeProcess],
) -> None:
    if importlib.util.find_spec("tf2_msgs") is not None:
        pytest.skip("tf2_msgs is there")
    node = start_node(ground_frame="base_footprint")
    node.wait_for_log("ground_frame needs the ROS package tf2_msgs")
    assert "configure failed: ground_frame" in node.log


def test_a_wrong_start_value_ends_the_node_with_one_line(
    start_node: Callable[..., NodeProcess],
) -> None:
    node = start_node(device="abacus")
    assert node.process.wait(PATIENCE_S) == 2
    assert "device must be one of auto, tensorrt, cpu" in node.log


def test_the_network_runs_at_the_size_that_is_told(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node(network_size="96x72")
    node.wait_for_log("tiny (96x72) on openvino")
    client = connect(node)
    topics = client.listen_to_all({"computed/image": Image})
    assert client.answers(client.stamped(image()), topics)[0].width == image().width


def test_a_size_that_the_model_cannot_have_is_told_with_those_near(
    start_node: Callable[..., NodeProcess],
) -> None:
    node = start_node(network_size="100x72")
    node.wait_for_log("100x72: tiny takes sides that are multiples of 8; near are 96x72")


def test_simulated_time_that_is_no_boolean_ends_the_node_with_one_line(
    start_node: Callable[..., NodeProcess],
) -> None:
    node = start_node(use_sim_time="x")
    assert node.process.wait(PATIENCE_S) == 2
    assert "use_sim_time must be true or false, got 'x'" in node.log


def test_parameters_that_do_not_exist_are_told_with_what_may_have_been_meant(
    start_node: Callable[..., NodeProcess],
) -> None:
    node = start_node(
        **{
            "bugdet": 0.5,
            "qos_overrides./imgae.subscription.depth": 3,
            "qos_overrides./image.subscription.depth": 4,
        }
    )
    node.wait_for_log("listening to /image (Image, reliable, keep last 4)")
    assert "parameter bugdet is ignored, there is no such parameter; did you mean budget?" in (
        node.log
    )
    assert "parameter qos_overrides./imgae.subscription.depth is ignored" in node.log
    assert node.log.count("is ignored") == 2


def test_an_override_of_one_topic_leaves_the_others_as_they_are(
    start_node: Callable[..., NodeProcess], connect: Callable[[NodeProcess], Client]
) -> None:
    node = start_node(**{"qos_overrides./depth/image.publisher.reliability": "best_effort"})
    node.wait_for_log("active, listening")
    client = connect(node)

    def offered(topic: str) -> set[str]:
        publishers = client.node.get_publishers_info_by_topic(topic)
        return {publisher.qos_profile.reliability.name for publisher in publishers}

    client.until(lambda: bool(offered("/points")), "the publishers")
    assert offered("/depth/image") == {"BEST_EFFORT"}
    for topic in ("/normals/image", "/segmentation/mask", "/points", "/diagnostics"):
        assert offered(topic) == {"RELIABLE"}, topic


def test_a_malformed_request_is_answered_and_ends_nothing(client: Client) -> None:
    message = Parameter("budget", value=0.5).to_parameter_msg()
    message.value.type = 99
    for service, kind in (
        ("set_parameters", SetParameters),
        ("set_parameters_atomically", SetParametersAtomically),
    ):
        client.call(service, kind, kind.Request(parameters=[message]))
    assert client.set_parameter("budget", 1.0) == (True, "")


def test_a_palette_that_has_gone_since_does_not_stand_in_the_way(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    tmp_path: Path,
) -> None:
    palette = tmp_path / "palette.yaml"
    palette.write_text("a: [1, 2, 3]")
    node = start_node(palette=palette)
    node.wait_for_log("active, listening")
    palette.unlink()
    assert connect(node).set_parameter("deadline_ms", 50.0) == (True, "")


def test_simulated_time_without_a_clock_is_told(start_node: Callable[..., NodeProcess]) -> None:
    start_node(use_sim_time=True).wait_for_log("nobody publishes /clock yet")


@pytest.mark.parametrize(
    ("override", "value", "told"),
    [
        ("/image.subscription.reliability", "very", "activate failed: /image: "),
        ("/normals/image.publisher.depth", "lots", "configure failed: /normals/image: "),
    ],
)
def test_a_wrong_qos_override_is_told_with_its_topic_and_leaves_nothing_behind(
    start_node: Callable[..., NodeProcess],
    connect: Callable[[NodeProcess], Client],
    override: str,
    value: str,
    told: str,
) -> None:
    node = start_node(**{f"qos_overrides.{override}": value})
    node.wait_for_log(told)
    client = connect(node)
    if client.state() == "inactive":
        assert client.change_state(Transition.TRANSITION_CLEANUP)
    client.until(
        lambda: client.node.count_publishers("/depth/image") == 0, "the publishers to be gone"
    )


def test_a_decision_log_that_cannot_be_written_is_told_by_its_parameter(
    start_node: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    node = start_node(log_decisions=tmp_path)
    node.wait_for_log(f"log_decisions {tmp_path}: cannot be written (Is a directory)")


def test_a_snapshot_folder_that_cannot_be_written_is_told_by_its_parameter(client: Client) -> None:
    assert client.set_parameter("snapshot_dir", "/proc/nowhere") == (True, "")
    client.listen("segmentation/mask", Image)
    client.answers(client.stamped(image()), ["segmentation/mask"])
    answer = client.call("save_snapshot", Trigger, Trigger.Request())
    assert not answer.success
    assert answer.message.startswith("snapshot_dir /proc/nowhere: cannot be written")
    assert client.set_parameter("snapshot_dir", "") == (True, "")


def test_a_calibration_that_cannot_be_kept_says_so_and_is_used(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perception = open_perception(tiny_model, "cpu", threads=1)
    before = perception.controller

    def no_space(*arguments: object) -> Path:
        raise OSError(28, "No space left on device", "/cache")

    monkeypatch.setattr("pag_ros.ros.engine.save_table", no_space)
    with pytest.raises(ParameterError, match=r"in use, but not kept.*/cache.*No space left"):
        recalibrate(perception)
    assert perception.controller is not before
    perception.close()
