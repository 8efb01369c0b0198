"""The thread that owns the network: frames and other jobs run on it, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from pag_ros.ros.mailbox import Mailbox

Item = TypeVar("Item")
Result = TypeVar("Result")


class Worker(Generic[Item]):
    """A single thread with a mailbox of one for each sender; earliest deadline first.

    CUDA contexts belong to the thread that made them, so everything that touches the session -
    loading, frames, calibration, closing - comes through here.

    Args:
        handle: called on the thread with each item that no newer one has superseded.
    """

    def __init__(self, handle: Callable[[Item], None]) -> None:
        self._handle = handle
        self._mailbox: Mailbox[Item] = Mailbox()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="perception")

    def submit(self, item: Item, sender: str = "", due: float = 0.0) -> Item | None:
        """Have an item handled, unless a newer one of its sender comes before its turn.

        Args:
            due: its deadline; of waiting items the one with the earliest is handled first.

        Returns:
            The item whose place it took.
        """
        superseded = self._mailbox.put(item, sender, due)
        if superseded is None:
            self._thread.submit(self._handle_next)
        return superseded

    def call(self, job: Callable[[], Result]) -> Future[Result]:
        """Run a job on the thread, after what is running now."""
        return self._thread.submit(job)

    def drain(self) -> list[Item]:
        """Wait until the thread is idle.

        Returns:
            The items that were still waiting, which are dropped.
        """
        dropped = []
        while (item := self._mailbox.take()) is not None:
            dropped.append(item)
        self.call(lambda: None).result()
        return dropped

    def stop(self) -> None:
        """Finish the queued jobs and end the thread."""
        self._thread.shutdown()

    def _handle_next(self) -> None:
        item = self._mailbox.take()
        if item is not None:
            self._handle(item)
