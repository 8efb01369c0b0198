"""The process of the node: `ros2 run pag_ros perception_node`."""

from __future__ import annotations

import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import ok, try_shutdown

from pag_ros.errors import PagError
from pag_ros.ros.logger import Logger
from pag_ros.ros.memory import keep_freed_memory
from pag_ros.ros.node import PerceptionNode
from pag_ros.ros.remedies import WARN_EVERY_S
from pag_ros.ros.transport import prepare_for_images

SIGNAL_CHECK_S = 0.1
"""Waiting for messages is not interrupted by a signal, so it is done in pieces."""

END_WITHIN_S = 7.0
"""After a signal. A model that is just being loaded cannot be interrupted, and whoever sent the
signal becomes impatient: `ros2 launch` kills after ten seconds, `NodeProcess` after eight."""

STOPPED_EXIT_CODE = 130
"""What shells give for Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop.

    Args:
        arguments: the command line, --ros-args included; None takes the process's own.

    Returns:
        Exit code: 0; 2 if the command line or a parameter's start value is refused, or with
        `build_only` the model; 130 if `build_only` was stopped before its end.
    """
    keep_freed_memory()
    prepare_for_images()
    # rclpy's own handlers shut the context down from another thread, which can deadlock with a
    # callback that is just destroying its publishers. Here a signal only ends the loop of `_run`.
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # a parameter file or command line that ROS cannot read
        reason = " ".join(str(error).split())
        print(f"pag_perception: ROS arguments refused: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run()
    except PagError as error:
        get_logger("pag_perception").fatal(str(error))
        return 2
    except KeyboardInterrupt:  # before there was a node
        return 0
    finally:
        try_shutdown()


def _run() -> int:
    node = PerceptionNode()
    stopped = STOPPED_EXIT_CODE if node.build_only else 0
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.build_only:
            return 0 if node.trigger_configure() == TransitionCallbackReturn.SUCCESS else 2
        if node.autostart and node.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            node.trigger_activate()
        _spin(executor, node.get_logger())
        return 0
    except (KeyboardInterrupt, ExternalShutdownException):
        return stopped
    finally:
        # Ctrl-C under `ros2 launch` comes twice: from the terminal and from the launch process.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        impatience = threading.Timer(END_WITHIN_S, os._exit, (stopped,))
        impatience.daemon = True
        impatience.start()
        node.release()
        node.destroy_node()
        impatience.cancel()


def _spin(executor: Executor, logger: Logger) -> None:
    """Run callbacks until ROS is shut down; one that fails is reported and ends nothing."""
    while ok():
        try:
            executor.spin_once(timeout_sec=SIGNAL_CHECK_S)
        except ExternalShutdownException:
            return
        except Exception as error:
            reason = " ".join(str(error).split())
            logger.error(
                f"a callback failed, the node goes on: {type(error).__name__}: {reason}",
                throttle_duration_sec=WARN_EVERY_S,
            )


if __name__ == "__main__":
    sys.exit(main())
