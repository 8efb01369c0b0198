"""What both kinds of plugins ask of a node: which kernel it is, and where its result lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError

if TYPE_CHECKING:
    from pag_ros.kernels.gpu.programs import Spec
    from pag_ros.kernels.gpu.store import CompiledKernel

Attribute = str | bytes | NDArray[np.int8]
"""A string attribute as TensorRT hands it over: NVIDIA's front end as text, a plugin field as its
characters."""


def find_program(
    programs: Mapping[str, tuple[Spec, CompiledKernel]], attribute: Attribute
) -> tuple[Spec, CompiledKernel]:
    """The program that a node's attribute names, and its kernel.

    Args:
        programs: name -> program and its kernel.
        attribute: as TensorRT hands it over.

    Raises:
        BackendError: there is none of this name.
    """
    name = attribute_text(attribute)
    if name not in programs:
        raise BackendError(f"no kernel for {name}; run `pag_ros build kernels`")
    return programs[name]


def base_position(spec: Spec) -> int | None:
    """Position of the input in whose memory an in-place program leaves its result; else None."""
    if not getattr(spec, "in_place", False):
        return None
    return [tensor.name for tensor in spec.inputs].index("base")


def attribute_text(attribute: Attribute) -> str:
    """What a string attribute says.

    TensorRT's ONNX parser copies it with the NUL that ends a C string and counts that as well, and
    NVIDIA's front end passes it on. What comes back from an engine is what the plugin
    itself stored.
    """
    if not isinstance(attribute, str):
        attribute = np.asarray(attribute).tobytes().decode()
    return attribute.rstrip("\0")
