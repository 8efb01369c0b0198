"""The thread that owns the network: frames and other jobs run on it, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from pag_ros.ros.mailbox import Mailbox

Item = TypeVar("Item")
Result = TypeVar("Result")


class Worker(Generic[Item]):
    """A single thread with a mailbox of one.

    CUDA contexts belong to the thread that made them, so everything that touches the session -
    loading, frames, calibration, closing - comes through here.

    Args:
        handle: called on the thread with the newest item.
    """

    def __init__(self, handle: Callable[[Item], None]) -> None:
        self._handle = handle
        self._mailbox: Mailbox[Item] = Mailbox()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="perception")

    def submit(self, item: Item) -> Item | None:
        """Have an item handled, unless a newer one comes before its turn.

        Returns:
            The item whose place it took.
        """
        superseded = self._mailbox.put(item)
        if superseded is None:
            self._thread.submit(self._handle_newest)
        return superseded

    def call(self, job: Callable[[], Result]) -> Future[Result]:
        """Run a job on the thread, after what is running now."""
        return self._thread.submit(job)

    def drain(self) -> Item | None:
        """Wait until the thread is idle.

        Returns:
            The item that was still waiting, which is dropped.
        """
        dropped = self._mailbox.take()
        self.call(lambda: None).result()
        return dropped

    def stop(self) -> None:
        """Finish the queued jobs and end the thread."""
        self._thread.shutdown()

    def _handle_newest(self) -> None:
        item = self._mailbox.take()
        if item is not None:
            self._handle(item)
