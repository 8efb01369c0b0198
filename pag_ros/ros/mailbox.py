"""A mailbox of one: the newest frame wins, so a slow reader never works on stale images."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands the newest item from one thread to another; nobody ever waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._item: Item | None = None

    def put(self, item: Item) -> Item | None:
        """Leave an item.

        Returns:
            The item that lay there and that nobody will get now, or None.
        """
        with self._lock:
            superseded, self._item = self._item, item
        return superseded

    def take(self) -> Item | None:
        """Fetch the item, or None if there is none."""
        with self._lock:
            item, self._item = self._item, None
        return item
