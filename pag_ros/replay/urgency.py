"""Lets a measuring instrument come before the load that it applies, where the user may."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_REALTIME_PRIORITY = 1
"""The lowest there is: enough to come before every ordinary thread."""
_NICE = -10


@contextmanager
def urgent() -> Iterator[str]:
    """Have this thread, and those that it starts meanwhile, come before ordinary ones.

    Processes that are started meanwhile come before others, too: start node and load outside.

    Yields:
        By which right, for people: "SCHED_RR 1", "nice -10", or "no priority" for a user who has
        neither.
    """
    right, come_down = _rise()
    try:
        yield right
    finally:
        come_down()


def urgency_here() -> str:
    """What `urgent` can do for this user."""
    with urgent() as right:
        return right


def _rise() -> tuple[str, Callable[[], None]]:
    """The right that was used, and what undoes it."""
    policy, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_REALTIME_PRIORITY))
        return f"SCHED_RR {_REALTIME_PRIORITY}", lambda: os.sched_setscheduler(0, policy, parameter)
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    higher = min(niceness, _NICE)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, higher)
        return f"nice {higher}", lambda: os.setpriority(os.PRIO_PROCESS, 0, niceness)
    return "no priority", lambda: None
