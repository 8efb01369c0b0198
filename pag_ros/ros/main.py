"""The process of the node: `ros2 run pag_ros perception_node`."""

from __future__ import annotations

import signal
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.utilities import ok, try_shutdown

from pag_ros.errors import PagError
from pag_ros.ros.memory import keep_freed_memory
from pag_ros.ros.node import PerceptionNode
from pag_ros.ros.transport import prepare_for_images


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop.

    Args:
        arguments: the command line, --ros-args included; None takes the process's own.

    Returns:
        Exit code: 0, or 2 if a parameter's start value is refused.
    """
    keep_freed_memory()
    prepare_for_images()
    rclpy.init(args=arguments)
    try:
        _run()
    except PagError as error:
        get_logger("pag_perception").fatal(str(error))
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:
        # rclpy's RCLError when a signal has taken the context from under a transition.
        if ok():
            raise
    finally:
        try_shutdown()
    return 0


def _run() -> None:
    node = PerceptionNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        executor.spin()
    finally:
        # Ctrl-C under `ros2 launch` comes twice: from the terminal and from the launch process.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        node.release()
        node.destroy_node()


if __name__ == "__main__":
    sys.exit(main())
