"""Name, config.json or the user say whether a checkpoint is metric; nobody guesses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pag_ros.errors import ModelError, ParameterError
from pag_ros.lab.transformers.variants import (
    DeclaredVariant,
    declared_variant,
    max_depth_of,
    max_depth_with_depth,
)

METRIC = {"model_type": "depth_anything", "depth_estimation_type": "metric", "max_depth": 80}


def configured(folder: Path, config: dict[str, Any] | str) -> Path:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    return folder / "model.safetensors"


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("depth_anything_v2_metric_hypersim_vits.pth", DeclaredVariant(20.0, "its name")),
        ("depth_anything_v2_metric_vkitti_vitl.pth", DeclaredVariant(80.0, "its name")),
        ("depth_anything_v2_vitb.pth", DeclaredVariant(None, "its name")),
        ("depth_anything_v2_vits_of_mine.pth", None),
        ("model.safetensors", None),
    ],
)
def test_the_authors_names_say_what_a_checkpoint_is(
    name: str, variant: DeclaredVariant | None
) -> None:
    assert declared_variant(Path(name)) == variant


@pytest.mark.parametrize(
    ("config", "variant"),
    [
        (METRIC, DeclaredVariant(80.0, "config.json")),
        ({"model_type": "depth_anything"}, DeclaredVariant(None, "config.json")),
        ({**METRIC, "depth_estimation_type": "relative"}, DeclaredVariant(None, "config.json")),
        ({"model_type": "dinov2"}, None),
    ],
)
def test_hugging_faces_configuration_says_it(
    config: dict[str, Any], variant: DeclaredVariant | None, tmp_path: Path
) -> None:
    checkpoint = configured(tmp_path, config)
    assert declared_variant(checkpoint) == variant
    assert declared_variant(checkpoint.with_name("other.pth")) is None


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({**METRIC, "max_depth": None}, "max_depth: expected a number from 0.5 to 1000"),
        ({**METRIC, "depth_estimation_type": "both"}, "relative or metric, not 'both'"),
        (
            {**METRIC, "backbone_config": {"out_indices": [9, 10, 11, 12]}},
            "are Depth Anything V1's",
        ),
        ("{", "not a configuration of Depth Anything V2"),
        ("[]", "config: expected a mapping"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    config: dict[str, Any] | str, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as raised:
        declared_variant(configured(tmp_path, config))
    assert text in str(raised.value)
    assert str(tmp_path / "config.json") in str(raised.value)


def test_the_first_edition_is_refused_by_its_name() -> None:
    for name in ("depth_anything_vits14.pth", "depth_anything_metric_depth_indoor.pt"):
        with pytest.raises(ModelError, match="named as Depth Anything V1's"):
            declared_variant(Path(name))


def test_what_the_user_says_stands_where_nothing_else_does() -> None:
    unknown = Path("mine.pth")
    assert max_depth_of(unknown, 30.0, has_metres=False) == 30.0
    assert max_depth_of(unknown, None, has_metres=True) is None
    assert max_depth_of(Path("depth_anything_v2_vits.pth"), None, has_metres=True) is None


def test_what_is_said_already_need_not_be_said_again() -> None:
    checkpoint = Path("depth_anything_v2_metric_hypersim_vits.pth")
    assert max_depth_of(checkpoint, None, has_metres=False) == 20.0


@pytest.mark.parametrize(
    ("name", "max_depth_m", "has_metres", "text"),
    [
        ("mine.pth", None, False, "nothing in it says whether its depth is metric or relative"),
        ("depth_anything_v2_vits.pth", None, False, "a relative depth has no metres; --recording"),
        ("depth_anything_v2_vits.pth", 20.0, False, "is relative by its name"),
        ("depth_anything_v2_metric_vkitti_vits.pth", None, True, "is metric up to 80 m by its"),
        ("depth_anything_v2_metric_vkitti_vits.pth", 20.0, False, "is metric up to 80 m by its"),
    ],
)
def test_who_does_not_say_it_or_contradicts_is_told_the_ways_out(
    name: str, max_depth_m: float | None, has_metres: bool, text: str
) -> None:
    with pytest.raises(ParameterError) as raised:
        max_depth_of(Path(name), max_depth_m, has_metres)
    message = str(raised.value)
    assert message.startswith(name)
    assert text in message
    assert "--depths NAME:PATH" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "max_depth_m", "found"),
    [
        ("depth_anything_v2_vits.pth", None, None),
        ("depth_anything_v2_metric_vkitti_vits.pth", None, 80.0),
        ("depth_anything_v2_metric_vkitti_vits.pth", 80.0, 80.0),
        ("mine.pth", 30.0, 30.0),
        ("mine.pth", None, None),
    ],
)
def test_where_there_is_depth_both_kinds_are_taken(
    name: str, max_depth_m: float | None, found: float | None
) -> None:
    assert max_depth_with_depth(Path(name), max_depth_m) == found


@pytest.mark.parametrize("kind", ["vits", "metric_vkitti_vits"])
def test_a_contradiction_is_refused_where_there_is_depth_as_well(kind: str) -> None:
    with pytest.raises(ParameterError, match="rename the file if it is not what it is called"):
        max_depth_with_depth(Path(f"depth_anything_v2_{kind}.pth"), 20.0)


def of_v3(path: Path, has_sky: bool) -> Path:
    """A file with names of Depth Anything 3, and hardly anything else."""
    names = ["model.backbone.pretrained.pos_embed"]
    names += ["model.head.scratch.sky_output_conv2.0.bias"] if has_sky else []
    safetensors = pytest.importorskip("safetensors.numpy", reason="needs pag_ros[train]")
    safetensors.save_file({name: np.zeros(1, np.float32) for name in names}, path)
    return path


@pytest.mark.parametrize(
    ("name", "has_sky", "variant"),
    [
        ("model", False, DeclaredVariant(None, "its tensors")),
        ("DA3-SMALL", False, DeclaredVariant(None, "its tensors")),
        ("da3-large-1.1", False, DeclaredVariant(None, "its tensors")),
        ("model", True, None),
        ("DA3METRIC-LARGE", True, DeclaredVariant(200.0, "its name")),
        ("da3mono_large", True, DeclaredVariant(None, "its name")),
        ("depth_anything_v2_metric_vkitti_vits", False, DeclaredVariant(None, "its tensors")),
    ],
)
def test_of_the_third_edition_tensors_and_name_say_it(
    name: str, has_sky: bool, variant: DeclaredVariant | None, tmp_path: Path
) -> None:
    assert declared_variant(of_v3(tmp_path / f"{name}.safetensors", has_sky)) == variant


@pytest.mark.parametrize(
    ("called", "has_sky", "variant"),
    [
        ("da3metric-large", True, DeclaredVariant(200.0, "config.json")),
        ("da3mono-large", True, DeclaredVariant(None, "config.json")),
        ("da3-base", False, DeclaredVariant(None, "its tensors")),
    ],
)
def test_its_configuration_says_more_than_the_files_name(
    called: str, has_sky: bool, variant: DeclaredVariant, tmp_path: Path
) -> None:
    configured(tmp_path, {"model_name": called})
    assert declared_variant(of_v3(tmp_path / "model.safetensors", has_sky)) == variant


@pytest.mark.parametrize(
    ("name", "config", "has_sky", "text"),
    [
        ("model", {"model_name": "da3mono-large"}, False, "da3mono-large by config.json, which"),
        ("model", {"model_name": "da3-small"}, True, "da3-small by config.json, which its tensors"),
        ("model", {"model_name": "da3nested-giant-large"}, False, "da3nested-giant-large by conf"),
        ("DA3METRIC-LARGE", {}, False, "DA3METRIC-LARGE by its name, which its tensors are not"),
        ("DA3-SMALL", {}, True, "DA3-SMALL by its name, which its tensors are not"),
        ("model", {"model_name": 3}, True, "not a configuration of Depth Anything 3"),
    ],
)
def test_what_is_called_otherwise_than_its_tensors_is_refused(
    name: str, config: dict[str, Any], has_sky: bool, text: str, tmp_path: Path
) -> None:
    configured(tmp_path, config)
    with pytest.raises(ModelError) as raised:
        declared_variant(of_v3(tmp_path / f"{name}.safetensors", has_sky))
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_damaged_file_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    path = of_v3(tmp_path / "model.safetensors", has_sky=True)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ModelError, match="not a checkpoint of Depth Anything"):
        declared_variant(path)


def test_a_relative_one_by_its_tensors_is_not_asked_to_be_renamed(tmp_path: Path) -> None:
    path = of_v3(tmp_path / "model.safetensors", has_sky=False)
    with pytest.raises(ParameterError) as raised:
        max_depth_of(path, 20.0, has_metres=False)
    assert "is relative by its tensors; take --max-depth METRES" in str(raised.value)
    assert "rename" not in str(raised.value)
    assert max_depth_with_depth(path, None) is None
