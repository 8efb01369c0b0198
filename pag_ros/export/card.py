"""The model card: what only people know of a model, in a YAML file beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from pag_ros.errors import ParameterError
from pag_ros.manifest import LabelClass


@dataclass(frozen=True)
class ModelCard:
    """What only people know of a model; goes into the manifest.

    Attributes:
        name: of the model.
        classes: names and colours, in the order of the class ids.
        depth_range_m: depths trained for.
        focal_range: shortest and longest focal length trained for, over the image width.
        license, training_data: text.
    """

    name: str
    classes: tuple[LabelClass, ...]
    depth_range_m: tuple[float, float]
    focal_range: tuple[float, float]
    license: str
    training_data: str


def read_card(path: Path) -> ModelCard:
    """Read a card such as engines/pag_lite0_indoor.yaml.

    Raises:
        ParameterError: the file cannot be read, or an entry is missing, unknown, of another kind or
            out of range.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = [entry.name for entry in fields(ModelCard)]
        if unknown := [key for key in values if key not in known]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return ModelCard(
            name=str(values["name"]),
            classes=tuple(LabelClass(name, _color(c)) for name, c in values["classes"].items()),
            depth_range_m=_range(values["depth_range_m"]),
            focal_range=_range(values["focal_range"]),
            license=str(values["license"]),
            training_data=str(values["training_data"]),
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    except KeyError as error:
        raise ParameterError(f"{path}: not a model card, it lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ParameterError(f"{path}: not a model card ({error})") from error


def _color(value: Any) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in value)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"colour {value}: expected three numbers from 0 to 255")
    return red, green, blue


def _range(value: Any) -> tuple[float, float]:
    low, high = (float(v) for v in value)
    if not 0.0 < low < high < math.inf:
        raise ValueError(f"range {value}: expected 0 < low < high")
    return low, high
