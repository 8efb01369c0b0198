"""docs/architecture.md says what the code does: rooms and their imports, and the way of a frame."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from package_imports import PACKAGE, imported_names

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def _imported_rooms(room: Path) -> set[str]:
    """Names of the other rooms that a room imports anywhere."""
    names = {name for module in room.rglob("*.py") for name in imported_names(module)}
    parts = {name.split(".")[1] for name in names if name.startswith("pag_ros.")}
    return {part for part in parts if (PACKAGE / part / "__init__.py").is_file()} - {room.name}


def _below(room: str, imports: dict[str, set[str]]) -> set[str]:
    """All that a room builds on, directly or not."""
    direct = imports[room]
    return direct.union(*(_below(other, imports) for other in direct))


def test_the_diagram_of_rooms_shows_what_the_imports_say() -> None:
    imports = {p.parent.name: _imported_rooms(p.parent) for p in PACKAGE.glob("*/__init__.py")}
    needed = {
        (room, other)
        for room, direct in imports.items()
        for other in direct
        if not any(other in _below(between, imports) for between in direct - {other})
    }
    assert set(re.findall(r"^    (\w+) --> (\w+)$", PAGE, re.MULTILINE)) == needed


def test_every_room_has_its_row() -> None:
    rows = set(re.findall(r"`(\w+)/`", "\n".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    inner = {path.parent.name for path in PACKAGE.glob("lab/*/__init__.py")}
    assert rows == rooms | inner


def _steps() -> list[str]:
    """The calls of the second diagram in their order, "Timekeeper.allow"."""
    return re.findall(r"->>\w+: (\w+\.\w+): ", PAGE)


def _spied(name: str, owner: type, calls: list[str]) -> Callable[..., Any]:
    method = getattr(owner, name)

    @functools.wraps(method)
    def spy(*arguments: Any, **named: Any) -> Any:
        calls.append(f"{owner.__name__}.{name}")
        return method(*arguments, **named)

    return spy


@pytest.fixture
def perception(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from pag_ros.runtime import open_perception

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    perception = open_perception(tiny_model, "cpu", threads=1)
    yield perception
    perception.close()


def test_a_frame_goes_the_way_of_the_diagram(
    perception: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rclpy", reason="needs rclpy: pip install '.[ros]'")
    from ros_client import camera_info, image

    from pag_ros import budget
    from pag_ros.ros.parameters import Settings
    from pag_ros.ros.pipeline import CameraFrame, Pipeline
    from pag_ros.ros.publishers import Publishers
    from pag_ros.ros.statistics import FrameStatistics
    from pag_ros.runtime.openvino.session import OpenVinoSession
    from pag_ros.runtime.perception import Perception

    class Unconnected(Publishers):
        """Publishers of a node that has none: somebody listens, and the sending does nothing."""

        def __init__(self) -> None:
            self._by_topic = {}

        def subscribed(self) -> frozenset[str]:
            return frozenset({"segmentation/mask"})

        def publish(self, messages: Any) -> dict[str, float]:
            return dict.fromkeys(messages, 0.0)

    calls: list[str] = []
    owners = [
        budget.Schedule,
        budget.Timekeeper,
        budget.Controller,
        budget.Escalation,
        budget.Thinning,
        Pipeline,
        Perception,
        OpenVinoSession,
        FrameStatistics,
    ]
    by_name = {owner.__name__: owner for owner in owners}
    for step in _steps():
        name, _, method = step.partition(".")
        owner = by_name.get(name, Unconnected)
        monkeypatch.setattr(owner, method, _spied(method, owner, calls))
    statistics = FrameStatistics()
    pipeline = Pipeline(perception, Unconnected(), statistics, Settings(), _Silent())
    timing = budget.Schedule().arrived("", 1e9, 0.0, 0.0, deadline_s=1.0)
    pipeline.handle(CameraFrame(image(), camera_info(), timing))
    assert statistics.counts()["processed"] == 1
    calls = [call.replace("Unconnected", "Publishers") for call in calls]
    # Figures of the frame, which nobody listens to here, are published last.
    assert [call for i, call in enumerate(calls) if call not in calls[:i]] == _steps()


class _Silent:
    """A logger that nobody reads."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
