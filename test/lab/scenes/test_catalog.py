"""Catalogues are read as data only, in metres, with a class for every model."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pag_ros.errors import DatasetError
from pag_ros.lab.scenes import catalog
from pag_ros.lab.scenes.catalog import MeshLibrary, load_model, read_catalogue
from pag_ros.lab.scenes.classes import CLASSES
from pag_ros.lab.scenes.furniture_classes import RULES, classify
from pag_ros.lab.scenes.obj import parse_mtl, parse_obj

from .conftest import CUBE, write_catalogue


def by_name(folder: Path) -> dict[str, catalog.Model]:
    return {m.name: m for m in read_catalogue(folder / "Everyday.sh3f")}


def test_entries_become_metric_classified_models(furniture: Path) -> None:
    models = by_name(furniture)
    assert models["Table"].size == (1.2, 0.8, 0.72)
    assert models["Table"].label == "table"
    assert models["Wall clock"].elevation == 1.5
    assert models["Table"].creator == "José"
    assert models["Table"].licence == "CC0"
    assert models["Table"].group == "Everyday"
    assert "City bus" not in models


def test_meshes_fill_the_catalogue_size_and_stand_on_the_floor(furniture: Path) -> None:
    for model in by_name(furniture).values():
        mesh = load_model(model)
        assert mesh is not None
        low, high = mesh.bounds
        np.testing.assert_allclose(high - low, model.size, atol=1e-5)
        np.testing.assert_allclose((high + low)[:2], 0, atol=1e-5)
        assert low[2] == pytest.approx(0, abs=1e-6)


def test_materials_keep_their_colour_texture_and_gloss(furniture: Path) -> None:
    mesh = load_model(by_name(furniture)["Table"])
    assert mesh is not None
    printed, red = mesh.materials
    assert printed.texture is not None
    assert max(printed.texture.shape) <= catalog.TEXTURE_PIXELS
    assert red.texture is None
    assert red.color[0] > 0.9 > 0.1 > red.color[1]
    assert red.gloss > 0


def test_cached_mesh_equals_the_loaded_one(furniture: Path, tmp_path: Path) -> None:
    model = by_name(furniture)["Bookcase"]
    first = MeshLibrary(tmp_path).mesh(model)
    again = MeshLibrary(tmp_path).mesh(model)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_allclose(first.normals, again.normals, atol=1e-4)
    np.testing.assert_array_equal(first.materials[0].texture, again.materials[0].texture)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("name", ["../evil.obj", "/etc/evil.obj", "a/../../evil.obj"])
def test_archives_with_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    path = write_catalogue(tmp_path / "bad.sh3f", {name: b""})
    with pytest.raises(DatasetError, match="unsafe"):
        read_catalogue(path)


def test_oversized_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_catalogue(tmp_path / "large.sh3f")
    model = read_catalogue(path)[0]
    monkeypatch.setattr(catalog, "MAX_MEMBER_BYTES", 100)
    with pytest.raises(DatasetError, match="larger than"):
        load_model(model)


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.sh3f"
    path.write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match="zip"):
        read_catalogue(path)
    with pytest.raises(DatasetError, match=r"no \.sh3f"):
        catalog.read_catalogues(tmp_path / "nowhere")


def test_damaged_contents_of_an_archive_are_named(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "damaged.sh3f")
    model = read_catalogue(path)[0]
    path.write_bytes(path.read_bytes().replace(b"v 2 0 2", b"v 2 9 2"))
    with pytest.raises(DatasetError, match=r"damaged\.sh3f.*cube\.obj .*CRC"):
        load_model(model)


@pytest.mark.parametrize(
    "line",
    [
        *("width#1=nan", "width#1=inf", "width#1=0", "width#1=-5", "width#1=wide", "width#1=1e400"),
        *("elevation#1=nan", "modelRotation#1=1 0 0 0 nan 0 0 0 1"),
    ],
)
def test_a_model_without_a_sensible_size_is_left_out(tmp_path: Path, line: str) -> None:
    path = write_catalogue(tmp_path / "a.sh3f")
    with zipfile.ZipFile(path) as package:
        text = package.read(catalog.PROPERTIES) + f"\n{line}".encode()
    with zipfile.ZipFile(path, "a") as package, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a second member of that name
        package.writestr(catalog.PROPERTIES, text)
    assert "Table" not in {model.name for model in read_catalogue(path)}


@pytest.mark.parametrize("number", ["nan", "1e39", "1e999"])
def test_a_mesh_whose_corners_are_nowhere_is_left_out(tmp_path: Path, number: str) -> None:
    cube = CUBE.replace("v 2 2 2", f"v 2 {number} 2").encode()
    path = write_catalogue(tmp_path / "a.sh3f", {"test/cube/cube.obj": cube})
    assert load_model(read_catalogue(path)[0]) is None


def test_a_stored_mesh_that_is_damaged_counts_as_missing(
    furniture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = by_name(furniture)["Bookcase"]
    first = MeshLibrary(tmp_path).mesh(model)
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(stored.read_bytes()[:200])
    again = MeshLibrary(tmp_path).mesh(model)
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert str(stored) in capsys.readouterr().err
    assert MeshLibrary(tmp_path).mesh(model) is not None
    assert capsys.readouterr().err == ""


def test_lines_of_a_material_that_are_no_numbers_are_passed_over() -> None:
    material = parse_mtl("newmtl a\nKd red 0 0\nKs 1 1e999 0\nd -halo 0.5\nd nan\n")["a"]
    assert material.diffuse == (0.7, 0.7, 0.7)
    assert material.specular == 0.0
    assert material.opacity == 0.5


def test_an_index_beyond_all_vertices_is_refused() -> None:
    with pytest.raises(ValueError, match="vertex 99999"):
        parse_obj("v 0 0 0\nf 1 1 99999999999\n")


@pytest.mark.parametrize(
    ("category", "name", "label", "place"),
    [
        ("Living room", "Corner sofa", "sofa", "wall"),
        ("Living room", "Armchair", "sofa", "free"),
        ("Office", "Armchair", "chair", "free"),
        ("Kitchen", "Bar stool", "chair", "free"),
        ("Bedroom", "Bedside table", "cabinet", "wall"),
        ("Living room", "Coffee table", "table", "free"),
        ("Lights", "Desk lamp", "object", "lamp"),
        ("Miscellaneous", "Table tennis bat", "object", "small"),
        ("Office", "Apple iMac 2004", "screen", "small"),
        ("Kitchen", "Refrigerator", "fixture", "wall"),
        ("Bathroom", "Toilets unit", "fixture", "wall"),
        ("Characters", "Sitting female", "person", "seated"),
        ("Characters", "Dog", "object", "free"),
        ("Doors and windows", "Double French window small panes", "window", "opening"),
        ("Vehicles", "Bus", None, "free"),
        ("Staircases", "Spiral staircase", None, "free"),
    ],
)
def test_class_and_place_follow_from_category_and_name(
    category: str, name: str, label: str | None, place: str
) -> None:
    assert classify(category, name, (0.7, 0.7, 0.7)) == (label, place)


def test_unknown_things_are_objects_small_if_they_fit_on_a_table() -> None:
    assert classify("Garden", "Gnome", (0.2, 0.2, 0.4)) == ("object", "small")
    assert classify("Garden", "Statue", (0.2, 0.2, 1.4)) == ("object", "free")


def test_rules_name_known_classes() -> None:
    assert {rule.label for rule in RULES} <= {*CLASSES, None}


def test_polygons_become_fans_and_negative_indices_count_back() -> None:
    parsed = parse_obj("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n")
    np.testing.assert_array_equal(parsed.faces, [[0, 1, 2], [0, 2, 3]])


def test_faces_with_missing_vertices_are_refused() -> None:
    with pytest.raises(ValueError, match="vertex"):
        parse_obj("v 0 0 0\nf 1 2 3\n")


def test_mtl_keeps_opacity_and_picture() -> None:
    material = parse_mtl("newmtl a b\nKd 0.1 0.2 0.3\nd 0.5\nmap_Kd my wood.jpg\n")["a b"]
    assert material.diffuse == (0.1, 0.2, 0.3)
    assert material.opacity == 0.5
    assert material.picture == "my wood.jpg"
