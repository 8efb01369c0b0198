"""Start the node: `ros2 launch pag_ros perception.launch.py image_topic:=/camera/image_raw`."""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from pag_ros.ros.parameters_file import require_section

SHARE = FindPackageShare("pag_ros")
BOOLEAN = ["true", "false"]

ARGUMENTS = (
    DeclareLaunchArgument(
        "namespace", default_value="", description="namespace of the node and its topics"
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value="image",
        description="camera pictures to listen to: sensor_msgs/Image; with "
        "image_transport:=compressed the CompressedImage on /compressed below it, or on it; with "
        "cameras, {camera} in it stands for the camera's name",
    ),
    DeclareLaunchArgument(
        "camera_info_topic",
        default_value="",
        description="sensor_msgs/CameraInfo of these pictures, without which no depth is "
        "published; empty: camera_info beside image_topic",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="names of several cameras that share the network, 'front rear': topics and "
        "outputs are under NAME/; empty: as params_file says",
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", "raw", "compressed"],
        description="how the pictures come; empty: as params_file says",
    ),
    DeclareLaunchArgument(
        "model",
        default_value="",
        description="name of a shipped model or path of an ONNX file; empty: as params_file says",
    ),
    DeclareLaunchArgument(
        "network_size",
        default_value="",
        description="input size of the network, WIDTHxHEIGHT; empty: as params_file says",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        choices=["", "auto", "tensorrt", "cpu"],
        description="where the network runs; empty: as params_file says",
    ),
    DeclareLaunchArgument(
        "build_only",
        default_value="false",
        choices=BOOLEAN,
        description="load the model, build and check its TensorRT engine, and end",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value="",
        description="file of the node's parameters; empty: config/perception.yaml of this package, "
        "a copy of which is a good start",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=BOOLEAN,
        description="configure and activate by itself; false: wait for `ros2 lifecycle set`",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=BOOLEAN,
        description="follow /clock, for simulators and `ros2 bag play --clock`",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="least severity that is logged",
    ),
    DeclareLaunchArgument(
        "use_respawn",
        default_value="false",
        choices=BOOLEAN,
        description="start the node again if it dies",
    ),
    DeclareLaunchArgument(
        "rviz", default_value="false", choices=BOOLEAN, description="show the outputs in RViz"
    ),
    DeclareLaunchArgument(
        "rviz_frame",
        default_value="camera_optical_frame",
        description="what RViz shows the points in: the frame_id of your pictures, or one that "
        "has a transform to it",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """The node and, if asked for, RViz."""
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=[
            "--display-config",
            PathJoinSubstitution([SHARE, "config", "rviz", "perception.rviz"]),
            "--fixed-frame",
            LaunchConfiguration("rviz_frame"),
        ],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=perception_node), rviz])


def perception_node(context: LaunchContext) -> list[Node]:
    """The node; arguments left empty must not overrule params_file, hence a function.

    Raises:
        ValueError: an argument that the node could not work with.
        ParameterError: params_file is no file, or has no parameters for this node.
    """

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    params_file = value("params_file")
    if params_file:
        # launch and rcl would say nothing, or a warning, and start the node on its defaults.
        # As Node itself finds its namespace, within a group that pushes one as well.
        group = context.launch_configurations.get("ros_namespace")
        namespace = make_namespace_absolute(prefix_namespace(group, value("namespace")))
        require_section(Path(params_file), prefix_namespace(namespace, "pag_perception"))
    default_parameters = PathJoinSubstitution([SHARE, "config", "perception.yaml"])
    optional = ("model", "network_size", "device", "image_transport", "cameras")
    overrides = {name: value(name) for name in optional if value(name)}
    flags = {name: value(name) == "true" for name in ("autostart", "use_sim_time", "build_only")}
    logger = ".".join(part for part in (*value("namespace").split("/"), "pag_perception") if part)
    node = Node(
        package="pag_ros",
        executable="perception_node",
        name="pag_perception",
        namespace=value("namespace"),
        parameters=[params_file or default_parameters, {**flags, **overrides}],
        remappings=[
            *remappings("image", value("image_topic"), value("cameras")),
            *remappings("camera_info", value("camera_info_topic"), value("cameras")),
        ],
        ros_arguments=["--log-level", f"{logger}:={value('log_level')}"],
        respawn=value("use_respawn") == "true",
        respawn_delay=2.0,
        output="screen",
        emulate_tty=True,
    )
    return [node]


def remappings(topic: str, target: str, cameras: str) -> list[tuple[str, str]]:
    """From the node's topic, or those of its cameras, to the camera driver's.

    Raises:
        ValueError: one topic for several cameras.
    """
    names = cameras.replace(",", " ").split()
    if target in ("", topic):
        return []  # not said
    if not names:
        return [(topic, target)]
    if "{camera}" not in target:
        raise ValueError(f"with cameras, {topic}_topic must have {{camera}} in it, got {target}")
    return [(f"{name}/{topic}", target.replace("{camera}", name)) for name in names]
