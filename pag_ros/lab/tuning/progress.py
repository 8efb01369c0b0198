"""How a tuning tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Shows how far a stage is."""

    def stage(self, text: str, total: int | None = 0) -> None:
        """A new stage begins, of so many steps; None if nobody knows how many."""

    def step(self) -> None:
        """One more is done."""

    def say(self, line: str) -> None:
        """Something that the user should read."""
