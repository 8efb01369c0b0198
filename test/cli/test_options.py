"""Options are alike in every command, and what they name is tried before the work."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pag_ros.cli import COMMANDS, bench, build, main
from pag_ros.cli.command import Command
from pag_ros.cli.options import image_size, write_json
from pag_ros.runtime import DEVICES
from pag_ros.runtime.models import DEFAULT_MODEL

OWN_SIZES = {"data"}
"""Commands whose `--size` is of what they make, and which have a model for something else."""

KINDS = {"bench": bench.KINDS, "build": build.KINDS}


def every_command() -> Iterator[tuple[str, Command]]:
    for name, command in COMMANDS.items():
        if name in KINDS:
            yield from ((f"{name} {kind}", module) for kind, module in KINDS[name].items())
        else:
            yield name, command


def options_of(command: Command) -> dict[str, argparse.Action]:
    """Destination -> option, of the command and what it consists of."""
    parser = argparse.ArgumentParser()
    command.load().add_arguments(parser)
    parsers, actions = [parser], {}
    for one in parsers:
        for action in one._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            actions[action.dest] = action
    return actions


@pytest.mark.parametrize(("name", "command"), list(every_command()), ids=lambda v: str(v))
def test_options_of_one_name_are_alike(name: str, command: Command) -> None:
    options = options_of(command)
    if "json" in options:
        assert options["json"].metavar == "FILE"
        assert options["json"].nargs is None
    if "device" in options:
        assert options["device"].choices == DEVICES
        assert options["device"].default == "auto"
    if "model" in options:
        assert options["model"].default == DEFAULT_MODEL
        assert options["model"].option_strings in ([], ["--model"])
    if "size" in options and "model" in options and name not in OWN_SIZES:
        assert options["size"].type is image_size
        assert options["size"].default is None
    if "plot" in options:
        assert options["plot"].metavar == "FILE"
    assert "budget" not in options or options["budget"].nargs is None


def test_the_commands_that_have_them() -> None:
    having = {
        option: {name for name, command in every_command() if option in options_of(command)}
        for option in ("json", "device", "model", "size", "camera_height")
    }
    assert {"calibrate", "doctor", "explain", "build engine", "evaluate"} <= having["json"]
    assert {"run", "evaluate", "score", "replay", "calibrate"} <= having["device"]
    assert having["camera_height"] == {"run", "evaluate", "score", "replay", "adopt"}
    assert {"run", "explain", "bench load", "bench deadline", "score"} <= having["model"]
    sized = {"run", "evaluate", "score", "replay", "calibrate", "bench load", "bench deadline"}
    assert sized <= having["size"]


ADOPT = ["adopt", "none.pth", "--out", "out", "--max-depth", "20"]
RENDER = ["data", "render", "--out", "out", "--furniture", "none"]
EXPORT = ["export", "none.safetensors", "--out", "a.onnx", "--size", "64x48"]
COMPARE = ["compare", "--init", "none", "--data", "none", "--validation", "none"]
REPLAY = ["replay", "none.mcap", "--out", "out", "--no-node"]
DEADLINE = ["bench", "deadline"]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ([*ADOPT, "--minutes", "0"], "--minutes"),
        ([*ADOPT, "--gates", "none.safetensors", "--minutes", "20"], "--minutes"),
        ([*ADOPT, "--teach", "none", "--depth-scale", "0.001"], "--depth-scale"),
        ([*ADOPT, "--interval", "0"], "--interval"),
        ([*ADOPT, "--json", "-"], "--json"),
        ([*ADOPT, "--recording", "none", "--teach", "none"], "--teach"),
        ([*ADOPT, "--recording", "none", "--camera-height", "1"], "--camera-height"),
        ([*RENDER, "--walk", "--workers", "2"], "--workers"),
        ([*RENDER, "--walk", "--scheduler", "tcp://host:8786"], "--scheduler"),
        ([*RENDER, "--scheduler", "tcp://host:8786", "--workers", "2"], "--workers"),
        ([*EXPORT, "--dense", "--card", "none.yaml"], "--card"),
        ([*EXPORT, "--dense", "--trained-size", "96x64"], "--trained-size"),
        ([*EXPORT, "--dense", "--weights", "b.safetensors"], "--weights"),
        ([*COMPARE, "--rounds", "0", "--threads", "1"], "--threads"),
        ([*REPLAY, "--params-file", "none.yaml"], "--params-file"),
        ([*REPLAY, "--device", "cpu"], "--device"),
        ([*DEADLINE, "--tune", "--seeds", "5"], "--seeds"),
        ([*DEADLINE, "--tune", "--only", "steps"], "--only"),
        ([*DEADLINE, "--tune", "--trace", "none.json"], "--trace"),
        ([*DEADLINE, "--tune", "--json", "-"], "--json"),
        ([*DEADLINE, "--tune", "--plot", "a.png"], "--plot"),
        ([*DEADLINE, "--trace", "none.json", "--only", "steps"], "--only"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, list) else value,
)
def test_an_option_that_would_change_nothing_is_refused(
    words: list[str],
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if words[0] in ("adopt", "compare", "export"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"pag_ros: error: {option} is of no use with")


def test_all_options_about_a_recording_are_refused_where_there_is_none() -> None:
    pytest.importorskip("torch")
    from pag_ros.cli.evaluate import add_topic_arguments
    from pag_ros.lab.commands.adopt import _OF_RECORDINGS
    from pag_ros.lab.commands.recordings import add_recording_arguments

    parser = argparse.ArgumentParser(add_help=False)
    add_recording_arguments(parser)
    add_topic_arguments(parser)
    names = {action.option_strings[0] for action in parser._actions}
    assert set(_OF_RECORDINGS) == {*names, "--json"}


def test_a_json_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json", str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.splitlines() == [
        f"pag_ros: error: {tmp_path}: is a folder; give the name of a file"
    ]


def test_doctor_writes_a_file_and_people_read_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "doctor.json"
    main(["doctor", "--json", str(file)])
    assert "verdicts" in json.loads(file.read_text())
    assert "Networks" in capsys.readouterr().out


def test_only_standard_output_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_json({"a": 1}, "-")
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    assert not write_json({"a": 1}, str(tmp_path / "a.json"))
    assert not write_json({"a": 1}, None)
    assert not capsys.readouterr().out
