"""A checkpoint becomes a model that the session runs: the same numbers at any budget, in time."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")

from pag_ros.cli import main  # noqa: E402
from pag_ros.errors import ModelError, ParameterError  # noqa: E402
from pag_ros.lab.model.operators import no_limits  # noqa: E402
from pag_ros.lab.transformers import adopt as adopting  # noqa: E402
from pag_ros.lab.transformers import depth_anything, label_teaching, labelled_pictures  # noqa: E402
from pag_ros.lab.transformers.adopt import (  # noqa: E402
    adopt,
    export_depth_anything,
    export_standard,
)
from pag_ros.lab.transformers.deployed import DeployedDepthAnything, normals_of  # noqa: E402
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything  # noqa: E402
from pag_ros.lab.transformers.dpt import DptConfig  # noqa: E402
from pag_ros.lab.transformers.label_teaching import LabelLesson  # noqa: E402
from pag_ros.lab.transformers.labels import new_head  # noqa: E402
from pag_ros.lab.transformers.metres import ScaleAndShift  # noqa: E402
from pag_ros.lab.transformers.scale_fit import ScaleFit  # noqa: E402
from pag_ros.lab.transformers.vit import VitConfig  # noqa: E402
from pag_ros.manifest import NO_LABEL, load_manifest  # noqa: E402
from pag_ros.runtime import Deadline, open_session  # noqa: E402

SIZE = (112, 84)
PATCHES = 8 * 6


def tiny(max_depth_m: float | None = 20.0) -> GatedDepthAnything:
    """Of another size than those that are published."""
    torch.manual_seed(7)
    network = GatedDepthAnything("toy", max_depth_m)
    for name, parameter in network.named_parameters():
        parameter.data = torch.randn(parameter.shape) * (0.1 if "depth_head" in name else 0.2)
        if "gamma" in name or ("norm" in name and name.endswith("weight")):
            parameter.data += 1.0
    return network.eval()


@pytest.fixture(scope="module", autouse=True)
def _known_size():
    trunk = VitConfig(48, 4, 3, (0, 1, 2, 3), grid=5)
    depth_anything.SIZES["toy"] = trunk, DptConfig(48, (8, 8, 8, 8), 16)
    adopting.LICENCES["toy"] = "none"
    yield
    del depth_anything.SIZES["toy"], adopting.LICENCES["toy"]


@pytest.fixture(scope="module")
def network(_known_size) -> GatedDepthAnything:
    network = tiny()
    for value in network.parameters():  # as the file stores them
        value.data = value.data.half().float()
    return network


@pytest.fixture(scope="module")
def model(network: GatedDepthAnything, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adopted") / "tiny.onnx"
    export_depth_anything(network, "tiny", SIZE, path)
    return path


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)


@pytest.mark.parametrize("keep", [(48, 48, 48, 48), (1, 20, 47, 3), (0, 0, 0, 0), (48, 0, 5, 30)])
def test_the_session_gives_what_torch_gives(
    network: GatedDepthAnything, model: Path, keep: tuple[int, ...]
) -> None:
    deployed = DeployedDepthAnything(network)
    with torch.no_grad():
        outputs = deployed(
            torch.from_numpy(picture())[None],
            torch.tensor([90.0]),
            torch.tensor(keep, dtype=torch.int32),
            no_limits(4),
        )
    expected = {n: o.numpy() for n, o in zip(deployed.output_names(), outputs, strict=True)}
    session = open_session(model, "cpu", 1)
    got = session.infer(picture(), 90.0, keep)
    session.close()
    assert got.keep_used == keep
    assert expected["depth"].std() > 0.02
    assert np.abs(got.depth - expected["depth"][0]).max() < 0.02 * expected["depth"].std()
    # Of neighbours that are nearly alike the slope is all rounding.
    assert np.median(np.abs(got.normals - expected["normals"][0])) < 2e-3
    assert int(got.computed[7::14, 7::14].sum()) == sum(keep)


@pytest.fixture(scope="module")
def standard(network: GatedDepthAnything, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("standard") / "tiny.standard.onnx"
    export_standard(network, SIZE, path, "")
    return path


Runs = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
"""Gives depth, normals and the patches of every block."""


def in_openvino(model: Path) -> Runs:
    import openvino as ov

    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(model, "CPU", properties)
    return lambda feeds: [compiled(feeds)[port] for port in compiled.outputs]


def in_onnxruntime(model: Path) -> Runs:
    ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[bench]'")
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


@pytest.mark.parametrize("open_in", [in_openvino, in_onnxruntime])
def test_in_standard_operators_other_runtimes_give_what_the_network_gives(
    network: GatedDepthAnything,
    standard: Path,
    open_in: Callable[[Path], Runs],
) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(standard)
    onnx.checker.check_model(graph)
    assert {node.domain for node in graph.graph.node} == {""}
    run = open_in(standard)
    for keep in [(PATCHES,) * 4, (1, 20, 47, 3), (1, 1, 1, 1)]:
        feeds = {
            "image": picture()[None],
            "fx": np.array([90.0], np.float32),
            "keep": np.array(keep, np.int32),
        }
        with torch.no_grad():
            expected = network(torch.from_numpy(feeds["image"]).permute(0, 3, 1, 2) / 255.0, keep)
            listed = DeployedDepthAnything(network)(
                *(torch.from_numpy(value) for value in feeds.values()), no_limits(4)
            )[3:]
        depth, _, *index = run(feeds)
        assert np.abs(depth[0] - expected[0, 0].numpy()).max() < 0.01 * float(expected.std())
        for found, wanted, count in zip(index, listed, keep, strict=True):
            assert found.dtype == np.int32
            assert sorted(found.tolist()) == sorted(wanted[:count].tolist())


def test_with_all_patches_it_is_the_network_itself(network: GatedDepthAnything) -> None:
    image = torch.from_numpy(picture())[None]
    keep = torch.full((4,), PATCHES, dtype=torch.int32)
    with torch.no_grad():
        depth = DeployedDepthAnything(network)(image, torch.tensor([90.0]), keep, no_limits(4))[0]
        whole = network(image.permute(0, 3, 1, 2) / 255.0)
    torch.testing.assert_close(depth, whole[:, 0])


@pytest.mark.parametrize("keep", [(30, 5, 17, 40), (1, 1, 1, 1)])
def test_with_fewer_patches_it_keeps_those_that_the_network_keeps(
    network: GatedDepthAnything, keep: tuple[int, ...]
) -> None:
    image = torch.from_numpy(picture())[None]
    counts = torch.tensor(keep, dtype=torch.int32)
    with torch.no_grad():
        depth = DeployedDepthAnything(network)(image, torch.tensor([90.0]), counts, no_limits(4))[0]
        gated = network(image.permute(0, 3, 1, 2) / 255.0, keep)
    torch.testing.assert_close(depth, gated[:, 0])


def test_a_late_frame_is_trimmed_and_stages_are_timed(model: Path) -> None:
    session = open_session(model, "cpu", 1)
    whole = (PATCHES,) * 4
    # Of 4,000 s of gated work half is late, whatever the machine's own pace.
    deadline = Deadline(time.perf_counter() + 2000.0, (0.0, *[1000.0] * 4, 0.0))
    late = session.infer(picture(), 90.0, whole, deadline)
    assert late.keep_used[0] in (23, 24)
    in_time = session.infer(picture(), 90.0, whole)
    assert in_time.keep_used == whole
    assert session.stages == ("encoder", "block0", "block1", "block2", "block3", "heads")
    assert all(seconds > 0.0 for seconds in in_time.stage_seconds)
    session.close()


def test_the_manifest_says_what_it_is(model: Path) -> None:
    manifest = load_manifest(model)
    assert manifest.heads == ("depth", "normals")
    assert manifest.classes == ()
    assert manifest.depth_range_m == (0.1, 20.0)
    assert [(b.width, b.height, b.channels) for b in manifest.blocks] == [(8, 6, 48)] * 4
    # Query, projection and MLP: 10 products of 48 x 48; scores and mixture of 49 tokens.
    assert manifest.blocks[0].macs_per_pixel == 10 * 48 * 48 + 2 * 49 * 48
    assert manifest.keep_for(0.5) == (24,) * 4
    # Keys and values of all tokens and the class token's own way are always computed.
    always = 4 * (2 * 49 * 48 * 48 + manifest.blocks[0].macs_per_pixel) + 48 * 3 * 14 * 14 * 48
    assert manifest.dense_macs > always


def test_two_rows_hold_how_the_blocks_share_every_budget(tmp_path: Path) -> None:
    network = tiny()
    network.tilt = -0.6
    path = tmp_path / "tilted.onnx"
    manifest = export_depth_anything(network, "tilted", SIZE, path)
    assert sorted(manifest.budgets) == ["0.50", "1.00"]
    for budget in (0.2, 0.35, 0.5, 0.8, 1.0):
        wanted = network.keep_for(budget, PATCHES)
        assert np.abs(np.subtract(load_manifest(path).keep_for(budget), wanted)).max() <= 1


def test_normals_are_those_of_the_plane() -> None:
    """n.p = -2 through the points p of every pixel: z = -2 / (n.ray)."""
    focal_px, width, height = 200.0, 64, 48
    normal = np.array([0.2, -0.5, -0.8])
    normal /= np.linalg.norm(normal)
    x = (np.arange(width) - (width - 1) / 2) / focal_px
    y = ((np.arange(height) - (height - 1) / 2) / focal_px)[:, None]
    depth = -2.0 / (normal[0] * x + normal[1] * y + normal[2])
    seen = normals_of(torch.from_numpy(depth)[None].float(), torch.tensor([focal_px]))[0]
    inner = seen[1:-1, 1:-1].reshape(-1, 3).numpy()
    np.testing.assert_allclose(inner, np.broadcast_to(normal, inner.shape), atol=2e-3)


def test_the_command_writes_a_model_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cv2, onnx = pytest.importorskip("cv2"), pytest.importorskip("onnx")
    state = {k: v for k, v in tiny().state_dict().items() if ".gate." not in k}
    checkpoint = tmp_path / "depth_anything_v2_metric_tiny.pth"
    torch.save(state, checkpoint)
    command = ["adopt", str(checkpoint), "--out", str(tmp_path / "da2"), "--size", "112x84"]
    with caplog.at_level(logging.WARNING):
        assert main([*command, "--max-depth", "20"]) == 0
    assert "learned nothing" in capsys.readouterr().out
    assert not caplog.records, "nothing of what the exporter says about itself"
    model = tmp_path / "da2" / "depth_anything_v2_metric_tiny.onnx"
    notes = onnx.load(model.with_suffix(".standard.onnx")).metadata_props
    assert [(each.key, each.value) for each in notes] == [
        ("pag_ros.model_sha256", load_manifest(model).sha256)
    ]
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    run = ["run", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main([*run, "--budget", "0.5", "--raw"]) == 0
    with np.load(tmp_path / "out" / "a.npz") as maps:
        assert np.isfinite(maps["depth"]).all()
        assert 0 < (maps["computed"] > 0).mean() < 1


@pytest.mark.parametrize(
    ("size", "max_depth_m", "text"),
    [
        (
            (320, 240),
            20.0,
            "320x240: sides are whole multiples of 14 up to 1036, such as 322x238",
        ),
        ((1050, 14), 20.0, "such as 1036x14"),
        (SIZE, 0.0, "max depth must lie in 0.5 to 1000 m, got 0"),
    ],
)
def test_what_cannot_be_adopted_is_said(
    size: tuple[int, int], max_depth_m: float, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError) as raised:
        adopt(tmp_path / "any.pth", tmp_path, size, max_depth_m)
    assert text in str(raised.value)


def test_a_relative_depth_without_metres_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="relative: a relative depth has no metres; --depths"):
        export_depth_anything(tiny(None), "relative", SIZE, tmp_path / "relative.onnx")
    assert not list(tmp_path.iterdir())


SCALE, SHIFT = 0.5, 0.2
"""1/m, of the relative network below."""


def relative() -> GatedDepthAnything:
    network = tiny(None)
    last = network.depth_head.scratch.output_conv2[2]
    last.weight.data *= 30.0
    last.bias.data += 0.8  # without it half of the disparities would be 0
    for value in network.parameters():  # as the file stores them
        value.data = value.data.half().float()
    return network


def metres(farthest_m: float = 8.0) -> ScaleFit:
    best = ScaleAndShift(SCALE, SHIFT, farthest_m)
    return ScaleFit(best, "fitted to 20 pictures", (0.8, 0.9), 0.1)


def disparity_of(image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return relative()(torch.from_numpy(image)[None].permute(0, 3, 1, 2) / 255.0)[0, 0].numpy()


def test_a_relative_network_with_metres_runs_as_torch_says(tmp_path: Path) -> None:
    network = relative()
    network.give_metres(metres())
    path = tmp_path / "relative.onnx"
    export_depth_anything(network, "relative", SIZE, path)
    session = open_session(path, "cpu", 1)
    got = session.infer(picture(), 90.0, (PATCHES,) * 4)
    session.close()
    disparity = disparity_of(picture())
    assert disparity.std() > 0.1
    # Where it is clamped at 0 and where it is not.
    assert 0.0 < (disparity == 0.0).mean() < 0.5
    np.testing.assert_allclose(got.depth, 1.0 / (SCALE * disparity + SHIFT), rtol=2e-3)


def test_the_manifest_says_where_metres_come_from(tmp_path: Path) -> None:
    network, path = relative(), tmp_path / "relative.onnx"
    network.give_metres(metres())
    export_depth_anything(network, "relative", SIZE, path)
    manifest = load_manifest(path)
    assert manifest.depth_range_m == (0.1, 8.0)
    assert manifest.focal_range == pytest.approx((112 * 0.8 / 1.1, 112 * 0.9 * 1.1))
    assert "metres: 1 / (0.5 * disparity +0.2), fitted to 20 pictures" in manifest.training_data
    assert "standard deviation of the logarithm 0.10" in manifest.training_data


def rooms(folder: Path) -> Path:
    """Noise whose true depth is the relative network's, times a factor of each picture's own."""
    cv2 = pytest.importorskip("cv2")
    (folder / "frames").mkdir(parents=True)
    lines = []
    for number, factor in enumerate(np.exp(np.linspace(-0.16, 0.16, 16))):
        stem = f"{folder}/frames/{number}"
        noise = np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        cv2.imwrite(f"{stem}.color.jpg", noise)
        seen = cv2.cvtColor(cv2.imread(f"{stem}.color.jpg"), cv2.COLOR_BGR2RGB)
        depth = factor / (SCALE * disparity_of(seen) + SHIFT)
        cv2.imwrite(f"{stem}.depth.png", (1000.0 * depth).astype(np.uint16))
        lines.append(f'{{"id": "{number}", "fx": 90.0, "truths": ["depth"]}}\n')
    (folder / "frames.jsonl").write_text("".join(lines))
    return folder


@pytest.mark.usefixtures("without_standard_graph")
def test_the_command_fits_a_relative_checkpoints_metres(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {k: v for k, v in relative().state_dict().items() if ".gate." not in k}
    checkpoint = tmp_path / "depth_anything_v2_vits.pth"
    torch.save(state, checkpoint)
    command = ["adopt", str(checkpoint), "--out", str(tmp_path / "da2"), "--size", "112x84"]
    assert main(command) == 2
    assert "a relative depth has no metres; --recording BAG fits" in capsys.readouterr().err
    assert not (tmp_path / "da2").exists()
    assert main([*command, "--depths", str(rooms(tmp_path / "rooms"))]) == 0
    printed = capsys.readouterr().out
    assert "fitted to 16 pictures of rooms rooms, each of which is off by a factor" in printed
    assert "(standard deviation of the logarithm 0.10)" in printed
    model = tmp_path / "da2" / "depth_anything_v2_vits.onnx"
    assert load_manifest(model).depth_range_m[1] == pytest.approx(1.17 / SHIFT, rel=0.05)
    session = open_session(model, "cpu", 1)
    got = session.infer(picture(), 90.0, (PATCHES,) * 4).depth
    session.close()
    wanted = 1.0 / (SCALE * disparity_of(picture()) + SHIFT)
    np.testing.assert_allclose(got, wanted, rtol=0.05)


def test_the_command_takes_height_and_pitch_where_there_is_no_depth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {k: v for k, v in relative().state_dict().items() if ".gate." not in k}
    checkpoint, pictures = tmp_path / "depth_anything_v2_vits.pth", str(rooms(tmp_path / "rooms"))
    torch.save(state, checkpoint)
    command = ["adopt", str(checkpoint), "--out", str(tmp_path / "da2"), "--size", "112x84"]
    for options, text in (
        (["--floor", pictures], "--floor and --camera-height go together"),
        (["--depths", pictures, "--camera-height", "1"], "--floor and --camera-height go together"),
        (["--floor", pictures, "--camera-height", "1"], "--floor needs --camera-pitch"),
        # Random weights see none.
        (
            ["--floor", pictures, "--camera-height", "1", "--camera-pitch", "15"],
            "rooms rooms: a floor is seen in 0 of 16 pictures",
        ),
    ):
        assert main([*command, *options]) == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "da2").exists()


@pytest.mark.usefixtures("without_standard_graph")
def test_a_metric_checkpoint_needs_no_max_depth_where_its_name_says_it(tmp_path: Path) -> None:
    state = {k: v for k, v in tiny().state_dict().items() if ".gate." not in k}
    checkpoint = tmp_path / "depth_anything_v2_metric_vkitti_vits.pth"
    torch.save(state, checkpoint)
    assert main(["adopt", str(checkpoint), "--out", str(tmp_path), "--size", "112x84"]) == 0
    assert load_manifest(checkpoint.with_suffix(".onnx")).depth_range_m == (0.1, 80.0)


def labelled(folder: Path) -> str:
    """Pictures, bright or dark, that say so."""
    cv2 = pytest.importorskip("cv2")
    (folder / "frames").mkdir(parents=True)
    for number in range(22):
        bright = number % 2 if number < 21 else NO_LABEL
        noise = np.random.default_rng(number).integers(0, 60, (SIZE[1], SIZE[0], 3))
        cv2.imwrite(
            f"{folder}/frames/{number}.color.jpg", (noise + 190 * (number % 2)).astype(np.uint8)
        )
        cv2.imwrite(f"{folder}/frames/{number}.label.png", np.full(noise.shape[:2], bright, "u1"))
    lines = (f'{{"id": "{n}", "fx": 90.0, "truths": ["labels"]}}\n' for n in range(22))
    (folder / "frames.jsonl").write_text("".join(lines))
    (folder / "dataset.json").write_text('{"classes": ["night", "day"]}')
    return f"rooms:{folder}"


def test_the_command_gives_a_checkpoint_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(label_teaching, "LabelLesson", partial(LabelLesson, steps=25))
    state = {k: v for k, v in tiny().state_dict().items() if ".gate." not in k}
    checkpoint = tmp_path / "depth_anything_v2_metric_hypersim_vits.pth"
    torch.save(state, checkpoint)
    command = ["adopt", str(checkpoint), "--out", str(tmp_path), "--size", "112x84"]
    pictures = labelled(tmp_path / "pictures")
    one = SIZE[0] * SIZE[1] * 15 // 4
    monkeypatch.setattr(labelled_pictures, "MAX_BYTES", 21 * one)
    assert main([*command, "--labels", pictures, "--minutes", "60"]) == 0
    printed = capsys.readouterr().out
    head = checkpoint.with_suffix(".labels.safetensors")
    assert "1 of 22 pictures left out: memory is set aside for 21\n" in printed
    assert "1 of 21 pictures left out: nothing in them is labelled\n" in printed
    assert "labels, pixels right / mIoU: at 1 1.000 / 1.000, at 0.5" in printed
    assert f"(2 pictures held back, 25 steps)\nlabels: {head}\n" in printed
    model = checkpoint.with_suffix(".onnx")
    manifest = load_manifest(model)
    assert manifest.heads == ("depth", "normals", "segmentation")
    assert [c.name for c in manifest.classes] == ["night", "day"]
    assert manifest.training_data.endswith("; labels taught on rooms pictures (18 pictures)")
    outputs = [each.name for each in onnx.load(model.with_suffix(".standard.onnx")).graph.output]
    assert outputs[:4] == ["depth", "normals", "labels", "confidence"]
    for label in (0, 1):
        image = np.full((SIZE[1], SIZE[0], 3), 30 + 190 * label, np.uint8)
        for density in (1.0, 0.3):
            with closing(open_session(model, "cpu", 1)) as session:
                found = session.infer(image, 90.0, (round(density * PATCHES),) * 4)
            assert (found.labels == label).mean() > 0.9
            assert found.confidence.mean() > 0.5
    # The head again: no picture is needed.
    again = tmp_path / "again"
    monkeypatch.setattr(adopting, "export_standard", lambda *_: None)
    assert main([*command[:3], str(again), *command[4:], "--label-head", str(head)]) == 0
    assert load_manifest(again / model.name).training_data == manifest.training_data
    both = []
    for folder in (tmp_path, again):
        with closing(open_session(folder / model.name, "cpu", 1)) as session:
            both.append(session.infer(picture(), 90.0, (20,) * 4).labels)
    np.testing.assert_array_equal(*both)


def test_a_head_for_labels_is_counted(network: GatedDepthAnything) -> None:
    _, without = adopting._count(network, SIZE)
    labelling = copy.deepcopy(network)
    labelling.label_head = new_head(labelling, ("a", "b", "c"))
    _, macs = adopting._count(labelling, SIZE)
    mixed, fine = 192, 64
    a_patch = 4 * 48 * mixed + mixed * 16 * fine + 16 * (9 * fine * fine + 3 * fine)
    assert macs - without == PATCHES * a_patch


def status_of(command: list[str]) -> object:
    """What the process would end with."""
    try:
        return main(command)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--recording", "bag", "--labels", "rooms:x"],
            "--labels is of no use with --recording; teach them before, and give --label-head",
        ),
        (["--minutes", "3"], "--minutes is of no use without --teach, --labels or --recording"),
        (["--labels", "rooms:x", "--label-head", "y"], "not allowed with argument"),
        (["--labels", "rooms:nowhere"], "nowhere"),
    ],
)
def test_options_about_labels_that_have_no_use_are_refused(
    options: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["adopt", "any.pth", "--max-depth", "20", "--out", str(tmp_path / "out"), *options]
    assert status_of(command) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
