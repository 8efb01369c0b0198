"""Assertions on what the GPU's sparse convolution gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels.gpu.programs import ConvSpec
from pag_ros.lab.gpu_check.operands import relative_error

TOLERANCE = 2e-3
"""Of the largest value: the result is rounded to fp16 once, which is 5e-4 of itself."""


def assert_result(spec: ConvSpec, inputs: dict[str, NDArray[Any]], y: NDArray[np.float16]) -> None:
    """y is what the definition gives, and no row past the listed ones was written."""
    if spec.out_rows:
        assert np.isnan(y[int(inputs["count"][0]) :]).all(), "written past count"
    assert relative_error(spec, inputs, y) < TOLERANCE


def assert_close(y: NDArray[np.float16], wanted: NDArray[np.float32]) -> None:
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    np.testing.assert_allclose(y / scale, wanted / scale, atol=TOLERANCE, rtol=0)
