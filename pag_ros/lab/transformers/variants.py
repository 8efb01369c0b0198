"""Whether a checkpoint gives metres or a relative depth: names and shapes are mostly the same.

What it is called, or the config.json that Hugging Face puts beside it, may say; else the user must.
Of Depth Anything 3 the tensors tell those for several pictures, which are all relative.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pag_ros import checks
from pag_ros.errors import ModelError, ParameterError
from pag_ros.reading import read_limited, reading

DEEPEST_M = (0.5, 1000.0)
"""What a metric variant may have been trained up to."""

V3_NAMES = "model."
"""Names of tensors of Depth Anything 3 begin so, and no others."""
SKY = ".sky_output_conv2."
"""In the names of what knows the sky."""

_NAME = re.compile(r"depth_anything_v2_(?:metric_(hypersim|vkitti)_)?vit[sbl]")
_V3_NAME = re.compile(r"da3(mono|metric)?[-_](?:small|base|large)(?:[-_]1\.1)?", re.IGNORECASE)
_V3_FARTHEST_M = 200.0
"""Trusted of the metric one of V3: farther away its published code puts no sky."""
_FIRST_EDITION = re.compile(r"depth_anything_(metric_depth_\w+|vit[sbl]14)")
_MAX_DEPTHS_M = {"hypersim": 20.0, "vkitti": 80.0}
_MAX_CONFIG_BYTES = 1 << 20
_METRIC = "--max-depth METRES for a metric one (20 indoors, 80 outdoors, 200 for V3's)"
_CONFIG, _NAMED, _TENSORS = "config.json", "its name", "its tensors"
_RELATIVE = "for a relative one --recording BAG, --depths NAME:PATH or --floor NAME:PATH"


@dataclass(frozen=True)
class DeclaredVariant:
    """What is said of a checkpoint.

    Attributes:
        max_depth_m: what a metric one was trained up to; None: it is relative.
        source: what says so, for people.
    """

    max_depth_m: float | None
    source: str

    def __str__(self) -> str:
        kind = "relative" if self.max_depth_m is None else f"metric up to {self.max_depth_m:g} m"
        return f"{kind} by {self.source}"


def max_depth_of(checkpoint: Path, max_depth_m: float | None, has_metres: bool) -> float | None:
    """What a checkpoint was trained up to in metres; None: it is relative.

    Args:
        max_depth_m: what the user says; None: nothing.
        has_metres: whether the user has something that a relative one's metres can be fitted to.

    Raises:
        ParameterError: nobody says which it is, the user says something else than name or
            config.json, or it is relative and nothing gives it metres.
        ModelError: config.json is damaged, or tells of another network.
    """
    said = declared_variant(checkpoint)
    if max_depth_m is not None or has_metres:
        if said is not None and said.max_depth_m != max_depth_m:
            renamed = "; rename the file if it is not what it is called"
            hint = "" if said.source == _TENSORS else renamed
            raise ParameterError(f"{checkpoint} is {said}; take {_METRIC}, {_RELATIVE}{hint}")
        return max_depth_m
    if said is None:
        raise ParameterError(
            f"{checkpoint}: nothing in it says whether its depth is metric or relative; give "
            f"{_METRIC}, {_RELATIVE}"
        )
    if said.max_depth_m is None:
        raise ParameterError(
            f"{checkpoint} is {said}, and a relative depth has no metres; --recording BAG fits "
            "them to a depth camera's, --depths NAME:PATH to other true depth, --floor NAME:PATH "
            "to the camera's height; or take a metric checkpoint"
        )
    return said.max_depth_m


def max_depth_with_depth(checkpoint: Path, max_depth_m: float | None) -> float | None:
    """The same where there are frames with true depth, whichever it is.

    What nothing calls metric is taken for relative; a metric one that was called nothing is found
    out when its metres are fitted.

    Raises:
        ParameterError, ModelError: see `max_depth_of`.
    """
    said = declared_variant(checkpoint)
    is_metric = max_depth_m is not None or (said is not None and said.max_depth_m is not None)
    return max_depth_of(checkpoint, max_depth_m, has_metres=not is_metric)


def declared_variant(checkpoint: Path) -> DeclaredVariant | None:
    """What config.json beside a checkpoint, its name, or the tensors of V3's say.

    Raises:
        ModelError: checkpoint or config.json is damaged, or either tells of another network.
    """
    names = _tensor_names(checkpoint)
    if any(name.startswith(V3_NAMES) for name in names):
        return _declared_v3(checkpoint, names)
    config = checkpoint.with_name(_CONFIG)
    if checkpoint.suffix == ".safetensors" and config.is_file():
        with reading(config, "a configuration of Depth Anything V2", ModelError):
            data = checks.entries(json.loads(read_limited(config, _MAX_CONFIG_BYTES)), "config")
            if data.get("model_type") == "depth_anything":
                return _configured(data)
    if _FIRST_EDITION.fullmatch(checkpoint.stem):
        raise ModelError(f"{checkpoint}: named as Depth Anything V1's; {_ONLY_V2}")
    if match := _NAME.fullmatch(checkpoint.stem):
        return DeclaredVariant(_MAX_DEPTHS_M.get(match[1]), _NAMED)
    return None


def _tensor_names(checkpoint: Path) -> list[str]:
    """Those in a .safetensors file; of other files, and where there is none, none."""
    if checkpoint.suffix != ".safetensors" or not checkpoint.is_file():
        return []
    from safetensors import safe_open  # where there is no such file nothing needs it

    with (
        reading(checkpoint, "a checkpoint of Depth Anything", ModelError),
        safe_open(checkpoint, "np") as file,
    ):
        return list(file.keys())


def _declared_v3(checkpoint: Path, names: Sequence[str]) -> DeclaredVariant | None:
    """What is said of a checkpoint of Depth Anything 3 with tensors of such names.

    Raises:
        ModelError: config.json is damaged, or it is called what its tensors are not.
    """
    has_sky = any(SKY in name for name in names)
    called, source = _v3_name(checkpoint)
    match = _V3_NAME.fullmatch(called)
    kind = (match[1] or "").lower() if match else ""
    fits = match is not None and has_sky == bool(kind)
    if not fits and (match is not None or source == _CONFIG):
        raise ModelError(f"{checkpoint}: {called} by {source}, which its tensors are not")
    if not has_sky:
        return DeclaredVariant(None, _TENSORS)
    if not kind:
        return None
    return DeclaredVariant(_V3_FARTHEST_M if kind == "metric" else None, source)


def _v3_name(checkpoint: Path) -> tuple[str, str]:
    """What a checkpoint of Depth Anything 3 is called, and what says so."""
    config = checkpoint.with_name(_CONFIG)
    if config.is_file():
        with reading(config, "a configuration of Depth Anything 3", ModelError):
            data = checks.entries(json.loads(read_limited(config, _MAX_CONFIG_BYTES)), "config")
            if "model_name" in data:
                return checks.text(data["model_name"], "model_name"), _CONFIG
    return checkpoint.stem, _NAMED


_ONLY_V2 = "take a checkpoint of V2, which reads other blocks' features"


def _configured(data: Mapping[Any, Any]) -> DeclaredVariant:
    """What transformers makes of a configuration.

    Raises:
        ValueError: a value is none that it may be.
    """
    backbone = checks.entries(data.get("backbone_config") or {}, "backbone_config")
    taps = list(checks.items(backbone.get("out_indices") or [], "out_indices", 0, 64))
    if taps in ([9, 10, 11, 12], [21, 22, 23, 24]):
        raise ValueError(f"the features of blocks {taps} are Depth Anything V1's; {_ONLY_V2}")
    kind = data.get("depth_estimation_type", "relative")
    if kind == "metric":
        return DeclaredVariant(
            checks.number(data.get("max_depth"), "max_depth", *DEEPEST_M), _CONFIG
        )
    if kind != "relative":
        raise ValueError(f"depth_estimation_type: relative or metric, not {checks.shown(kind)}")
    return DeclaredVariant(None, _CONFIG)
