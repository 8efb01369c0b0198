"""Nodes find their programs by an attribute, in every form in which TensorRT hands it over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_import import as_field

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import SelectSpec
from pag_ros.runtime.tensorrt.plugin_attributes import find_program

SPEC = SelectSpec(3, 4)
NAME = "pag_select_h3_w4"


@pytest.mark.parametrize(
    "attribute",
    [
        NAME,
        NAME + "\0",
        NAME.encode(),
        NAME.encode() + b"\0",
        np.frombuffer(NAME.encode(), np.int8),
        as_field(NAME.encode()),
    ],
    ids=lambda each: f"{type(each).__name__} of {len(each)}",
)
def test_a_program_is_found_with_and_without_the_parsers_nul(attribute: Any) -> None:
    assert find_program({NAME: (SPEC, None)}, attribute) == (SPEC, None)  # type: ignore[dict-item]


def test_an_unknown_program_is_named() -> None:
    with pytest.raises(BackendError, match=r"^no kernel for pag_select_h3_w4; run"):
        find_program({}, NAME + "\0")
