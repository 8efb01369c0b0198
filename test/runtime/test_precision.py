"""Which precision is taken, and what its measured loss decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pag_ros.errors import BackendError, ParameterError
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.runtime.precision import (
    chosen_precision,
    float_precision,
    loss_in,
    unmeasured,
    untried_text,
)

SCORES = {"1.00": {"depth delta1": 0.5, "depth AbsRel": 0.2}, "0.50": {"depth delta1": 0.4}}


@pytest.fixture
def manifest(tiny_model: Path) -> Manifest:
    return replace(load_manifest(tiny_model), scores=SCORES)


def with_bf16(manifest: Manifest, **changed: float) -> Manifest:
    names = {"delta1": "depth delta1", "error": "depth AbsRel"}
    whole = {**SCORES["1.00"], **{names[k]: v for k, v in changed.items()}}
    return replace(manifest, scores_in={"bf16": {"1.00": whole, "0.50": SCORES["0.50"]}})


def test_the_loss_is_that_of_the_task_that_loses_most(manifest: Manifest) -> None:
    assert loss_in("bf16", manifest) is None
    assert loss_in("bf16", with_bf16(manifest)) == 0.0
    assert loss_in("bf16", with_bf16(manifest, delta1=0.49)) == pytest.approx(0.02 / 2)
    assert loss_in("bf16", with_bf16(manifest, error=0.21)) == pytest.approx(0.05 / 2)
    assert loss_in("bf16", with_bf16(manifest, delta1=0.6, error=0.1)) == 0.0  # at budget .5
    other = {"bf16": {"1.00": {}, "0.50": {"depth delta1": 0.3}}}
    assert loss_in("bf16", replace(manifest, scores_in=other)) == pytest.approx(0.25)
    scaled = {"1.00": {**SCORES["1.00"], "depth (median-scaled) delta1": 0.5}}
    worse = {"1.00": {**SCORES["1.00"], "depth (median-scaled) delta1": 0.4}}
    two = replace(manifest, scores=scaled, scores_in={"bf16": worse})
    assert loss_in("bf16", two) == pytest.approx(0.2)  # a task of its own


def test_auto_takes_what_costs_at_most_a_hundredth(manifest: Manifest) -> None:
    native = ["bf16"]
    assert chosen_precision("auto", manifest, native) == "fp32"  # not measured
    assert chosen_precision("auto", with_bf16(manifest, delta1=0.491), native) == "bf16"
    assert chosen_precision("auto", with_bf16(manifest, delta1=0.489), native) == "fp32"
    assert chosen_precision("auto", with_bf16(manifest), []) == "fp32"


def test_auto_takes_the_fastest_of_those(manifest: Manifest) -> None:
    both = with_bf16(manifest, delta1=0.496)
    both = replace(both, scores_in={**both.scores_in, "int8": both.scores_in["bf16"]})
    assert chosen_precision("auto", both, ["bf16", "int8"]) == "int8"
    assert chosen_precision("auto", both, ["bf16"]) == "bf16"
    assert chosen_precision("auto", both, []) == "fp32"
    worse = {**both.scores_in, "int8": {"1.00": {"depth delta1": 0.48}}}
    slow = replace(both, scores_in=worse)
    assert chosen_precision("auto", slow, ["bf16", "int8"]) == "bf16"


def test_auto_does_without_what_is_slower_than_float32_here(manifest: Manifest) -> None:
    both = replace(with_bf16(manifest), scores_in={"bf16": SCORES, "int8": SCORES})
    assert chosen_precision("auto", both, ["bf16", "int8"], ["bf16"]) == "int8"
    assert chosen_precision("auto", both, ["bf16"], ["bf16"]) == "fp32"
    assert chosen_precision("bf16", both, ["bf16"], ["bf16"]) == "bf16"  # who asks gets it


def test_what_nobody_has_measured_is_told_with_the_command(manifest: Manifest) -> None:
    assert unmeasured(manifest, ["bf16", "int8"]) == ["int8", "bf16"]
    assert unmeasured(manifest, ["int8"]) == ["int8"]
    assert unmeasured(with_bf16(manifest, delta1=0.1), ["bf16", "int8"]) == ["int8"]
    text = untried_text(Path("mine.onnx"), ["int8", "bf16"])
    assert "what mine.onnx loses in int8 and bf16 was not measured" in text
    assert "`pag_ros score --model mine.onnx --dataset ROOMS --device cpu --precision bf16" in text
    assert "`pag_ros quantize mine.onnx" in text
    assert "quantize" not in untried_text(Path("mine.onnx"), ["bf16"])


def test_what_is_not_rounded_to_8_bits_takes_the_fastest_floats() -> None:
    assert float_precision("fp32", ["bf16", "int8"]) == "fp32"
    assert float_precision("bf16", ["bf16", "int8"]) == "bf16"
    assert float_precision("int8", ["bf16", "int8"]) == "bf16"
    assert float_precision("int8", ["int8"]) == "fp32"


def test_what_is_asked_for_by_name_is_taken_or_refused(manifest: Manifest) -> None:
    assert chosen_precision("bf16", manifest, ["bf16"]) == "bf16"
    assert chosen_precision("fp32", with_bf16(manifest), ["bf16"]) == "fp32"
    with pytest.raises(BackendError, match="no instructions for bf16"):
        chosen_precision("bf16", manifest, [])
    assert chosen_precision("int8", manifest, []) == "int8"  # any processor can
    with pytest.raises(ParameterError, match="precision must be one of auto, fp32, bf16, int8"):
        chosen_precision("fp8", manifest, ["fp8"])
