"""The model card: what only people know of a model, in a YAML file beside it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from pag_ros import checks
from pag_ros.errors import ParameterError
from pag_ros.manifest import MAX_CLASSES, MAX_DEPTH_M, LabelClass
from pag_ros.reading import read_limited, reading

MAX_CARD_BYTES = 1 << 20
_MAX_FOCAL = 100.0
"""Focal length over image width; that of a telescope."""


@dataclass(frozen=True)
class ModelCard:
    """What only people know of a model; goes into the manifest.

    Attributes:
        name: of the model.
        classes: names and colours, in the order of the class ids.
        depth_range_m: depths trained for.
        focal_range: shortest and longest focal length trained for, over the image width.
        license, training_data: text.
        size_exponent: see `Manifest`; `pag_ros score --fit-sizes` measures it.
    """

    name: str
    classes: tuple[LabelClass, ...]
    depth_range_m: tuple[float, float]
    focal_range: tuple[float, float]
    license: str
    training_data: str
    size_exponent: float = 0.0


def read_card(path: Path) -> ModelCard:
    """Read a card such as engines/pag_lite0_indoor.yaml.

    Raises:
        ParameterError: the file cannot be read, or an entry is missing, unknown, of another kind or
            out of range.
    """
    with reading(path, "a model card", ParameterError):
        values = checks.entries(yaml.safe_load(read_limited(path, MAX_CARD_BYTES)), "card")
        known = [entry.name for entry in fields(ModelCard)]
        if unknown := [key for key in values if key not in known]:
            raise ValueError(f"{checks.shown(unknown[0])} is none of {', '.join(known)}")
        return ModelCard(
            name=checks.name_of(values["name"], "name"),
            classes=_classes(values["classes"]),
            depth_range_m=checks.rising_range(
                values["depth_range_m"], "depth_range_m", MAX_DEPTH_M
            ),
            focal_range=checks.rising_range(values["focal_range"], "focal_range", _MAX_FOCAL),
            license=checks.text(values["license"], "license"),
            training_data=checks.text(values["training_data"], "training_data"),
            size_exponent=checks.number(
                values.get("size_exponent", 0.0), "size_exponent", 0.0, 1.0
            ),
        )


def _classes(value: object) -> tuple[LabelClass, ...]:
    colors = checks.entries(value, "classes")
    if not 1 <= len(colors) <= MAX_CLASSES:
        raise ValueError(f"classes: expected 1 to {MAX_CLASSES}, not {len(colors)}")
    return tuple(
        LabelClass(checks.name_of(name, "classes"), checks.color(color, f"colour of {name}"))
        for name, color in colors.items()
    )
