"""What we use of a node's logger, which rclpy has no types for."""

from __future__ import annotations

from typing import Protocol


class Logger(Protocol):
    """A node's logger. `throttle_duration_sec` is the shortest time between two lines of one place
    in the code; with `skip_first` the first one is left out."""

    def info(self, message: str) -> object: ...
    def warning(
        self, message: str, *, throttle_duration_sec: float = ..., skip_first: bool = ...
    ) -> object: ...
    def error(self, message: str, *, throttle_duration_sec: float = ...) -> object: ...
