"""Gives a network labels: a head that fits it, its classes' colours, and its weights in a file.

No weight of the network itself changes, so its depth stays what it was; and a head is of use to the
very checkpoint that it was taught on, which its file knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save as serialize

from pag_ros import checks
from pag_ros.errors import ModelError
from pag_ros.lab.datasets.class_names import plain
from pag_ros.lab.datasets.pictures import hue
from pag_ros.lab.model.finite import require_finite
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything
from pag_ros.lab.transformers.gates import fingerprint
from pag_ros.lab.transformers.label_head import LabelHead
from pag_ros.manifest import MAX_CLASSES, LabelClass, load_manifest
from pag_ros.reading import reading
from pag_ros.runtime import find_model
from pag_ros.runtime.models import DEFAULT_MODEL
from pag_ros.writing import write_bytes

_KEY = "pag_ros.labels"


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
        ModelError: it has none, or a weight is infinite or NaN; no file is written.
        OSError: it cannot be written.
    """
    head = network.label_head
    if head is None:
        raise ModelError(f"{path}: the network gives no labels")
    tensors = {name: value.contiguous() for name, value in head.state_dict().items()}
    require_finite(tensors, path)
    about = {
        "network": fingerprint(network),
        "classes": list(head.classes),
        "taught_on": head.taught_on,
    }
    content = serialize(tensors, {"format": "pt", _KEY: json.dumps(about)})
    write_bytes(path, content, make_folder=True)


def load_label_head(network: GatedDepthAnything, path: Path) -> None:
    """Give a network the head that was taught on it.

    Raises:
        ModelError: the file is missing, damaged, no such head, or was taught on other weights.
    """
    with reading(path, "a head by `pag_ros adopt --labels`", ModelError):
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = checks.entries(json.loads(metadata[_KEY]), _KEY)
        taught_on = checks.text(about["taught_on"], "taught_on")
        names = checks.items(about["classes"], "classes", 1, MAX_CLASSES)
        classes = [checks.name_of(name, "classes") for name in names]
        if about["network"] != fingerprint(network):
            raise ModelError(f"{path}: taught on another checkpoint; teach this one: --labels")
        head = new_head(network, classes)
        expected = {name: value.shape for name, value in head.state_dict().items()}
        if {name: value.shape for name, value in state.items()} != expected:
            raise ModelError(f"{path}: not a head as it is now; teach anew: --labels")
        require_finite(state, path)
    head.load_state_dict(state)
    head.taught_on = taught_on
    network.label_head = head.eval()
