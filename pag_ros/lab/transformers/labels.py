"""Gives a network labels: a head that fits it, its classes' colours, and its weights in a file.

No weight of the network itself changes, so its depth stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pag_ros import checks
from pag_ros.errors import ModelError
from pag_ros.lab.datasets.class_names import plain
from pag_ros.lab.datasets.pictures import hue
from pag_ros.lab.transformers.companion import Kind, read_companion, save_companion
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.label_head import LabelHead
from pag_ros.manifest import MAX_CLASSES, LabelClass, load_manifest
from pag_ros.runtime import find_model
from pag_ros.runtime.models import DEFAULT_MODEL

_KIND = Kind("pag_ros.labels", "a head", "it is now", "--labels")


def new_head(network: GatedDepthAnything, classes: Sequence[str]) -> LabelHead:
    """One that fits a network and has learned nothing."""
    config = network.depth_head.config
    return LabelHead(len(config.channels) * config.width, classes)


def colored(classes: Sequence[str]) -> tuple[LabelClass, ...]:
    """Classes with colours: the shipped model's where it has one of that name, else a hue."""
    known = {plain(c.name): c.color for c in load_manifest(find_model(DEFAULT_MODEL)).classes}
    count = len(classes)
    return tuple(
        LabelClass(name, known.get(plain(name), hue(i, count))) for i, name in enumerate(classes)
    )


def save_label_head(network: GatedDepthAnything, path: Path) -> None:
    """Write the head of a network that has one.

    Raises:
        ModelError: it has none; or see `save_companion`.
        OSError: it cannot be written.
    """
    head = network.label_head
    if head is None:
        raise ModelError(f"{path}: the network gives no labels")
    tensors = {name: value.contiguous() for name, value in head.state_dict().items()}
    about = {"classes": list(head.classes), "taught_on": head.taught_on}
    save_companion(_KIND, network, tensors, about, path)


def load_label_head(network: GatedDepthAnything, path: Path) -> None:
    """Give a network the head that was taught on it.

    Raises:
        ModelError: see `read_companion`.
    """

    def expected(about: Mapping[Any, Any]) -> tuple[LabelHead, Mapping[str, Tensor]]:
        names = checks.items(about["classes"], "classes", 1, MAX_CLASSES)
        head = new_head(network, [checks.name_of(name, "classes") for name in names])
        head.taught_on = checks.text(about["taught_on"], "taught_on")
        return head, head.state_dict()

    head, state = read_companion(_KIND, network, path, expected)
    head.load_state_dict(state)
    network.label_head = head.eval()
