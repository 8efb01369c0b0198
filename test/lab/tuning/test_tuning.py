"""From a bag to a tuned model and its report, in small: stopped, resumed, refused."""

from __future__ import annotations

import html
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from room_bags import Messages, write_walk

torch = pytest.importorskip("torch")

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import BagError, DatasetError, ParameterError  # noqa: E402
from pag_ros.evaluation.passes import perception_at  # noqa: E402
from pag_ros.lab.export import ModelCard, export_model  # noqa: E402
from pag_ros.lab.model import NetworkConfig, build_network  # noqa: E402
from pag_ros.lab.training.checkpoint import save_weights  # noqa: E402
from pag_ros.lab.tuning import Tuned, TuneOptions, rendered, tune, tuning  # noqa: E402
from pag_ros.lab.tuning.recipe import recipe  # noqa: E402
from pag_ros.manifest import load_manifest  # noqa: E402
from pag_ros.runtime import open_session  # noqa: E402
from pag_ros.runtime.models import DEFAULT_MODEL, find_model  # noqa: E402
from pag_ros.runtime.openvino.session import native_precisions  # noqa: E402
from pag_ros.runtime.precision import loss_in  # noqa: E402

SIZE = (64, 48)
CLASSES = load_manifest(find_model(DEFAULT_MODEL)).classes


class Silent:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, text: str, total: int | None = 0) -> None:
        self.lines.append(text)

    def step(self) -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, as a model with its weights beside it."""
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(3)
    network = build_network(NetworkConfig(blocks=2, channels=16)).eval()
    card = ModelCard("start", CLASSES, (0.3, 10.0), (0.5, 1.6), "Apache-2.0", "Nothing yet.")
    export_model(network, card, SIZE, folder / "start.onnx")
    save_weights(network, folder / "start.safetensors")
    return folder / "start.onnx"


def ready_precisions() -> set[str]:
    """What a tuned model is scored in here, float32 aside."""
    ready = set(native_precisions())
    return ready if find_spec("nncf") else ready - {"int8"}


def seen_m(model: Path) -> float:
    """What the untrained network sees everywhere, in metres, at the walk's focal length."""
    session = open_session(model, "cpu", 1)
    image = np.full((48, 64, 3), 120, np.uint8)
    result = perception_at(session, 1.0).process(image, 60.0, None, frozenset({"depth"}))
    session.close()
    return float(np.median(result.depth))


def at_rate(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    """Train by the recipe, but at another learning rate."""

    def changed(*args: Any) -> Any:
        config = recipe(*args)
        phase = replace(
            config.phases[0], batch=4, learning_rate=rate, final_learning_rate=rate / 10
        )
        quick = {"warm_up": 1, "validation_frames": 2, "average_decay": 0.5, "patience": 0}
        return replace(config, phases=(phase,), **quick)

    monkeypatch.setattr(tuning, "recipe", changed)


def options(tmp_path: Path, start: Path, **changes: Any) -> TuneOptions:
    bag = tmp_path / "walk"
    if not bag.exists():
        depth_mm = round(1.3e3 * seen_m(start))

        def edit(number: int, frame: dict[str, Any]) -> None:
            """A little farther than the start sees it: learned in some steps."""
            frame["depth"] = np.full_like(frame["depth"], depth_mm)

        write_walk(Messages(), bag, edit=edit)
    given = {"bags": (bag,), "out": tmp_path / "mine", "model": start, "minutes": 0.03}
    return TuneOptions(**{**given, "budgets": (1.0, 0.5), **changes})


@pytest.fixture(autouse=True)
def few_rendered_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of each set are enough to see that they are used."""

    def few(out: Path) -> tuple[Path, Path]:
        folders = rendered.unpack(out)
        for folder in folders:
            index = folder / "frames.jsonl"
            index.write_text("".join(index.read_text().splitlines(keepends=True)[:4]))
        return folders

    monkeypatch.setattr(tuning, "unpack", few)


@pytest.fixture
def ranges() -> None:
    """Whoever asks for it measures the ranges for 8 bits, which takes half a minute."""


@pytest.fixture(autouse=True)
def without_ranges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others go on as where NNCF is not installed."""
    if "ranges" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "nncf", None)


@pytest.fixture
def any_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network knows no metres."""
    monkeypatch.setattr(tuning, "require_plausible", lambda *_: None)


def tuned(tmp_path: Path, start: Path, **changes: Any) -> Tuned:
    return tune(options(tmp_path, start, **changes), Silent())


class TrainingError(Exception):
    """What a training ends with that only has to be reached."""


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording is read, and the training ends before it begins."""

    def fail(*_: Any) -> None:
        raise TrainingError

    monkeypatch.setattr(tuning, "_train", fail)


@pytest.mark.usefixtures("any_unit", "ranges")
def test_a_bag_becomes_a_better_model_with_all_that_ships(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rate(monkeypatch, 0.01)
    result = tuned(tmp_path, start, minutes=0.1)
    model = tmp_path / "mine" / "mine.onnx"
    assert result.model == model
    assert result.held_out[0].after > result.held_out[0].before
    assert result.judgement.better, result.judgement.reasons
    manifest = load_manifest(model)
    assert manifest.name == "mine"
    assert "Tuned from start on" in manifest.training_data
    assert "Nothing yet." in manifest.training_data
    held_out = tmp_path / "mine" / "data" / "held_out"
    words = ["score", "--dataset", str(held_out), "--model", str(model), "--device", "cpu"]
    assert main([*words, "--budgets", "1", ".5", "--json", str(tmp_path / "scores.json")]) == 0
    (scores,) = json.loads((tmp_path / "scores.json").read_text()).values()
    depth = scores["budgets"]["0.50"]["depth"]["delta1"]
    assert manifest.scores["0.50"]["depth delta1"] == pytest.approx(depth, abs=1e-4)
    assert manifest.scores_in.keys() == ready_precisions()
    for suffix in (".safetensors", ".reference.npz"):
        assert model.with_suffix(suffix).is_file()
    open_session(model, "cpu", 1).close()
    page = result.report.read_text()
    for reason in result.judgement.reasons:
        assert html.escape(reason).replace("&#x27;", "&#39;") in page
    numbers = json.loads((tmp_path / "mine" / "report.json").read_text())
    assert numbers["better"] is True
    assert {entry["metric"] for entry in numbers["agreement"]} == {"segmentation agreement"}
    told = {entry["precision"]: entry["loss"] for entry in numbers["precisions"]}
    assert told == {name: loss_in(name, manifest) for name in ("int8", "bf16")}
    assert set(numbers["about"]) >= {"precision bf16", "precision int8"}


@pytest.mark.usefixtures("any_unit")
def test_a_run_that_changes_nothing_is_not_called_better(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rate(monkeypatch, 0.0)
    result = tuned(tmp_path, start)
    assert not result.judgement.better
    assert json.loads((tmp_path / "mine" / "report.json").read_text())["better"] is False


@pytest.mark.usefixtures("any_unit")
@pytest.mark.parametrize("stage", ["_train", "_judge"])
def test_a_killed_run_goes_on_where_it_was(
    stage: str, tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tuning, stage, killed)
        with pytest.raises(KeyboardInterrupt):
            tuned(tmp_path, start)
    log = tmp_path / "mine" / "training" / "log.jsonl"
    before = log.read_text() if log.is_file() else ""
    assert tuned(tmp_path, start).report.is_file()
    assert log.read_text().startswith(before), "what was trained is not trained again"


@pytest.mark.usefixtures("any_unit", "no_training")
def test_a_folder_of_another_tuning_is_refused(tmp_path: Path, start: Path) -> None:
    with pytest.raises(TrainingError):
        tuned(tmp_path, start)
    with pytest.raises(ParameterError, match="holds a tuning with another seed"):
        tuned(tmp_path, start, seed=1)
    (tmp_path / "mine" / "tune.json").write_text("{")
    with pytest.raises(ParameterError, match=r"tune\.json: not the notes of a tuning"):
        tuned(tmp_path, start)


@pytest.mark.usefixtures("any_unit")
def test_what_was_tuned_can_be_tuned_further(tmp_path: Path, start: Path) -> None:
    first = tuned(tmp_path, start)
    second = tuned(tmp_path, first.model, out=tmp_path / "both")
    text = load_manifest(second.model).training_data
    assert text.index("Tuned from start") < text.index("Tuned from mine")


@pytest.mark.usefixtures("no_training")
def test_a_wrong_unit_leaves_nothing_behind(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "depth_ratio", lambda *_: 5.0)
    with pytest.raises(DatasetError, match=r"give --depth-scale 0\.0002"):
        tuned(tmp_path, start)
    scaled = replace(options(tmp_path, start).recording, depth_scale=0.0002)
    with pytest.raises(TrainingError):
        tuned(tmp_path, start, recording=scaled)


def test_after_bad_input_another_attempt_may_differ(tmp_path: Path, start: Path) -> None:
    with pytest.raises(BagError, match="no such bag"):
        tuned(tmp_path, start, bags=(tmp_path / "nothing",))
    with pytest.raises(BagError, match="neither"):
        tuned(tmp_path, start, bags=(tmp_path / "neither",))


def test_a_model_without_weights_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.safetensors: not there; to tune a model"):
        tuned(tmp_path, tiny_model)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"minutes": 0.0}, "--minutes must be above 0"),
        ({"budgets": (0.0,)}, "budgets must lie in"),
        ({"bags": ()}, "no bag to tune on"),
    ],
)
def test_options_out_of_range_are_named(
    changes: dict[str, Any], reason: str, tmp_path: Path, start: Path
) -> None:
    with pytest.raises(ParameterError, match=reason):
        options(tmp_path, start, **changes)


@pytest.mark.usefixtures("any_unit")
def test_the_command_says_what_came_of_it(
    tmp_path: Path,
    start: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_rate(monkeypatch, 0.01)
    given = options(tmp_path, start)
    words = ["tune", str(given.bags[0]), "--out", str(given.out), "--model", str(start)]
    words += ["--minutes", "0.1", "--budgets", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "mine.onnx: better on this recording" in out
    assert main([*words, "--json", "-"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["model"].endswith("mine.onnx")
    assert numbers["images"]["images"] == 60
    assert np.isfinite([change["after"] for change in numbers["held_out"]]).all()


def test_bad_input_is_one_line_at_the_command_line(
    tmp_path: Path, start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]
    assert main([*words, "--model", str(start)]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("pag_ros: error: ")
    assert "no such bag" in line


def test_ctrl_c_ends_the_training_and_the_best_so_far_is_judged(
    tmp_path: Path, start: Path
) -> None:
    given = options(tmp_path, start)
    log = given.out / "training" / "log.jsonl"
    command = [sys.executable, "-m", "pag_ros.cli", "tune", str(given.bags[0])]
    command += ["--out", str(given.out), "--model", str(start), "--minutes", "30"]
    command += ["--budgets", "1", "--depth-scale", "0.001"]

    def as_in_a_terminal() -> None:  # a background job would ignore the signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=as_in_a_terminal
    ) as process:
        killer = threading.Timer(240.0, process.kill)
        killer.start()
        wait_until = time.monotonic() + 120.0
        while not (log.is_file() and log.read_text()) and time.monotonic() < wait_until:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        killer.cancel()
    assert process.returncode in (0, 1), said
    assert "training ends; the best so far is judged" in said
    assert "Traceback" not in said
    assert (given.out / "report.html").is_file()
