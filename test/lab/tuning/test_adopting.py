"""From a checkpoint and a bag to a model with taught gates and its report, in small."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from room_bags import Messages, write_walk

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")


from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import DatasetError, ParameterError  # noqa: E402
from pag_ros.lab.recordings import ImportOptions  # noqa: E402
from pag_ros.lab.recordings.splitting import Side  # noqa: E402
from pag_ros.lab.transformers import adopt, depth_anything, teaching  # noqa: E402
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything  # noqa: E402
from pag_ros.lab.transformers.disparities import disparity_of  # noqa: E402
from pag_ros.lab.transformers.dpt import DptConfig  # noqa: E402
from pag_ros.lab.transformers.gates import load_gates  # noqa: E402
from pag_ros.lab.transformers.labels import new_head, save_label_head  # noqa: E402
from pag_ros.lab.transformers.pictures import read_pictures  # noqa: E402
from pag_ros.lab.transformers.teaching import Lesson  # noqa: E402
from pag_ros.lab.transformers.tiny import save_network  # noqa: E402
from pag_ros.lab.transformers.vit import VitConfig  # noqa: E402
from pag_ros.lab.tuning import AdoptOptions, adopt_for_recording, adopting  # noqa: E402
from pag_ros.lab.tuning.adopting import JUDGED_AT, tell_depths  # noqa: E402
from pag_ros.lab.tuning.changes import ScoreChange  # noqa: E402
from pag_ros.lab.tuning.folder import frames_of  # noqa: E402
from pag_ros.lab.tuning.paired_scores import MAIN_METRICS, MEDIAN_SCALED  # noqa: E402
from pag_ros.manifest import load_manifest  # noqa: E402
from pag_ros.runtime.models import DEFAULT_MODEL  # noqa: E402

SIZE = (112, 84)
SCALE, SHIFT = 0.2, 0.05
"""1/m, of the relative network below."""

HELD_OUT = range(30, 45)
"""Of the walk's 60 frames: its third quarter."""


class Quiet:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, text: str, total: int | None = 0) -> None:
        pass

    def step(self) -> None:
        pass

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def without_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where NNCF is not installed: measuring ranges takes half a minute."""
    monkeypatch.setitem(sys.modules, "nncf", None)


@pytest.fixture(scope="module", autouse=True)
def _known_size():
    depth_anything.SIZES["toy"] = (
        VitConfig(48, 4, 3, (0, 1, 2, 3), grid=5),
        DptConfig(48, (8, 8, 8, 8), 16),
    )
    adopt.LICENCES["toy"] = "none"
    yield
    del depth_anything.SIZES["toy"], adopt.LICENCES["toy"]


def network_of(max_depth_m: float | None) -> GatedDepthAnything:
    """Of random weights; a relative one's disparity varies, above 0."""
    torch.manual_seed(0)
    network = GatedDepthAnything("toy", max_depth_m).eval()
    for name, value in network.named_parameters():
        if "norm" not in name and "gamma" not in name:
            value.data = torch.randn(value.shape) * (0.1 if "depth_head" in name else 0.2)
    if max_depth_m is None:
        network.depth_head.scratch.output_conv2[2].weight.data *= 20.0
        network.depth_head.scratch.output_conv2[2].bias.data += 0.6
    return network


def saved(network: GatedDepthAnything, path: Path) -> Path:
    save_network(network, path)
    return path


def walk(path: Path, depth_of: Callable[[int, np.ndarray], np.ndarray | None]) -> Path:
    """The walk of `room_bags`, its pictures smooth; depth in metres at their size, or none."""

    def edit(number: int, frame: dict[str, Any]) -> None:
        frame["image"] = cv2.GaussianBlur(frame["image"], (0, 0), 6.0)
        metres = depth_of(number, frame["image"])
        frame["depth"] = None if metres is None else (1000.0 * metres).astype(np.uint16)

    return write_walk(Messages(), path, edit=edit)


def disparity(network: GatedDepthAnything, image: np.ndarray) -> np.ndarray:
    """Of a picture of the walk, smooth: where recorded depth bends sharply it is left out."""
    shown = cv2.resize(image, SIZE, interpolation=cv2.INTER_LINEAR)
    seen = cv2.resize(disparity_of(network, shown), (64, 48), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(seen, (0, 0), 4.0)


def options(tmp_path: Path, checkpoint: Path, bag: Path, **changes: Any) -> AdoptOptions:
    given = {
        "checkpoint": checkpoint,
        "bags": (bag,),
        "out": tmp_path / "mine",
        "size": SIZE,
        "max_depth_m": None,
        "lesson": Lesson(steps=2, batch=2),
        "recording": ImportOptions(depth_scale=0.001),
    }
    return AdoptOptions(**{**given, **changes})


def fitting_depth(network: GatedDepthAnything) -> Callable[[int, np.ndarray], np.ndarray]:
    """What a relative network sees by the metres above; half as far again where held out."""

    def depth(number: int, image: np.ndarray) -> np.ndarray:
        factor = 1.5 if number in HELD_OUT else 1.0
        return factor / (SCALE * disparity(network, image) + SHIFT)

    return depth


def test_it_learns_from_some_frames_and_is_judged_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, seen = network_of(None), {}
    teach, read = adopting.teach, adopting.read_disparities

    def seen_teaching(*given: Any) -> Any:
        seen["taught on"], seen["measured on"] = given[1:3]
        return teach(*given)

    def seen_fitting(*given: Any) -> Any:
        seen["fitted to"] = given[1]
        return read(*given)

    monkeypatch.setattr(adopting, "teach", seen_teaching)
    monkeypatch.setattr(adopting, "read_disparities", seen_fitting)
    checkpoint = saved(network, tmp_path / "relative.safetensors")
    bag = walk(tmp_path / "walk", fitting_depth(network))
    adopted = adopt_for_recording(options(tmp_path, checkpoint, bag), Quiet())

    out = tmp_path / "mine"
    train, held_out = (frames_of(out, side) for side in (Side.TRAIN, Side.HELD_OUT))
    assert torch.equal(seen["taught on"], read_pictures(train, SIZE))
    assert torch.equal(seen["measured on"], read_pictures(held_out, SIZE))
    assert (seen["fitted to"].name, len(seen["fitted to"])) == (train.name, len(train))

    assert adopted.model == out / "relative.onnx"
    said = load_manifest(adopted.model).training_data
    assert f"gates taught on walk ({len(train)} frames)" in said
    assert f"fitted to {len(train)} pictures of walk" in said
    numbers = json.loads((out / "report.json").read_text())
    assert adopted.numbers["depth_ratio"] == pytest.approx(1.5, rel=0.05)
    assert adopted.numbers["metres"]["wander"] < 0.1
    # Those that it was fitted to would be right, of these each wants a factor of its own.
    depths = {e["budget"]: e for e in numbers["held_out"] if e["metric"] == "depth delta1"}
    assert set(depths) == set(JUDGED_AT)
    assert depths[1.0]["after"] < 0.1
    scaled = [e for e in numbers["held_out"] if "median-scaled" in e["metric"]]
    assert all(entry["after"] > 0.9 for entry in scaled)
    # The same network but for its gates, which at 1 leave nothing out.
    of_frames = {b: [f for f in numbers["frames"] if f["budget"] == b] for b in JUDGED_AT}
    assert all(frame["before"] == frame["after"] for frame in of_frames[1.0])
    assert all(frame["before"] != frame["after"] for frame in of_frames[0.3])
    assert not [path for path in out.iterdir() if path.is_dir() and path.name != "data"]
    assert not any("1.00" in reason for reason in adopted.judgement.reasons)
    # Taught gates are those of the model, untaught ones are gone.
    taught = [frame["after"]["depth delta1"] for frame in of_frames[0.3]]
    words = ["score", "--dataset", str(out / "data" / "held_out"), "--model", str(adopted.model)]
    words += ["--device", "cpu", "--precision", "fp32", "--budgets", ".3"]
    assert main([*words, "--json", str(tmp_path / "scores.json")]) == 0
    (scores,) = json.loads((tmp_path / "scores.json").read_text()).values()
    delta1 = scores["budgets"]["0.30"]["depth"]["delta1"]
    assert delta1 == pytest.approx(np.mean(taught), abs=1e-6)
    page = adopted.report.read_text()
    assert "The gates untaught (before) and taught (after)" in page
    assert "forgotten" not in page
    # Without NNCF: what makes up for it.
    assert any("`pag_ros quantize" in line and "--record`" in line for line in adopted.lines)
    manifest = load_manifest(adopted.model)
    assert set(manifest.scores) == {"1.00", "0.50", "0.30"}


@pytest.mark.usefixtures("without_standard_graph")
def test_gates_need_no_depth_and_ctrl_c_keeps_what_they_have_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command, for half an hour but for the signal."""
    step = teaching._step_loss

    def interrupted(*given: Any) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return step(*given)

    monkeypatch.setattr(teaching, "_step_loss", interrupted)
    monkeypatch.setattr(teaching, "_fitting_batch", lambda *_: 2)
    monkeypatch.setattr(adopting, "JUDGED_FRAMES", 4)
    network = network_of(20.0)
    checkpoint = saved(network, tmp_path / "metric.safetensors")
    network.label_head = new_head(network, ("floor", "charging dock")).eval()
    save_label_head(network, tmp_path / "head.safetensors")
    bag, out = walk(tmp_path / "walk", lambda number, image: None), tmp_path / "mine"
    command = ["adopt", str(checkpoint), "--out", str(out), "--size", "112x84"]
    command += ["--max-depth", "20", "--recording", str(bag), "--minutes", "30"]
    command += ["--label-head", str(tmp_path / "head.safetensors")]
    assert main([*command, "--json", str(tmp_path / "numbers.json")]) == 0
    told = capsys.readouterr()
    assert "teaching ends; what was learned so far is kept (Ctrl-C again to leave)" in told.err
    assert f"{out / 'metric.onnx'} (none): taught gates not shown to be better" in told.out
    assert "no held-out frame has true depth" in told.out
    assert "|log depth| off the whole network's: at 0.7 " in told.out
    assert "(1 steps)" in told.out
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["model"] == str(out / "metric.onnx")
    assert (numbers["steps"], numbers["metres"], numbers["depth_ratio"]) == (1, None, None)
    assert set(numbers["off_the_whole"]["after"]) == {"0.70", "0.50", "0.30"}
    fresh = network_of(20.0)
    load_gates(fresh, out / "metric.gates.safetensors")
    assert fresh.taught_on == "taught on walk (39 frames)"
    manifest = load_manifest(out / "metric.onnx")
    assert [each.name for each in manifest.classes] == ["floor", "charging dock"]
    assert "charging dock" in (out / "report.html").read_text()


@pytest.mark.usefixtures("without_standard_graph")
def test_relative_depth_of_depth_anything_3_gets_one_factor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import small_v3

    monkeypatch.setattr(adopting, "JUDGED_FRAMES", 4)
    said = Quiet()
    with small_v3.known_sizes():
        network = small_v3.small_v3()

        def depth(number: int, image: np.ndarray) -> np.ndarray:
            return 2.0 * disparity(network, image)

        checkpoint = small_v3.saved(network, tmp_path / "model.safetensors")
        bag = walk(tmp_path / "walk", depth)
        adopted = adopt_for_recording(options(tmp_path, checkpoint, bag), said)
    assert set(adopted.numbers["metres"]) == {"factor", "wander"}
    assert adopted.numbers["metres"]["factor"] == pytest.approx(2.0, rel=0.1)
    assert adopted.numbers["depth_ratio"] == pytest.approx(1.0, rel=0.1)
    assert "not used: 3 tensors of its cameras and rays, which one picture lacks" in said.lines
    assert any("* relative depth, fitted to 39 pictures of walk" in line for line in said.lines)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Gives the one line that a relative checkpoint and a walk end with."""

    def end(network: GatedDepthAnything, bag: Path, **changes: Any) -> str:
        checkpoint = saved(network, tmp_path / "relative.safetensors")
        with pytest.raises((DatasetError, ParameterError)) as raised:
            adopt_for_recording(options(tmp_path, checkpoint, bag, **changes), Quiet())
        assert "\n" not in str(raised.value)
        assert not list(tmp_path.glob("mine/*.onnx"))
        return str(raised.value)

    return end


def test_a_recording_without_depth_gives_no_metres(refused: Any, tmp_path: Path) -> None:
    bag = walk(tmp_path / "walk", lambda number, image: None)
    said = refused(network_of(None), bag)
    assert f"{bag}: no depth that a relative checkpoint's metres could be fitted to" in said
    other = walk(tmp_path / "other", lambda number, image: None)
    assert str(other) in refused(network_of(None), other), "bad input is forgotten"


def test_too_few_frames_are_counted(
    refused: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting, "FEWEST", 40)
    bag = walk(tmp_path / "walk", fitting_depth(network_of(None)))
    said = refused(network_of(None), bag)
    assert "39 frames to learn from; gates are taught on 40 or more" in said


def test_a_metric_checkpoint_that_nothing_calls_so_is_found_out(
    refused: Any, tmp_path: Path
) -> None:
    network = network_of(None)
    bag = walk(tmp_path / "walk", lambda number, image: disparity(network, image))
    assert "of a metric one say so by --max-depth METRES" in refused(network, bag)


@pytest.mark.parametrize(
    ("max_depth_m", "asked"),
    [(None, DEFAULT_MODEL), (20.0, "relative")],
    ids=["relative", "metric"],
)
def test_who_knows_metres_is_asked_about_the_unit(
    max_depth_m: float | None,
    asked: str,
    refused: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    def open_session(model: Path, device: str) -> Any:
        opened.append(model.stem)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(adopting, "open_session", open_session)
    monkeypatch.setattr(adopting, "export_depth_anything", lambda *_: None)
    monkeypatch.setattr(adopting, "depth_ratio", lambda *_: 5.0)
    bag = walk(tmp_path / "walk", fitting_depth(network_of(None)))
    changes = {"max_depth_m": max_depth_m, "recording": ImportOptions()}
    assert "give --depth-scale 0.0002" in refused(network_of(max_depth_m), bag, **changes)
    assert opened == [asked]


def test_a_folder_with_frames_of_another_recording_is_refused(refused: Any, tmp_path: Path) -> None:
    network = network_of(None)
    bag = walk(tmp_path / "walk", lambda number, image: disparity(network, image))
    refused(network, bag)
    assert (tmp_path / "mine" / "data" / "account.json").is_file()
    said = refused(network, tmp_path / "other")
    assert said.startswith(f"{tmp_path / 'mine'}: holds a tuning with another bags; give another")


def test_how_good_the_depth_is_at_each_budget() -> None:
    depth = MAIN_METRICS["depth"]
    changes = [
        ScoreChange(metric, budget, before, after, 0.0, 0.0, 20)
        for metric, budget, before, after in (
            (depth, 0.5, 0.61, 0.63),
            (depth, 1.0, 0.7, 0.7),
            (MEDIAN_SCALED, 0.5, 0.8, 0.82),
            (MEDIAN_SCALED, 1.0, 0.9, 0.9),
        )
    ]
    assert list(tell_depths(changes, 1.234)) == [
        "whole network: δ < 1.25 70.0 %, with each frame's right factor 90.0 %; things are 1.23 "
        "times as far as it sees them",
        "budget 0.50: δ < 1.25 61.0 % with untaught gates, 63.0 % with taught ones",
    ]
