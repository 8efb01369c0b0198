"""Forked processes and OpenVINO, which do not go together.

fork() copies OpenVINO's queues and locks as they are, and none of its threads. Where one of those
was in between, the child waits for it for ever: in an inference once in a hundred to a thousand
forks, and about as seldom while it compiles a model of its own (OpenVINO 2026.4). So a child is
told, and may only close what it has.
"""

from __future__ import annotations

import os

from pag_ros.errors import BackendError

_user: int | None = None  # the process that has begun to use OpenVINO


def begin_use() -> None:
    """Note that this process uses OpenVINO.

    Raises:
        BackendError: a process that it was forked from has used it before.
    """
    global _user
    if _user not in (None, os.getpid()):
        raise BackendError(
            "OpenVINO cannot run in a process forked from one that has used it: start processes "
            'with multiprocessing.get_context("spawn"), or fork before a model is opened'
        )
    _user = os.getpid()
