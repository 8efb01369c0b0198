"""Play a bag through the node, write a report: `ros2 launch pag_ros replay.launch.py bag:=DIR`."""

import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
    Shutdown,
)
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from pag_ros.evaluation.bags import Bag, Topics

PERCEPTION = str(Path(__file__).with_name("perception.launch.py"))

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="bag folder, or its .mcap or .db3 file"),
    DeclareLaunchArgument(
        "out",
        default_value="pag_ros_report",
        description="folder for report.html and report.json, made if it is missing",
    ),
    DeclareLaunchArgument("rate", default_value="1.0", description="2.0 plays twice as fast"),
    DeclareLaunchArgument("loop", default_value="1", description="how many times to play the bag"),
    DeclareLaunchArgument(
        "image_topic", default_value="", description="pictures in the bag; empty: found by type"
    ),
    DeclareLaunchArgument(
        "camera_info_topic",
        default_value="",
        description="their CameraInfo in the bag; empty: found by type",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """The node, and the player whose end is the end of everything."""
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PERCEPTION),
        # The player publishes under the node's own names, whatever they are in the bag.
        launch_arguments={"image_topic": "image", "camera_info_topic": "camera_info"}.items(),
    )
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=transport_of_bag),
            OpaqueFunction(function=player),
            GroupAction([node]),
        ]
    )


def transport_of_bag(context: LaunchContext) -> list[SetLaunchConfiguration]:
    """Have the node expect what the bag holds, unless image_transport says otherwise.

    Raises:
        BagError: the bag cannot be played; nothing is started then, and the launch fails.
    """
    topics = Topics(value(context, "image_topic") or None)
    with Bag(Path(value(context, "bag")), topics) as bag:
        compressed = bag.types["image"].endswith("CompressedImage")
    if value(context, "image_transport"):
        return []
    return [SetLaunchConfiguration("image_transport", "compressed" if compressed else "raw")]


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """`pag_ros replay` on the node that perception.launch.py starts.

    Raises:
        ValueError: there are several cameras, of which a bag is one.
    """
    cameras = value(context, "cameras").replace(",", " ").split()
    if len(cameras) > 1:
        raise ValueError(f"cameras: a bag is played as one camera, not as {len(cameras)}")
    options = {
        "--out": value(context, "out"),
        "--rate": value(context, "rate"),
        "--loop": value(context, "loop"),
        "--namespace": "/" + value(context, "namespace").strip("/"),
        "--camera": "".join(cameras),
        "--image-topic": value(context, "image_topic"),
        "--camera-info-topic": value(context, "camera_info_topic"),
        "--model": value(context, "model"),
        "--size": value(context, "network_size"),
    }
    given = [word for option in options.items() if option[1] for word in option]
    bag = value(context, "bag")
    command = [sys.executable, "-m", "pag_ros.cli", "replay", bag, "--no-node", *given]
    return [ExecuteProcess(cmd=command, name="replay", output="screen", on_exit=end_of_replay)]


def end_of_replay(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """The end of the player is that of the launch, and its failure is, too.

    Raises:
        RuntimeError: it has failed; `ros2 launch` ends with an exit code then.
    """
    if event.returncode != 0:
        raise RuntimeError(f"replay failed with exit code {event.returncode}, see above")
    return [Shutdown(reason="replay ended")]


def value(context: LaunchContext, name: str) -> str:
    """A launch argument; empty where only perception.launch.py, which comes later, declares it."""
    return LaunchConfiguration(name, default="").perform(context)
