"""The demo bag's stereo depth is right where it is given."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np

PATH = Path(__file__).parents[2] / "demo" / "make_bag.py"


def load():
    spec = importlib.util.spec_from_file_location("make_bag", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_bag"] = module
    spec.loader.exec_module(module)
    return module


def test_stereo_depth_of_a_shifted_picture():
    noise = np.random.default_rng(0).integers(0, 255, (120, 360), np.uint8)
    picture = cv2.GaussianBlur(noise, (5, 5), 0)
    left, right = picture[:, :320], picture[:, 20:340]  # 20 pixels of disparity everywhere
    depth = load().stereo_depth_mm(left.copy(), right.copy(), focal_baseline=33.8)
    known = depth > 0
    assert known.mean() > 0.3
    np.testing.assert_allclose(depth[known], 33.8 / 20 * 1000, rtol=0.02)


def test_small_patches_are_removed():
    depth = np.zeros((60, 60), np.uint16)
    depth[:40, :40] = 1000
    depth[50:55, 50:55] = 2000
    result = load().without_small_patches(depth)
    assert (result[:40, :40] == 1000).all()
    assert not result[50:55, 50:55].any()
