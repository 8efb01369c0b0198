"""What is told of a teacher: its file, what it gives, and how its input is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from pag_ros import checks
from pag_ros.errors import ParameterError
from pag_ros.manifest import MAX_CLASSES
from pag_ros.reading import read_limited, reading

Kind = Literal["depth", "relative-depth", "inverse-depth", "labels"]

KINDS: Mapping[str, Kind] = {
    "depth": "depth",
    "relative-depth": "relative-depth",
    "inverse-depth": "inverse-depth",
    "labels": "labels",
}
SUFFIXES = (".onnx", ".tflite")

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of RGB in 0 to 255: what networks with a backbone from ImageNet expect."""

_MAX_RECIPE_BYTES = 1 << 20
_MAX_SIDE_PX = 4096
_MAX_LEVEL = 1e4
_MAX_ID = 255


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher.

    Attributes:
        path: its network, .onnx or .tflite.
        kind: what it gives: "depth" in metres; "relative-depth", which is that up to a factor;
            "inverse-depth", 1 / depth up to a factor and an offset (MiDaS, Depth Anything);
            "labels", classes of its own.
        size: (width, height) of its input where the file leaves that open.
        mean, std: of the input's RGB in 0 to 255; not applied to inputs of 8 bits.
        bgr: whether blue comes first.
        output: number of the output that counts.
        tensor: name of a tensor that is taken instead of an output: a network that ends in the
            likeliest class has its scores inside.
        classes: our class -> its ids; of labels only.
    """

    path: Path
    kind: Kind
    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bgr: bool = False
    output: int = 0
    tensor: str = ""
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def truth(self) -> str:
        """What its labels are the truth of: "depth" or "labels"."""
        return "labels" if self.kind == "labels" else "depth"


def parse_teacher(text: str) -> TeacherSpec:
    """ "KIND:FILE", with the recipe of its input in FILE.yaml if that is there.

    Raises:
        ParameterError: no such kind or file, or the recipe is damaged; labels need `classes`.
    """
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS:
        raise ParameterError(
            f"--teacher {text}: expected KIND:FILE with a KIND of {', '.join(KINDS)}"
        )
    path = Path(name).expanduser()
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ParameterError(f"--teacher {path}: no such {' or '.join(SUFFIXES)} file")
    recipe = path.with_name(f"{path.name}.yaml")
    given = _read_recipe(recipe) if recipe.is_file() else {}
    spec = TeacherSpec(path, KINDS[kind], **given)
    if spec.kind == "labels" and not spec.classes:
        raise ParameterError(
            f"{recipe}: a teacher of labels needs `classes:` there, our class -> list of its ids"
        )
    return spec


def _read_recipe(path: Path) -> dict[str, Any]:
    with reading(path, "the recipe of a teacher", ParameterError):
        values = checks.entries(yaml.safe_load(read_limited(path, _MAX_RECIPE_BYTES)), "recipe")
        readers = {
            "size": _size,
            "mean": _levels,
            "std": _positive_levels,
            "bgr": _flag,
            "output": _output,
            "tensor": _tensor,
            "classes": _classes,
        }
        assert set(readers) == {f.name for f in fields(TeacherSpec)} - {"path", "kind"}
        if unknown := [key for key in values if key not in readers]:
            raise ValueError(f"{checks.shown(unknown[0])} is none of {', '.join(readers)}")
        return {str(key): readers[key](value) for key, value in values.items()}


def _size(value: object) -> tuple[int, int]:
    width, height = checks.items(value, "size", 2, 2)
    return (
        checks.whole(width, "size", 16, _MAX_SIDE_PX),
        checks.whole(height, "size", 16, _MAX_SIDE_PX),
    )


def _levels(value: object) -> tuple[float, ...]:
    levels = checks.items(value, "mean", 3, 3)
    return tuple(checks.number(level, "mean", -_MAX_LEVEL, _MAX_LEVEL) for level in levels)


def _positive_levels(value: object) -> tuple[float, ...]:
    levels = checks.items(value, "std", 3, 3)
    return tuple(checks.number(level, "std", 1e-3, _MAX_LEVEL) for level in levels)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"bgr: expected true or false, not {checks.shown(value)}")
    return value


def _output(value: object) -> int:
    return checks.whole(value, "output", 0, 64)


def _tensor(value: object) -> str:
    return checks.name_of(value, "tensor")


def _classes(value: object) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, ids in checks.entries(value, "classes").items():
        listed = checks.items(ids, "classes", 1, _MAX_ID + 1)
        found[checks.name_of(name, "classes")] = tuple(
            checks.whole(number, f"classes: {name}", 0, _MAX_ID) for number in listed
        )
    if len(found) > MAX_CLASSES:
        raise ValueError(f"classes: expected at most {MAX_CLASSES}")
    return found
