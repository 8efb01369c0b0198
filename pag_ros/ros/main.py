"""The process of the node: `ros2 run pag_ros perception_node`."""

from __future__ import annotations

import signal
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import ok, try_shutdown

from pag_ros.errors import PagError
from pag_ros.ros.memory import keep_freed_memory
from pag_ros.ros.node import PerceptionNode
from pag_ros.ros.transport import prepare_for_images

SIGNAL_CHECK_S = 0.1
"""Waiting for messages is not interrupted by a signal, so it is done in pieces."""


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop.

    Args:
        arguments: the command line, --ros-args included; None takes the process's own.

    Returns:
        Exit code: 0, or 2 if a parameter's start value is refused, or with `build_only` the model.
    """
    keep_freed_memory()
    prepare_for_images()
    # rclpy's own handlers shut the context down from another thread, which can deadlock with a
    # callback that is just destroying its publishers. Here a signal only ends the loop of `_run`.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run()
    except PagError as error:
        get_logger("pag_perception").fatal(str(error))
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        try_shutdown()
    return 0


def _run() -> int:
    node = PerceptionNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.build_only:
            return 0 if node.trigger_configure() == TransitionCallbackReturn.SUCCESS else 2
        if node.autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        while ok():
            executor.spin_once(timeout_sec=SIGNAL_CHECK_S)
        return 0
    finally:
        # Ctrl-C under `ros2 launch` comes twice: from the terminal and from the launch process.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        node.release()
        node.destroy_node()


if __name__ == "__main__":
    sys.exit(main())
