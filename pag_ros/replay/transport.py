"""How many pictures reach the node from a camera that knows nothing of us, and how many answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pag_ros.budget.outcomes import LOST, SUPERSEDED
from pag_ros.errors import NodeError
from pag_ros.replay.camera import PATIENCE_S
from pag_ros.replay.node_process import NodeProcess
from pag_ros.replay.second_listener import SecondListener
from pag_ros.ros.transport import MODE_VARIABLE, PROFILE_VARIABLES

RELIABILITIES = ("reliable", "best_effort")
NOBODY, LISTENS, STANDS_STILL = "nobody", "listens", "stands still"


@dataclass(frozen=True)
class Link:
    """A camera and how it is listened to.

    Attributes:
        size: WIDTHxHEIGHT of its rgb8 pictures.
        fps: pictures a second.
        offered: reliability of the camera, of `RELIABILITIES`.
        asked: by the node: `RELIABILITIES`, or "automatic".
        second: what a second subscriber, of all outputs, does meanwhile: it `LISTENS` or
            `STANDS_STILL`; `NOBODY` if there is none.
    """

    size: str
    fps: float
    offered: str
    asked: str = "automatic"
    second: str = NOBODY


@dataclass(frozen=True)
class Delivery:
    """What became of the pictures of a link.

    Attributes:
        sent: by the camera.
        received: by the node, of which `superseded` were replaced by newer ones before their turn.
        lost: by the middleware, as it says itself.
        answered: of which labels came back to a listener with default settings.
    """

    sent: int
    received: int
    superseded: int
    lost: int
    answered: int


def measure(link: Link, seconds: float, model: Path, folder: Path) -> Delivery:
    """Run a camera and a node, each a process of its own, for so long.

    Args:
        model: of the node.
        folder: for the node's log.

    Raises:
        NodeError: the node did not start, or the camera did not end.
    """
    namespace = f"/pag_transport_{os.getpid()}"
    parameters: dict[str, object] = {
        "model": model.resolve(),
        "diagnostics_period_s": 0.5,
        "escalate": False,
    }
    if link.asked != "automatic":
        parameters[f"qos_overrides.{namespace}/image.subscription.reliability"] = link.asked
    count = max(1, round(seconds * link.fps))
    command = [sys.executable, "-m", "pag_ros.replay.camera", namespace, str(count), str(link.fps)]
    command += [link.size, link.offered]
    with NodeProcess(namespace, parameters, None, folder / "node.log") as node:
        try:
            with _second(link, namespace):
                done = subprocess.run(
                    command,
                    env=_default_settings(),
                    capture_output=True,
                    text=True,
                    timeout=seconds + 2 * PATIENCE_S,
                )
        except subprocess.TimeoutExpired as error:
            raise NodeError("the camera has not ended; is the machine overloaded?") from error
        node.require_running()
        if done.returncode or not done.stdout.strip():
            raise NodeError(f"the camera failed: {(done.stderr.splitlines() or ['no word'])[-1]}")
        told = json.loads(done.stdout.splitlines()[-1])
        if "received" not in told:
            raise NodeError(f"the node has not answered: {node.last_words()}")
    return Delivery(told["sent"], told["received"], told[SUPERSEDED], told[LOST], told["answered"])


def _second(link: Link, namespace: str) -> AbstractContextManager[object]:
    if link.second == NOBODY:
        return nullcontext()
    return SecondListener(namespace, _default_settings(), link.second == STANDS_STILL)


def _default_settings() -> dict[str, str]:
    """The environment without what this package sets for its own processes."""
    ours = (*PROFILE_VARIABLES, MODE_VARIABLE)
    return {name: value for name, value in os.environ.items() if name not in ours}
