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
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from pag_ros.errors import PagError
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
    """Have the node expect what the bag holds, unless image_transport says otherwise."""
    if value(context, "image_transport"):
        return []
    topics = Topics(value(context, "image_topic") or None)
    try:
        with Bag(Path(value(context, "bag")), topics) as bag:
            compressed = bag.types["image"].endswith("CompressedImage")
    except PagError:
        return []  # the player will say what is wrong with the bag
    return [SetLaunchConfiguration("image_transport", "compressed" if compressed else "raw")]


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """`pag_ros replay` on the node that perception.launch.py starts."""
    options = {
        "--out": value(context, "out"),
        "--rate": value(context, "rate"),
        "--loop": value(context, "loop"),
        "--namespace": "/" + value(context, "namespace").strip("/"),
        "--image-topic": value(context, "image_topic"),
        "--camera-info-topic": value(context, "camera_info_topic"),
        "--model": value(context, "model"),
        "--size": value(context, "network_size"),
    }
    given = [word for option in options.items() if option[1] for word in option]
    bag = value(context, "bag")
    command = [sys.executable, "-m", "pag_ros.cli", "replay", bag, "--no-node", *given]
    return [
        ExecuteProcess(
            cmd=command, name="replay", output="screen", on_exit=Shutdown(reason="replay ended")
        )
    ]


def value(context: LaunchContext, name: str) -> str:
    """A launch argument; empty where only perception.launch.py, which comes later, declares it."""
    return LaunchConfiguration(name, default="").perform(context)
