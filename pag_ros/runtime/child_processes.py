"""Processes that a command starts to share its work."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes that are started within never see Ctrl-C, which a terminal sends to them as well.

    Each would answer it with a traceback of its own; the process that started them ends them.
    """
    # Otherwise the tracker starts with the first process, and then lets the signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def with_these_modules() -> dict[str, str]:
    """An environment in which Python finds the modules that this process finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def end_with_parent(descriptor: int) -> None:
    """End this process group once the parent has gone, even if it was killed.

    Args:
        descriptor: of a pipe that the parent holds open for as long as it lives, and writes
            nothing to.
    """

    def wait() -> None:
        os.read(descriptor, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()
