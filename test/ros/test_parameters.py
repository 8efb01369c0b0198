"""The table of parameters, without a node."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from pag_ros.errors import ParameterError
from pag_ros.ros.parameters import (
    DEFAULTS,
    PITCH_UNKNOWN,
    RULES,
    Settings,
    camera_names,
    chosen_size,
    updated,
)

CONFIG = Path(__file__).parents[2] / "config"


def test_the_defaults_are_allowed() -> None:
    assert updated(Settings(), DEFAULTS, configured=False) == Settings()


@pytest.mark.parametrize("name", ["budget", "deadline_ms", "depth_max_m", "diagnostics_miss_warn"])
def test_nan_is_never_a_value(name: str) -> None:
    with pytest.raises(ParameterError, match=name):
        updated(Settings(), {name: math.nan}, configured=False)


def test_a_whole_number_is_good_enough_for_a_float() -> None:
    settings = updated(Settings(), {"deadline_ms": 50}, configured=True)
    assert settings.deadline_ms == 50.0
    assert isinstance(settings.deadline_ms, float)


@pytest.mark.parametrize(("name", "value"), [("threads", True), ("autostart", 1), ("model", 3)])
def test_other_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=name):
        updated(Settings(), {name: value}, configured=False)


def test_the_model_may_change_only_before_it_is_loaded() -> None:
    assert updated(Settings(), {"model": "other"}, configured=False).model == "other"
    assert updated(Settings(), {"model": ""}, configured=True) == Settings()
    with pytest.raises(ParameterError, match="clean the node up first"):
        updated(Settings(), {"model": "other"}, configured=True)


def test_a_network_size_is_read_before_the_model_is_loaded() -> None:
    assert chosen_size("") is None
    assert chosen_size("480x360") == (480, 360)
    for wrong in ("480", "480x", "huge", "8x8"):
        with pytest.raises(ParameterError, match=r"network_size: .* is not WIDTHxHEIGHT"):
            updated(Settings(), {"network_size": wrong}, configured=False)
    with pytest.raises(ParameterError, match="clean the node up first"):
        updated(Settings(), {"network_size": "480x360"}, configured=True)


def test_cameras_are_names_for_topics() -> None:
    assert camera_names("") == ("",)
    assert camera_names("front, rear_2  left") == ("front", "rear_2", "left")


@pytest.mark.parametrize("text", ["front front", "/front", "2nd", "a-b", "a__b", "a_", "a " * 17])
def test_names_that_no_topic_can_have_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="cameras: "):
        updated(Settings(), {"cameras": text}, configured=False)


def test_the_least_budget_may_not_exceed_the_most() -> None:
    with pytest.raises(ParameterError, match=r"budget_min .* must not exceed budget"):
        updated(Settings(), {"budget": 0.3, "budget_min": 0.4}, configured=True)


def test_a_fixed_budget_may_be_as_small_as_you_like() -> None:
    small = updated(Settings(), {"budget_mode": "fixed", "budget": 0.05}, configured=True)
    assert small.budget == 0.05
    with pytest.raises(ParameterError, match="budget_min"):
        updated(small, {"budget_mode": "deadline"}, configured=True)


def test_one_source_tells_the_height_of_the_camera() -> None:
    height = updated(Settings(), {"camera_height": 1}, configured=True)
    assert (height.camera_height, height.camera_pitch) == (1.0, PITCH_UNKNOWN)
    with pytest.raises(ParameterError, match=r"camera_height \(1\) and ground_frame \(base\)"):
        updated(height, {"ground_frame": "base"}, configured=False)
    with pytest.raises(ParameterError, match="clean the node up first"):
        updated(Settings(), {"ground_frame": "base"}, configured=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("camera_height", -0.1), ("camera_height", 101.0), ("camera_pitch", -91.0)],
)
def test_places_that_no_camera_has_are_refused(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=f"{name} must lie in"):
        updated(Settings(), {name: value}, configured=True)


def test_the_shipped_parameter_file_shows_every_parameter_with_its_default() -> None:
    assert _values(CONFIG / "perception.yaml") == dict(DEFAULTS)


@pytest.mark.parametrize(
    "profile", sorted((CONFIG / "profiles").glob("*.yaml")), ids=lambda p: p.stem
)
def test_profiles_set_allowed_values(profile: Path) -> None:
    values = _values(profile)
    assert set(values) <= set(RULES)
    updated(Settings(), values, configured=False)


def _values(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))["/**"]["ros__parameters"]
