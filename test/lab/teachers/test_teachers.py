"""Any ONNX file labels what has no truth; what cannot be used is said in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pag_ros.cli import main
from pag_ros.errors import ModelError, ParameterError
from pag_ros.lab.datasets import open_dataset
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.teachers import TeacherSpec, label_dataset, label_pictures, parse_teacher
from pag_ros.lab.teachers.network import TeacherNetwork
from pag_ros.runtime import Session, open_session


def write_teacher(
    path: Path,
    kind: str = "depth",
    layout: str = "NCHW",
    dtype: int = TensorProto.FLOAT,
    size: tuple[int, int] | None = (32, 24),
) -> Path:
    """A network that gives the input's first channel as it gets it, or two classes by it."""
    height, width = ("h", "w") if size is None else (size[1], size[0])
    nchw = layout == "NCHW"
    shape = [1, 3, height, width] if nchw else [1, height, width, 3]
    nodes = [helper.make_node("Cast", ["image"], ["value"], to=TensorProto.FLOAT)]
    axis = 1 if nchw else 3
    nodes.append(helper.make_node("Slice", ["value", "zero", "one", "axis"], ["first"]))
    constants = [
        helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [axis]),
    ]
    if kind == "labels":
        nodes.append(helper.make_node("Neg", ["first"], ["other"]))
        nodes.append(helper.make_node("Concat", ["other", "first"], ["out"], axis=axis))
    else:
        nodes.append(helper.make_node("Identity", ["first"], ["out"]))
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


PICTURE = np.zeros((48, 64, 3), np.uint8)
PICTURE[:, 32:, 0] = 200
PICTURE[:, :, 2] = 90


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_picture_reaches_the_network_as_its_recipe_says(layout: str, tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx", layout=layout)
    plain = TeacherSpec(path, "depth", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    given = TeacherNetwork(plain).depth(PICTURE)
    assert given.shape == (48, 64)
    assert (given[10, 5], given[10, 60]) == (0.0, 200.0)
    scaled = TeacherSpec(path, "depth", mean=(100.0, 0.0, 0.0), std=(50.0, 1.0, 1.0))
    assert TeacherNetwork(scaled).depth(PICTURE)[10, 60] == pytest.approx(2.0)
    blue = TeacherSpec(path, "depth", mean=(0.0,) * 3, std=(1.0,) * 3, bgr=True)
    assert TeacherNetwork(blue).depth(PICTURE)[10, 60] == pytest.approx(90.0)


def test_eight_bits_are_given_as_they_are(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx", layout="NHWC", dtype=TensorProto.UINT8)
    assert TeacherNetwork(TeacherSpec(path, "depth")).depth(PICTURE)[10, 60] == 200.0


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_scores_come_with_the_classes_first(layout: str, tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx", kind="labels", layout=layout)
    spec = TeacherSpec(path, "labels", mean=(100.0,) * 3, std=(1.0,) * 3, classes={"a": (0,)})
    given = TeacherNetwork(spec).scores(PICTURE)
    assert given.shape == (2, 24, 32)
    np.testing.assert_array_equal(given[:, 5, 2], [100.0, -100.0])
    np.testing.assert_array_equal(given[:, 5, 30], [-100.0, 100.0])


def test_a_tensor_inside_is_taken_where_the_recipe_names_one(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx", kind="labels")
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("ArgMax", ["out"], ["ids"], axis=1, keepdims=0))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("ids", TensorProto.INT64, None))
    onnx.save(model, path)
    spec = TeacherSpec(path, "labels", mean=(100.0,) * 3, std=(1.0,) * 3, classes={"a": (0,)})
    ids = TeacherNetwork(spec).scores(PICTURE)
    assert (ids[:, 5, 2].argmax(), ids[:, 5, 30].argmax()) == (0, 1)
    assert set(np.unique(ids)) == {0.0, 1.0}
    cut = TeacherNetwork(replace(spec, tensor="out")).scores(PICTURE)
    np.testing.assert_array_equal(cut[:, 5, 30], [-100.0, 100.0])
    with pytest.raises(ModelError, match=r"t\.onnx: has no tensor 'end'; see `tensor`"):
        TeacherNetwork(replace(spec, tensor="end"))


def test_an_open_size_is_asked_for(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx", size=None)
    with pytest.raises(ModelError, match=r"t\.onnx: leaves the size of its input open"):
        TeacherNetwork(TeacherSpec(path, "depth"))
    assert TeacherNetwork(TeacherSpec(path, "depth", size=(40, 32))).depth(PICTURE).shape == (
        48,
        64,
    )


def test_what_is_no_such_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"t\.onnx: not a network of one picture") as caught:
        TeacherNetwork(TeacherSpec(path, "depth"))
    assert "\n" not in str(caught.value)
    write_teacher(path, kind="labels")
    with pytest.raises(ModelError, match="not one map of depth"):
        TeacherNetwork(TeacherSpec(path, "depth")).depth(PICTURE)


def test_kind_and_file_and_the_recipe_beside_it(tmp_path: Path) -> None:
    path = write_teacher(tmp_path / "t.onnx")
    assert parse_teacher(f"inverse-depth:{path}") == TeacherSpec(path, "inverse-depth")
    recipe = tmp_path / "t.onnx.yaml"
    recipe.write_text(
        "size: [64, 48]\nmean: [1, 2, 3]\nstd: [4, 5, 6]\nbgr: true\nclasses: {wall: [0, 2]}\n"
    )
    assert parse_teacher(f"labels:{path}") == TeacherSpec(
        path, "labels", (64, 48), (1, 2, 3), (4, 5, 6), True, 0, "", {"wall": (0, 2)}
    )


@pytest.mark.parametrize(
    ("text", "recipe", "reason"),
    [
        ("t.onnx", "", "expected KIND:FILE with a KIND of depth, relative-depth"),
        ("wisdom:{path}", "", "expected KIND:FILE"),
        ("depth:nowhere.onnx", "", "no such .onnx or .tflite file"),
        ("labels:{path}", "", "needs `classes:` there"),
        ("depth:{path}", "speed: 3", "'speed' is none of size, mean"),
        ("depth:{path}", "std: [0, 1, 1]", "std: expected a number"),
        ("depth:{path}", "[", "not the recipe of a teacher"),
        ("labels:{path}", "classes: {wall: [300]}", "classes: wall: expected"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    text: str, recipe: str, reason: str, tmp_path: Path
) -> None:
    path = write_teacher(tmp_path / "t.onnx")
    if recipe:
        (tmp_path / "t.onnx.yaml").write_text(recipe)
    with pytest.raises(ParameterError) as caught:
        parse_teacher(text.format(path=path))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def session(tiny_model: Path):
    session = open_session(tiny_model, "cpu", 1)
    yield session
    session.close()


def without_truth(rooms: Path, known: list[str]) -> Path:
    """The rooms with no truth but some."""
    lines = [json.loads(line) for line in (rooms / "frames.jsonl").open()]
    text = "".join(json.dumps(line | {"truths": known}) + "\n" for line in lines)
    (rooms / "frames.jsonl").write_text(text)
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["wall", "floor"], "exact": False}))
    return rooms


def test_what_has_no_truth_is_labelled_and_what_has_one_stays(
    rooms: Path, tmp_path: Path, session: Session
) -> None:
    without_truth(rooms, ["depth"])
    before = RoomPictures([rooms])[0].depth
    labels = TeacherSpec(
        write_teacher(tmp_path / "labels.onnx", kind="labels"),
        "labels",
        mean=(150.0,) * 3,
        std=(1.0,) * 3,
        classes={"floor": (1,)},
    )
    depth = TeacherSpec(write_teacher(tmp_path / "depth.onnx"), "depth")
    counted = label_pictures(rooms, [labels, depth], session)
    assert counted == {"labels by labels.onnx": 6}
    sample = RoomPictures([rooms])[0]
    np.testing.assert_array_equal(sample.depth, before)
    assert (sample.labels[:, :28] == 1).all(), "the red half is class 1, which is our floor"
    assert (sample.labels[:, 36:] == 255).all(), "class 0 is none of ours"
    assert (sample.runner_up[:, :28, 1] == 0).all(), "it has no doubt"
    assert label_pictures(rooms, [labels, depth], session) == {}


def test_depth_gets_the_models_scale_and_normals(
    rooms: Path, tmp_path: Path, session: Session
) -> None:
    without_truth(rooms, [])
    path = write_teacher(tmp_path / "depth.onnx", size=(64, 48))
    teacher = TeacherSpec(path, "relative-depth", mean=(-900.0,) * 3, std=(1.0,) * 3)
    counted = label_pictures(rooms, [teacher], session)
    assert counted == {"depth by depth.onnx": 6}
    pictures = RoomPictures([rooms])
    ratios = pictures[1].depth / pictures[1].depth[0, 0]
    assert np.nanmin(ratios) < 0.9, "the shape is the teacher's"
    assert pictures[1].labels is None


def test_a_class_that_the_model_has_not_is_named(
    rooms: Path, tmp_path: Path, session: Session
) -> None:
    without_truth(rooms, [])
    path = write_teacher(tmp_path / "t.onnx", kind="labels")
    with pytest.raises(ParameterError, match="the model has no class 'moon'; it has wall, floor"):
        label_pictures(rooms, [TeacherSpec(path, "labels", classes={"moon": (1,)})], session)


@pytest.fixture
def labels(tmp_path: Path) -> TeacherSpec:
    path = write_teacher(tmp_path / "labels.onnx", kind="labels")
    recipe = {"mean": (150.0,) * 3, "std": (40.0,) * 3, "classes": {"b": (1,), "a": (0,)}}
    return TeacherSpec(path, "labels", **recipe)


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.roll(PICTURE, number, 1)[..., ::-1])
    return folder


def test_pictures_become_a_dataset_with_labels_and_doubt(
    tmp_path: Path, session: Session, labels: TeacherSpec
) -> None:
    dataset = open_dataset(f"pictures:{pictures(tmp_path / 'in', 3)}")
    counted = label_dataset(dataset, tmp_path / "out", [labels], session)
    assert counted == {"labels by labels.onnx": 3}
    labelled = RoomPictures([tmp_path / "out"])
    assert labelled.classes == tuple(each.name for each in session.manifest.classes)
    assert not labelled.exact
    sample = labelled[0]
    assert (sample.labels[:, 36:60] == 1).all()
    assert (sample.runner_up[:, 36:60, 0] == 0).all()
    # A score of 50 / 40 against its negative: the other class has a share of 1 / (1 + e^2.5).
    assert np.abs(sample.runner_up[20, 45:55, 1] / 255.0 - 0.076).max() < 0.01
    assert sample.depth is None


def test_a_labelling_that_was_stopped_goes_on(
    tmp_path: Path, session: Session, labels: TeacherSpec
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    label_dataset(open_dataset(f"pictures:{pictures(folder, 2)}"), out, [labels], session)
    first = {path.name: path.stat().st_mtime_ns for path in (out / "frames").iterdir()}
    again = open_dataset(f"pictures:{pictures(folder, 4)}")
    assert label_dataset(again, out, [labels], session) == {"labels by labels.onnx": 2}
    assert len(RoomPictures([out])) == 4
    for name, at in first.items():
        assert (out / "frames" / name).stat().st_mtime_ns == at, name


def test_truths_of_the_dataset_are_kept(
    rooms: Path, tmp_path: Path, session: Session, labels: TeacherSpec
) -> None:
    without_truth(rooms, ["depth"])
    header = {"classes": [each.name for each in session.manifest.classes]}
    (rooms / "dataset.json").write_text(json.dumps(header))
    label_dataset(open_dataset(f"rooms:{rooms}"), tmp_path / "out", [labels], session)
    before, after = RoomPictures([rooms])[2], RoomPictures([tmp_path / "out"])[2]
    np.testing.assert_allclose(after.depth, before.depth, atol=1e-3)
    assert after.labels is not None


def test_a_dataset_with_classes_of_its_own_is_not_labelled(
    rooms: Path, tmp_path: Path, session: Session, labels: TeacherSpec
) -> None:
    (rooms / "dataset.json").write_text(json.dumps({"classes": ["sea", "sky"]}))
    with pytest.raises(ParameterError, match="has classes of its own"):
        label_dataset(open_dataset(f"rooms:{rooms}"), tmp_path / "out", [labels], session)


def test_the_command_labels_a_folder(
    tmp_path: Path, tiny_model: Path, labels: TeacherSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.onnx.yaml").write_text("classes: {b: [1], a: [0]}\n")
    source = f"pictures:{pictures(tmp_path / 'in', 2)}"
    teacher = ["--teacher", f"labels:{labels.path}", "--model", str(tiny_model)]
    assert main(["data", "label", source, "--out", str(tmp_path / "out"), *teacher]) == 0
    out = capsys.readouterr().out
    assert "labels by labels.onnx: 2\n" in out
    assert "out holds 2 pictures\n" in out
