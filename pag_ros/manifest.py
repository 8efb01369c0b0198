"""The manifest: the JSON file beside an ONNX model that says all a robot must know about it.

`export` writes it, `runtime` reads it; `model.onnx` has its manifest at `model.json`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pag_ros.errors import ModelError

FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_MODEL_BYTES = 1 << 30


@dataclass(frozen=True)
class LabelClass:
    """One semantic class: its name and its colour in pictures (RGB, 0-255)."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True)
class GatedBlock:
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
        classes: semantic classes; the position is the class id.
        blocks: gated blocks in execution order; `keep` has one entry for each.
        dense_macs: multiply-adds of everything outside the gated blocks.
        budgets: budget b in (0, 1] (as "0.50") -> keep per block; see `keep_for`.
        scores: budget (as "1.00") -> metric name -> value, measured at export; may be empty.
        half_scores: the same at half the input resolution, what escalation leaves; may be empty.
        heads: subset of ("depth", "normals", "segmentation", "boundary").
        license, training_data: text for people.
    """

    name: str
    sha256: str
    height: int
    width: int
    focal_range: tuple[float, float]
    depth_range_m: tuple[float, float]
    classes: tuple[LabelClass, ...]
    blocks: tuple[GatedBlock, ...]
    dense_macs: int
    heads: tuple[str, ...]
    license: str
    training_data: str
    budgets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    half_scores: dict[str, dict[str, float]] = field(default_factory=dict)
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
    try:
        manifest = _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not a valid model manifest ({error})") from error
    actual = sha256_of(model)
    if actual != manifest.sha256:
        raise ModelError(
            f"{model}: damaged or not the file its manifest describes "
            f"(sha256 {actual[:12]}..., expected {manifest.sha256[:12]}...); fetch it again"
        )
    return manifest


def save_manifest(manifest: Manifest, model: Path) -> None:
    """Write the manifest beside `model`, whole or not at all."""
    text = json.dumps(asdict(manifest), indent=2) + "\n"
    part = model.with_suffix(".json.part")
    part.write_text(text, encoding="utf-8")
    part.replace(manifest_path(model))


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


def _from_json(data: dict[str, Any]) -> Manifest:
    if data.get("format") != FORMAT:
        raise ValueError(f"format {data.get('format')!r}, this version reads {FORMAT}")
    manifest = Manifest(
        name=str(data["name"]),
        sha256=str(data["sha256"]),
        height=int(data["height"]),
        width=int(data["width"]),
        focal_range=_pair(data["focal_range"]),
        depth_range_m=_pair(data["depth_range_m"]),
        classes=tuple(_label_class(c) for c in data["classes"]),
        blocks=tuple(GatedBlock(**b) for b in data["blocks"]),
        dense_macs=int(data["dense_macs"]),
        heads=tuple(str(h) for h in data["heads"]),
        license=str(data["license"]),
        training_data=str(data["training_data"]),
        budgets={str(b): tuple(int(k) for k in keep) for b, keep in data["budgets"].items()},
        scores=_scores(data.get("scores", {})),
        half_scores=_scores(data.get("half_scores", {})),
    )
    _check(manifest)
    return manifest


def _scores(value: Any) -> dict[str, dict[str, float]]:
    return {str(budget): dict(row) for budget, row in value.items()}


def _pair(value: Any) -> tuple[float, float]:
    low, high = (float(v) for v in value)
    if not 0.0 < low < high:
        raise ValueError(f"expected 0 < low < high, got {value}")
    return low, high


def _label_class(value: dict[str, Any]) -> LabelClass:
    red, green, blue = (int(c) for c in value["color"])
    return LabelClass(name=str(value["name"]), color=(red, green, blue))


def _check(manifest: Manifest) -> None:
    if not (16 <= manifest.height <= 4096 and 16 <= manifest.width <= 4096):
        raise ValueError(f"input size {manifest.width}x{manifest.height} out of 16..4096")
    if not 0 < len(manifest.classes) <= 255:
        raise ValueError(f"{len(manifest.classes)} classes, expected 1 to 255")
    for budget, keep in manifest.budgets.items():
        if not 0.0 < float(budget) <= 1.0 or len(keep) != len(manifest.blocks):
            raise ValueError(f"budget row {budget!r} does not fit {len(manifest.blocks)} blocks")
        if any(not 0 <= k <= b.pixels for k, b in zip(keep, manifest.blocks, strict=True)):
            raise ValueError(f"budget row {budget!r} keeps more pixels than a block has")
