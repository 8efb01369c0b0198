"""DDS settings that images need, as defaults that the user's environment overrides.

Fast DDS hands messages to other processes through 512 KiB of shared memory, in pieces of 64 KiB.
The outputs of one 640x480 frame are 5 MB: pieces get lost, and at KEEP_LAST 1 the next frame comes
before they are repaired. Measured on two cores at 10 Hz: up to four fifths of the depth images
never arrived, reliable QoS or not; with the segment of fastdds.xml all did. Other middlewares
ignore these variables.

Sending is synchronous: `publish` returns when the outputs lie in shared memory, where a subscriber
finds them at once. Asynchronous sending takes as long, but in a thread whose time the node cannot
see: the outputs of frames that it had held to be in time came 3 to 8 ms later.
"""

from __future__ import annotations

import os
from pathlib import Path

PROFILE = Path(__file__).with_name("fastdds.xml")

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
MODE_VARIABLE = "RMW_FASTRTPS_PUBLICATION_MODE"


def prepare_for_images() -> None:
    """Choose the shared memory segment and synchronous sending; call before `rclpy.init`."""
    if not any(variable in os.environ for variable in PROFILE_VARIABLES):
        os.environ[PROFILE_VARIABLES[0]] = str(PROFILE)
    os.environ.setdefault(MODE_VARIABLE, "SYNCHRONOUS")


def explain_loss(rmw: str, reliable: bool) -> str:
    """Why images are lost between two processes, and what to do about it.

    Args:
        rmw: name of the middleware, "rmw_fastrtps_cpp".
        reliable: whether the subscription asks for lost pieces again.
    """
    if reliable:
        return "the network, or this process, is too slow for them even though it is asked again"
    if "fastrtps" not in rmw:
        return (
            "the camera offers best effort only, and nobody asks for lost pieces again; have it "
            "publish reliably"
        )
    return (
        "the camera offers best effort only, and its pictures do not fit into the shared memory of "
        "Fast DDS; have it publish reliably, or start it with "
        f"{PROFILE_VARIABLES[0]}={PROFILE}, or use RMW_IMPLEMENTATION=rmw_cyclonedds_cpp on both "
        "sides"
    )
