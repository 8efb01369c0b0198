"""What we use of a node's logger; rclpy has no types that could be checked."""

from __future__ import annotations

from typing import Protocol


class Logger(Protocol):
    """An rclpy logger: of a node, or a child of that."""

    def info(self, message: str, *, throttle_duration_sec: float = ...) -> object: ...

    def warning(
        self, message: str, *, throttle_duration_sec: float = ..., skip_first: bool = ...
    ) -> object: ...

    def error(self, message: str, *, throttle_duration_sec: float = ...) -> object: ...
