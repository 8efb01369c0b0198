"""A place for one item of each sender: the newest wins, and the most urgent is fetched first."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands items from one thread to another; nobody ever waits, nobody works on stale images."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: dict[str, tuple[float, Item]] = {}

    def put(self, item: Item, sender: str = "", due: float = 0.0) -> Item | None:
        """Leave an item.

        Args:
            sender: whose place to take.
            due: the lower, the more urgent.

        Returns:
            The item that lay there and that nobody will get now, or None.
        """
        with self._lock:
            superseded = self._items.pop(sender, None)
            self._items[sender] = (due, item)
        return None if superseded is None else superseded[1]

    def take(self) -> Item | None:
        """Fetch the most urgent item, of equals the one that has waited longest; None if empty."""
        with self._lock:
            if not self._items:
                return None
            sender = min(self._items, key=lambda sender: self._items[sender][0])
            return self._items.pop(sender)[1]
