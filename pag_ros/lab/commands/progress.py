"""How commands that learn show their progress, and how Ctrl-C ends the learning alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tqdm import tqdm


class Bars:
    """Lines, and a bar for a stage that has something to count, on standard error."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def stage(self, text: str, total: int | None = 0) -> None:
        self.close()
        if total == 0:
            self.say(text)
        else:
            self._bar = tqdm(desc=text, total=total, disable=None, file=sys.stderr, leave=False)

    def step(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def say(self, line: str) -> None:
        tqdm.write(f"pag_ros: {line}", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def stopped_by_interrupt(progress: Bars, saying: str) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end the training alone; a second one ends the command.

    Args:
        saying: what comes of it, for the user.

    Yields:
        Whether it was pressed.
    """
    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        if asked and callable(before):
            before(number, frame)
        asked.append(number)
        progress.say(f"{saying} (Ctrl-C again to leave)")

    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False  # ignored, as under nohup
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
