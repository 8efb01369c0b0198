"""The launch files, with the real `launch`; skipped where ROS 2 has not brought it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

pytest.importorskip("launch_ros", reason="launch_ros comes with a ROS 2 installation only")

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, Shutdown

from pag_ros.errors import BagError, ParameterError

LAUNCH = Path(__file__).parents[2] / "launch"


def test_every_argument_is_described() -> None:
    for file in ("perception.launch.py", "replay.launch.py"):
        description = _load(file).generate_launch_description()
        arguments = {a.name: a.description for a in description.get_launch_arguments()}
        assert len(arguments) >= 12, file
        assert all(len(text) > 10 for text in arguments.values()), file
        assert "no description" not in " ".join(arguments.values())


def test_the_node_comes_from_this_package_and_listens_where_it_is_told() -> None:
    node = _node(image_topic="/camera/image_raw", namespace="front")
    assert node.node_package == "pag_ros"
    assert node.node_executable == "perception_node"
    assert ("image", "/camera/image_raw") in [
        tuple(_text(part) for part in rule) for rule in node._Node__remappings
    ]


def test_cameras_have_topics_of_their_own() -> None:
    remappings = _load("perception.launch.py").remappings
    assert remappings("image", "/cam", "") == [("image", "/cam")]
    assert remappings("image", "image", "front rear") == []
    with pytest.raises(ValueError, match=r"image_topic must have \{camera\} in it, got /cam"):
        remappings("image", "/cam", "front rear")
    assert remappings("image", "/{camera}/image_raw", "front, rear") == [
        ("front/image", "/front/image_raw"),
        ("rear/image", "/rear/image_raw"),
    ]


def test_a_parameter_file_that_is_not_there_starts_nothing() -> None:
    with pytest.raises(ParameterError, match=r"/no/such\.yaml: cannot be read \(No such file"):
        _node(params_file="/no/such.yaml")


def test_a_parameter_file_for_another_node_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("pag_perception:\n  ros__parameters: {budget: 0.5}\n")
    assert _node(params_file=str(file))
    with pytest.raises(ParameterError, match="none for /front/pag_perception"):
        _node(params_file=str(file), namespace="/front/")


def test_a_parameter_file_is_for_the_node_in_the_group_that_it_is_launched_in(
    tmp_path: Path,
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("/robot/front/pag_perception:\n  ros__parameters: {budget: 0.5}\n")
    assert _node(params_file=str(file), namespace="front", ros_namespace="/robot")
    assert _node(params_file=str(file), namespace="/robot/front", ros_namespace="/other")
    with pytest.raises(ParameterError, match="none for /robot/pag_perception"):
        _node(params_file=str(file), ros_namespace="/robot")


def test_arguments_left_empty_do_not_overrule_the_parameter_file(tmp_path: Path) -> None:
    module = _load("perception.launch.py")
    params_file = tmp_path / "mine.yaml"
    params_file.write_text("/**:\n  ros__parameters: {device: cpu}\n")
    context = _context(module, params_file=str(params_file), model="other.onnx")
    overrides = _overrides(module.perception_node(context)[0])
    assert overrides["model"] == "other.onnx"
    assert "device" not in overrides


def test_replay_ends_the_launch_with_the_bag() -> None:
    module = _load("replay.launch.py")
    context = _context(module, bag="/no/such/bag", rate="2.0")
    with pytest.raises(BagError, match="no such bag"):
        module.transport_of_bag(context)
    player = module.player(context)[0]
    command = [_text(word) for word in player.cmd]
    assert command[1:5] == ["-m", "pag_ros.cli", "replay", "/no/such/bag"]
    assert command[command.index("--rate") + 1] == "2.0"
    assert "--image-topic" not in command
    assert command[command.index("--namespace") + 1] == "/"


def test_a_bag_is_played_as_the_one_camera_that_is_named() -> None:
    module = _load("replay.launch.py")
    context = _context(module, bag="b", namespace="/robot/", cameras="front")
    command = [_text(word) for word in module.player(context)[0].cmd]
    assert command[command.index("--namespace") + 1] == "/robot"
    assert command[command.index("--camera") + 1] == "front"
    with pytest.raises(ValueError, match="as one camera, not as 2"):
        module.player(_context(module, bag="b", cameras="front rear"))


def test_a_launch_fails_with_its_replay() -> None:
    module = _load("replay.launch.py")
    (end,) = module.end_of_replay(SimpleNamespace(returncode=0), LaunchContext())
    assert isinstance(end, Shutdown)
    with pytest.raises(RuntimeError, match="exit code 2"):
        module.end_of_replay(SimpleNamespace(returncode=2), LaunchContext())


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name.partition(".")[0], LAUNCH / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _context(module: ModuleType, **arguments: str) -> LaunchContext:
    """What the launch service makes of a command line."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    for action in module.ARGUMENTS:
        assert isinstance(action, DeclareLaunchArgument)
        action.execute(context)
    return context


def _node(**arguments: str) -> Any:
    module = _load("perception.launch.py")
    return module.perception_node(_context(module, **arguments))[0]


def _overrides(node: Any) -> dict[str, Any]:
    """The parameters that come after the file."""
    parameters = node._Node__parameters[-1]
    return {_text(name): yaml.safe_load(_text(value)) for name, value in parameters.items()}


def _text(value: Any) -> str:
    """A normalised substitution as text."""
    if isinstance(value, (list, tuple)):
        return "".join(_text(part) for part in value)
    return str(getattr(value, "text", value))
