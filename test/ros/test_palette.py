"""The user's colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from pag_ros.errors import ParameterError
from pag_ros.manifest import LabelClass, load_manifest
from pag_ros.ros.palette import recolored
from pag_ros.runtime import find_model

SHIPPED = Path(__file__).parents[2] / "config" / "palettes" / "indoor.yaml"
CLASSES = (LabelClass("wall", (1, 2, 3)), LabelClass("floor", (4, 5, 6)))


def test_named_classes_change_colour_and_others_keep_theirs(tmp_path: Path) -> None:
    file = tmp_path / "palette.yaml"
    file.write_text("floor: [0, 255, 0]\n")
    assert recolored(CLASSES, file) == (CLASSES[0], LabelClass("floor", (0, 255, 0)))


def test_the_shipped_palette_colours_every_class_of_the_shipped_model() -> None:
    classes = load_manifest(find_model()).classes
    colors = [c.color for c in recolored([LabelClass(c.name, (0, 0, 0)) for c in classes], SHIPPED)]
    assert (0, 0, 0) not in colors
    assert len(set(colors)) == len(colors)


@pytest.mark.parametrize(
    "text",
    ["floor: green", "floor: [1, 2]", "floor: [1, 2, 256]", "- a list", "a: [", "\x00"],
)
def test_other_files_are_refused_with_their_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "palette.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError, match=r"palette\.yaml"):
        recolored(CLASSES, file)


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="nowhere"):
        recolored(CLASSES, tmp_path / "nowhere.yaml")
