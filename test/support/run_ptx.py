"""A compiled kernel on the operands of its program, run by the interpreter of PTX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ptx import Hazard, launch

from pag_ros.kernels.gpu.programs import Spec
from pag_ros.kernels.gpu.store import CompiledKernel

UNTOUCHED = -77
"""What outputs begin as."""
_DTYPES: dict[str, type[Any]] = {"fp16": np.float16, "fp32": np.float32, "i32": np.int32}

Arrays = dict[str, NDArray[Any]]


def run_ptx(
    kernel: CompiledKernel, spec: Spec, inputs: Mapping[str, NDArray[Any]], clock: int = 0
) -> tuple[Arrays, list[Hazard]]:
    """The outputs and what was out of order; the inputs stay as they are.

    Raises:
        HazardError: the kernel did what none may.
    """
    given = {name: np.array(array) for name, array in inputs.items()}
    outputs = {
        each.name: np.full(each.shape, UNTOUCHED, _DTYPES[each.dtype]) for each in spec.outputs
    }
    if getattr(spec, "in_place", False):
        outputs["y"] = given["base"]
    arrays = [given[each.name].reshape(each.shape or 1) for each in spec.inputs]
    arrays = [
        outputs["y"]
        if spec.inputs[place].name == "base" and "y" in outputs and outputs["y"] is given["base"]
        else array
        for place, array in enumerate(arrays)
    ]
    arrays += [outputs[each.name] for each in spec.outputs]
    written = [any(array is each for each in outputs.values()) for array in arrays]
    hazards = launch(kernel.ptx, kernel.grid, arrays, written, kernel.shared_bytes, clock)
    return outputs, hazards
