"""A model at half its resolution: sizes that fit together, the same weights, metric depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pag_ros.errors import ModelError
from pag_ros.manifest import load_manifest
from pag_ros.runtime import find_model, open_session
from pag_ros.runtime.openvino.half_resolution import halved_manifest


@pytest.fixture(scope="module", params=["tiny", "shipped"])
def model(request, tiny_model: Path) -> Path:
    return tiny_model if request.param == "tiny" else find_model()


def test_every_output_has_half_the_size(model: Path):
    session = open_session(model, "cpu", 1, half=True)
    whole, half = load_manifest(model), session.manifest
    assert (half.height, half.width) == (whole.height // 2, whole.width // 2)
    image = np.random.default_rng(0).integers(0, 256, (half.height, half.width, 3), np.uint8)
    keep = tuple(block.pixels for block in half.blocks)
    prediction = session.infer(image, 60.0, keep)
    size = (half.height, half.width)
    assert prediction.depth.shape == prediction.labels.shape == prediction.confidence.shape == size
    assert prediction.normals.shape == (*size, 3)
    assert prediction.keep_used == keep
    assert np.isfinite(prediction.depth).all()
    assert "half resolution" in session.backend
    session.close()


def test_depth_is_metric_at_both_resolutions():
    """Of a wall without texture: nothing but its border tells the sizes apart."""
    depths = []
    for half in (False, True):
        session = open_session(find_model(), "cpu", 1, half=half)
        manifest = session.manifest
        image = np.full((manifest.height, manifest.width, 3), 130, np.uint8)
        keep = tuple(block.pixels for block in manifest.blocks)
        depth = session.infer(image, 0.8 * manifest.width, keep).depth
        depths.append(float(np.median(depth)))
        session.close()
    assert depths[1] == pytest.approx(depths[0], rel=0.35)


def test_budgets_stay_the_same_shares(tiny_model: Path):
    whole = load_manifest(tiny_model)
    half = halved_manifest(whole)
    for budget in (0.25, 0.5, 1.0):
        shares = [
            k / block.pixels for k, block in zip(whole.keep_for(budget), whole.blocks, strict=True)
        ]
        assert half.keep_for(budget) == tuple(
            pytest.approx(share * block.pixels, abs=1)
            for share, block in zip(shares, half.blocks, strict=True)
        )


def test_an_odd_side_is_refused(tiny_model: Path):
    odd = replace(load_manifest(tiny_model), height=49)
    with pytest.raises(ModelError, match=r"tiny: sides of .*49.* cannot all be halved"):
        halved_manifest(odd)
