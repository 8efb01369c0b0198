"""Where the computation went, counted from the blocks' lists of pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pag_ros.errors import ModelError
from pag_ros.manifest import load_manifest
from pag_ros.runtime.computed_map import computed_map


@pytest.mark.parametrize("pixel", [-1, 48, 2**31 - 1])
def test_pixels_outside_the_grid_are_a_damaged_model(tiny_model: Path, pixel: int) -> None:
    manifest = load_manifest(tiny_model)
    sound = np.arange(48, dtype=np.int32)
    assert (computed_map([sound, sound], (48, 48), manifest) == 2).all()
    damaged = np.array([pixel, *sound[1:]], np.int32)
    with pytest.raises(ModelError, match="outside a block's grid"):
        computed_map([sound, damaged], (48, 1), manifest)
    assert computed_map([sound, damaged], (48, 0), manifest).max() == 1
