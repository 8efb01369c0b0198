"""A log replays bit for bit, survives a kill, and a damaged one is refused by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pag_ros.budget import ControllerSettings
from pag_ros.budget import decision_log as log
from pag_ros.budget.decision_log import RecordedController, first_difference, read_decisions
from pag_ros.errors import ParameterError

DEADLINE_S = 0.04


@pytest.fixture
def path(tmp_path, manifest, table, machine):
    """The log of some seconds with steps of load, changed settings and a skipped frame."""
    path = tmp_path / "logs" / "decisions.jsonl"
    controller = RecordedController(path, manifest, table)
    machine(lambda frame: 1.5 if frame % 50 > 25 else 1.0).play(controller, 120, DEADLINE_S)
    controller.settings = ControllerSettings("adaptive", 0.6, 0.05)
    machine().play(controller, 40, DEADLINE_S)
    controller.rescale(1.7)
    controller.plan(1e-6)
    machine().play(controller, 40, None)
    controller.close()
    return path


def test_a_log_replays_bit_for_bit(path, manifest):
    assert first_difference(path, manifest) is None
    events = [entry.get("event") for entry in read_decisions(path)]
    assert events.count("plan") == 201
    assert {"observe", "settings", "rescale"} <= set(events)


def test_an_older_log_is_replaced_and_nothing_else(tmp_path, manifest, table):
    path = tmp_path / "decisions.jsonl"
    for content in ("", '{"for', '{"format": 2, "model"'):
        path.write_text(content)
        RecordedController(path, manifest, table).close()
        assert len(path.read_text().splitlines()) == 1
        RecordedController(path, manifest, table).close()
    for content in ("my notes\n", '{"formatted": 1}', "\x00\x01", "{}"):
        path.write_text(content)
        with pytest.raises(ParameterError, match=r"decisions\.jsonl: is no log of decisions"):
            RecordedController(path, manifest, table)
        assert path.read_text() == content
    RecordedController(Path("/dev/null"), manifest, table).close()


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("plan", lambda entry: entry["plan"].update(budget=0.1234)),
        ("observe", lambda entry: entry.update(margin=0.1)),
    ],
)
def test_another_decision_is_found(path, manifest, event, change):
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if i > 60 and f'"{event}"' in line)
    entry = json.loads(lines[number])
    change(entry)
    lines[number] = json.dumps(entry)
    path.write_text("\n".join(lines) + "\n")
    assert first_difference(path, manifest).startswith(f"line {number + 1}:")


def test_a_torn_last_line_is_left_out(path, manifest):
    path.write_bytes(path.read_bytes()[:-20])
    assert first_difference(path, manifest) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("nonsense\n", "line 1: not JSON"),
        ("[1]\n", "line 1: not a line"),
        ('{"format": 99}\n', "format 99"),
        ('{"event": "plan"}\n', "line 1: not a line"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, manifest, content, words):
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(ParameterError, match=rf"bad\.jsonl.*{words}"):
        first_difference(path, manifest)


def test_a_damaged_line_is_refused(path, manifest):
    with path.open("a") as file:
        file.write('{"event": "observe"}\n')
    with pytest.raises(ParameterError, match=r"line \d+: it lacks 'keep_used'"):
        first_difference(path, manifest)


def test_a_log_of_another_model_is_refused(path, manifest):
    from dataclasses import replace

    with pytest.raises(ParameterError, match="decisions on planned"):
        first_difference(path, replace(manifest, sha256="1" * 64))


def test_a_log_ends_at_its_largest_size(tmp_path, manifest, table, machine, monkeypatch):
    monkeypatch.setattr(log, "MAX_BYTES", 20_000)
    path = tmp_path / "small.jsonl"
    controller = RecordedController(path, manifest, table)
    machine().play(controller, 200, DEADLINE_S)
    assert 10_000 < path.stat().st_size <= 20_000
    assert first_difference(path, manifest) is None
    assert controller.cut_off == f"{path} has reached 0 MiB"


def test_a_full_disk_ends_the_log_and_nothing_else(manifest, table, machine):
    controller = RecordedController(Path("/dev/full"), manifest, table)
    machine().play(controller, 5, DEADLINE_S)
    assert controller.plan(DEADLINE_S) is not None
    assert controller.cut_off == "/dev/full: No space left on device"
    controller.close()
