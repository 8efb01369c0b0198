"""The controller's decisions as JSON lines: to look at, and to be replayed bit for bit.

The first line is all that a controller is made of but its model; then follows a line for each call
in order. JSON writes the shortest text that reads back as the same float, so nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from pag_ros.budget.controller import Controller, ControllerSettings, Plan
from pag_ros.budget.decision_entries import check_event, check_head
from pag_ros.budget.latency import LatencyTable
from pag_ros.budget.table_store import table_from_json
from pag_ros.checks import shown
from pag_ros.errors import ParameterError
from pag_ros.manifest import Manifest
from pag_ros.reading import reading, reason_of

FORMAT = 2
MAX_BYTES = 256 << 20
"""A log stops growing here: three days at 30 Hz would fill a robot's disk."""

_LONGEST_LINE = 1 << 20

_FIRST_BYTES = b'{"format": '
"""Of every log."""


class RecordedController(Controller):
    """A controller that writes down what it is asked and what it answers.

    Args:
        path: of the log; an older one that is there already is replaced.
        manifest, table, settings: as for `Controller`.

    Attributes:
        cut_off: why the log has ended before its time; empty as long as it has not.

    Raises:
        ParameterError: there is another file in its place.
        OSError: the log cannot be written. Later on, an error of the disk ends the log and
            nothing else.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        table: LatencyTable,
        settings: ControllerSettings | None = None,
    ) -> None:
        self.cut_off = ""
        self._path = path
        _refuse_foreign(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by `pag_ros.writing`: a log is read while it grows, and after a power cut.
        self._file: IO[str] | None = path.open("w", encoding="utf-8", buffering=1)
        self._written = 0
        super().__init__(manifest, table, settings)
        self._write(
            {
                "format": FORMAT,
                "model": manifest.name,
                "sha256": manifest.sha256,
                "input": [manifest.width, manifest.height],
                "settings": asdict(self.settings),
                "table": asdict(table),
            }
        )
        self._logged_settings = self.settings

    def renewed(self, table: LatencyTable) -> Controller:
        """See `Controller.renewed`; the log begins anew as well."""
        self.close()
        return RecordedController(self._path, self._manifest, table, self.settings)

    def plan(self, time_left_s: float | None, may_skip: bool = True) -> Plan | None:
        """See `Controller.plan`."""
        if self.settings != self._logged_settings:
            self._write({"event": "settings", **asdict(self.settings)})
            self._logged_settings = self.settings
        plan = super().plan(time_left_s, may_skip)
        self._write(
            {
                "event": "plan",
                "time_left_s": time_left_s,
                "may_skip": may_skip,
                "plan": plan and asdict(plan),
            }
        )
        return plan

    def observe(self, plan: Plan, keep_used: Sequence[int], stage_seconds: Sequence[float]) -> None:
        """See `Controller.observe`."""
        super().observe(plan, keep_used, stage_seconds)
        self._write(
            {
                "event": "observe",
                "keep_used": list(keep_used),
                "stage_seconds": list(stage_seconds),
                "slowdown": self.slowdown,
                "margin": self.margin,
            }
        )

    def rescale(self, ratio: float) -> None:
        """See `Controller.rescale`."""
        super().rescale(ratio)
        self._write({"event": "rescale", "ratio": ratio})

    def close(self) -> None:
        """End the log."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, entry: dict[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps(entry) + "\n"
        self._written += len(line)
        try:
            if self._written <= MAX_BYTES:
                self._file.write(line)
            else:
                self.cut_off = f"{self._path} has reached {MAX_BYTES >> 20} MiB"
                self.close()
        except OSError as error:  # a full disk must not stop the robot
            self.cut_off = f"{self._path}: {error.strerror}"
            self._file = None


def read_decisions(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log; the last one may be torn, as a killed process leaves it.

    Raises:
        ParameterError: the file is missing or is no log; the message names the line.
    """
    with reading(path, "a decision log", ParameterError), path.open(encoding="utf-8") as file:
        yield from _entries(file)


def _entries(file: IO[str]) -> Iterator[dict[str, Any]]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if not line.endswith("\n"):
            if len(line) == _LONGEST_LINE:
                raise ValueError(f"line {number}: longer than {_LONGEST_LINE} bytes")
            return
        yield _entry(line, number)
    if number == 0:
        raise ValueError("it is empty")


def _entry(line: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: not JSON ({reason_of(error)})") from error
    if not isinstance(entry, dict) or (number == 1) != ("format" in entry):
        raise ValueError(f"line {number}: not a line of a decision log")
    if number == 1 and entry["format"] != FORMAT:
        raise ValueError(f"format {shown(entry['format'])}, this version reads {FORMAT}")
    try:
        check_head(entry) if number == 1 else check_event(entry)
    except (ValueError, KeyError) as error:
        raise ValueError(f"line {number}: {reason_of(error)}") from error
    return entry


def _refuse_foreign(path: Path) -> None:
    """See that nothing but an older log, whole or torn, would be replaced."""
    if not path.is_file():  # there is none, or it is a device or a pipe
        return
    with path.open("rb") as file:
        begin = file.read(len(_FIRST_BYTES))
    if not _FIRST_BYTES.startswith(begin):
        raise ParameterError(f"{path}: is no log of decisions, so it is not replaced; name another")


def first_difference(path: Path, manifest: Manifest) -> str | None:
    """Replay a log on a new controller: where it decides otherwise, or None if nowhere.

    Args:
        manifest: of the model that the log names, at its input size.

    Raises:
        ParameterError: the file is no decision log, or one of another model.
    """
    entries = read_decisions(path)
    head = next(entries)
    _check_model(path, head, manifest)
    with reading(path, "a decision log of this model", ParameterError):
        settings = _settings_in(head["settings"])
        controller = Controller(manifest, table_from_json(head["table"]), settings)
        return _find_difference(controller, entries)


def _find_difference(controller: Controller, entries: Iterator[dict[str, Any]]) -> str | None:
    plan: Plan | None = None
    for number, entry in enumerate(entries, start=2):
        plan = _replayed(controller, entry, plan)
        if entry["event"] == "plan" and _plain(plan) != entry["plan"]:
            return f"line {number}: planned {entry['plan']}, now {_plain(plan)}"
        if entry["event"] == "observe" and _state(controller) != (
            entry["slowdown"],
            entry["margin"],
        ):
            return f"line {number}: slowdown and margin now {_state(controller)}"
    return None


def _replayed(controller: Controller, entry: dict[str, Any], plan: Plan | None) -> Plan | None:
    """Do what a line says; returns the plan that is in force."""
    event = entry["event"]
    if event == "plan":
        return controller.plan(entry["time_left_s"], entry["may_skip"])
    if event == "observe" and plan is not None:
        controller.observe(plan, entry["keep_used"], entry["stage_seconds"])
    elif event == "rescale":
        controller.rescale(entry["ratio"])
    elif event == "settings":
        values = {name: value for name, value in entry.items() if name != "event"}
        controller.settings = _settings_in(values)
    else:
        raise ValueError(f"event {event!r}")
    return plan


def _settings_in(values: Mapping[str, Any]) -> ControllerSettings:
    """Build settings from checked entries; raise ValueError if there are others besides."""
    settings = ControllerSettings(values["mode"], values["budget"], values["budget_min"])
    if unknown := values.keys() - asdict(settings).keys():
        raise ValueError(f"settings: {shown(sorted(unknown))} are unknown")
    return settings


def _check_model(path: Path, head: dict[str, Any], manifest: Manifest) -> None:
    if head["sha256"] != manifest.sha256:
        raise ParameterError(
            f"{path}: decisions on {head['model']} ({head['sha256'][:12]}...), "
            f"not on {manifest.name} ({manifest.sha256[:12]}...); name that model with --model"
        )


def _plain(plan: Plan | None) -> Any:
    """A plan as JSON reads it back."""
    return None if plan is None else json.loads(json.dumps(asdict(plan)))


def _state(controller: Controller) -> tuple[float, float]:
    return controller.slowdown, controller.margin
