"""The manifest: the JSON file beside an ONNX model that says all a robot must know about it.

`export` writes it, `runtime` reads it; `model.onnx` has its manifest at `model.json`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pag_ros import checks
from pag_ros.errors import ModelError
from pag_ros.reading import read_limited, reading
from pag_ros.writing import write_text

FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_MODEL_BYTES = 1 << 30
MAX_BLOCKS = 256
NO_LABEL = 255
"""Where a map of class ids, which are bytes, has no class: in the truth, what nobody labelled."""
MAX_CLASSES = NO_LABEL
MAX_DEPTH_M = 1e6
HEADS = ("depth", "normals", "segmentation", "boundary")

# What no model comes near, and what nothing that is computed from it overflows at.
_SIDE_PX = (16, 4096)
_MAX_FOCAL_PX = 1e6
_MAX_CHANNELS = 1 << 16
_MAX_MACS = 1 << 50
_MAX_SCORE = 1e9


@dataclass(frozen=True)
class LabelClass:
    """One semantic class: its name and its colour in pictures (RGB, 0-255)."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class BlockSpec:
    """One gated stage: `pixels` is the largest `keep`, `macs_per_pixel` its cost per kept pixel."""

    name: str
    height: int
    width: int
    channels: int
    macs_per_pixel: int

    @property
    def pixels(self) -> int:
        return self.height * self.width


@dataclass(frozen=True)
class Manifest:
    """What a model is and how to use it.

    Attributes:
        name: the model's name, e.g. "pag_lite0_indoor".
        sha256: of the ONNX file, lower-case hex.
        height, width: network input size in pixels.
        focal_range: the range of fx (pixels at network size) seen in training, (low, high).
        depth_range_m: smallest and largest depth the network was trained for, metres.
        classes: semantic classes; the position is the class id. None without the head.
        blocks: gated blocks in execution order; `keep` has one entry for each.
        dense_macs: multiply-adds of everything outside the gated blocks.
        budgets: budget b in (0, 1] (as "0.50") -> keep per block; see `keep_for`.
        scores: budget (as "1.00") -> metric name -> value, measured at export; may be empty.
        scores_at: another input size (as "160x120") -> the same at that size; may be empty.
        scores_in: a precision of the CPU other than float32 ("bf16", "int8") -> the same in it; may
            be empty.
        heads: subset of `HEADS`.
        size_exponent: at s times the input size the network sees everything s**-size_exponent times
            as far away, see `pag_ros.runtime.network_size.depth_factor`; 0 to 1.
        license, training_data: text for people.
    """

    name: str
    sha256: str
    height: int
    width: int
    focal_range: tuple[float, float]
    depth_range_m: tuple[float, float]
    classes: tuple[LabelClass, ...]
    blocks: tuple[BlockSpec, ...]
    dense_macs: int
    heads: tuple[str, ...]
    license: str
    training_data: str
    budgets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    scores_at: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    scores_in: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    size_exponent: float = 0.0
    format: int = FORMAT

    def keep_for(self, budget: float) -> tuple[int, ...]:
        """Pixels to keep in each gated block for a budget.

        Linear between the rows of `budgets`; below the smallest row towards zero pixels.

        Args:
            budget: share of the gated computation, 0 to 1.

        Raises:
            ValueError: budget outside [0, 1].
        """
        if not 0.0 <= budget <= 1.0:
            raise ValueError(f"budget must lie in [0, 1], got {budget}")
        rows = {0.0: (0,) * len(self.blocks), 1.0: tuple(b.pixels for b in self.blocks)}
        rows.update({float(key): keep for key, keep in self.budgets.items()})
        grid = sorted(rows)
        columns = zip(*(rows[b] for b in grid), strict=True)
        return tuple(round(_interpolate(budget, grid, column)) for column in columns)


def _interpolate(x: float, grid: list[float], values: tuple[int, ...]) -> float:
    for left, right, low, high in zip(grid, grid[1:], values, values[1:], strict=False):
        if x <= right:
            return low + (high - low) * (x - left) / (right - left)
    return values[-1]


def manifest_path(model: Path) -> Path:
    """`engines/foo.onnx` -> `engines/foo.json`."""
    return model.with_suffix(".json")


def load_manifest(model: Path) -> Manifest:
    """Read and check the manifest beside an ONNX model, and the model's own checksum.

    Args:
        model: path of the .onnx file.

    Raises:
        ModelError: either file is missing, too large, damaged, or they do not belong together.
    """
    path = manifest_path(model)
    _require_file(model, MAX_MODEL_BYTES)
    _require_file(path, MAX_MANIFEST_BYTES)
    with reading(path, "a valid model manifest", ModelError):
        manifest = _from_json(json.loads(read_limited(path, MAX_MANIFEST_BYTES)))
    actual = sha256_of(model)
    if actual != manifest.sha256:
        raise ModelError(
            f"{model}: damaged or not the file its manifest describes "
            f"(sha256 {actual[:12]}..., expected {manifest.sha256[:12]}...); fetch it again"
        )
    return manifest


def save_manifest(manifest: Manifest, model: Path) -> None:
    """Write the manifest beside `model`, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_text(manifest_path(model), json.dumps(asdict(manifest), indent=2) + "\n")


def sha256_of(path: Path) -> str:
    """Lower-case hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _require_file(path: Path, max_bytes: int) -> None:
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path of an ONNX model with its manifest")
    size = path.stat().st_size
    if not 0 < size <= max_bytes:
        raise ModelError(f"{path}: {size} bytes, expected between 1 and {max_bytes}")


def _from_json(data: Any) -> Manifest:
    """Every value is checked here, before anything is computed or allocated from it.

    Raises:
        ValueError, KeyError: a value is missing or outside what it may be.
    """
    data = checks.entries(data, "manifest")
    if data.get("format") != FORMAT:
        raise ValueError(f"format {checks.shown(data.get('format'))}, this version reads {FORMAT}")
    blocks = tuple(_block(b) for b in checks.items(data["blocks"], "blocks", 1, MAX_BLOCKS))
    if len({block.name for block in blocks}) < len(blocks):
        raise ValueError("blocks: two have the same name")
    heads = _heads(data["heads"])
    return Manifest(
        name=checks.name_of(data["name"], "name"),
        sha256=_checksum(data["sha256"]),
        height=checks.whole(data["height"], "height", *_SIDE_PX),
        width=checks.whole(data["width"], "width", *_SIDE_PX),
        focal_range=checks.rising_range(data["focal_range"], "focal_range", _MAX_FOCAL_PX),
        depth_range_m=checks.rising_range(data["depth_range_m"], "depth_range_m", MAX_DEPTH_M),
        classes=_classes(data["classes"], int("segmentation" in heads)),
        blocks=blocks,
        dense_macs=checks.whole(data["dense_macs"], "dense_macs", 0, _MAX_MACS),
        heads=heads,
        license=checks.text(data["license"], "license"),
        training_data=checks.text(data["training_data"], "training_data"),
        budgets=_budgets(data["budgets"], blocks),
        scores=_scores(data.get("scores", {}), "scores"),
        scores_at=_named_scores(data, "scores_at"),
        scores_in=_named_scores(data, "scores_in"),
        size_exponent=checks.number(data.get("size_exponent", 0.0), "size_exponent", 0.0, 1.0),
    )


def _named_scores(data: Mapping[str, Any], key: str) -> dict[str, dict[str, dict[str, float]]]:
    return {
        checks.name_of(name, key): _scores(rows, f"{key} {name}")
        for name, rows in checks.entries(data.get(key, {}), key).items()
    }


def _block(value: Any) -> BlockSpec:
    data = checks.entries(value, "blocks")
    name = checks.name_of(data["name"], "blocks: name")
    if unknown := set(data) - {entry.name for entry in fields(BlockSpec)}:
        raise ValueError(f"{name}: no block has {checks.shown(unknown.pop())}")

    def size(field: str, high: int) -> int:
        return checks.whole(data[field], f"{name}: {field}", 1, high)

    return BlockSpec(
        name=name,
        height=size("height", _SIDE_PX[1]),
        width=size("width", _SIDE_PX[1]),
        channels=size("channels", _MAX_CHANNELS),
        macs_per_pixel=size("macs_per_pixel", _MAX_MACS),
    )


def _classes(value: Any, fewest: int) -> tuple[LabelClass, ...]:
    return tuple(_label_class(each) for each in checks.items(value, "classes", fewest, MAX_CLASSES))


def _label_class(value: Any) -> LabelClass:
    data = checks.entries(value, "classes")
    name = checks.name_of(data["name"], "classes: name")
    return LabelClass(name, checks.color(data["color"], f"colour of {name}"))


def _heads(value: Any) -> tuple[str, ...]:
    heads = tuple(checks.items(value, "heads", 1, len(HEADS)))
    if not all(head in HEADS for head in heads) or len(set(heads)) < len(heads):
        raise ValueError(f"heads: expected some of {', '.join(HEADS)}, not {checks.shown(value)}")
    return heads


def _budgets(value: Any, blocks: tuple[BlockSpec, ...]) -> dict[str, tuple[int, ...]]:
    rows = {}
    for budget, row in checks.entries(value, "budgets").items():
        name = f"budget row {checks.shown(budget)}"
        if not 0.0 < float(budget) <= 1.0:
            raise ValueError(f"{name}: expected a budget above 0, at most 1")
        if len(checks.items(row, name, 0, MAX_BLOCKS)) != len(blocks):
            raise ValueError(f"{name} does not fit {len(blocks)} blocks")
        rows[budget] = tuple(
            checks.whole(keep, f"{name}, {block.name}", 0, block.pixels)
            for keep, block in zip(row, blocks, strict=True)
        )
    return rows


def _scores(value: Any, name: str) -> dict[str, dict[str, float]]:
    return {
        checks.name_of(budget, name): {
            checks.name_of(metric, name): checks.number(score, metric, -_MAX_SCORE, _MAX_SCORE)
            for metric, score in checks.entries(row, name).items()
        }
        for budget, row in checks.entries(value, name).items()
    }


def _checksum(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"sha256: expected 64 hexadecimal digits, not {checks.shown(value)}")
    return value
