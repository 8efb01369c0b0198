"""A transformer's graph in half precision: its products in float16, all else in float32.

In float32 stay besides: the products that say which patches are computed (scores, and how alike
tokens are, where 1 - cosine would be all rounding), and those behind the last enlargement, since
normals are differences of neighbouring depths. Between products float16 flows on through what only
moves numbers, adds and scales them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pag_ros.runtime.tensorrt.half_precision import Constants

if TYPE_CHECKING:
    from onnx import NodeProto

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_MOVING = ("DepthToSpace", "Relu", "Reshape", "Resize", "Slice", "Transpose", "Unsqueeze")
"""Operators whose first input alone is data."""
_ADDING = ("Add", "Mul")


def halve_products(nodes: Sequence[NodeProto], constants: Constants) -> list[NodeProto]:
    """The same computation with float16 products.

    Args:
        nodes: in order of execution.
        constants: by name; those that are needed in float16 are added.

    Returns:
        The nodes, with casts where types meet.
    """
    exact = _choosing(nodes) | _behind_enlargements(nodes)
    return list(_Halving(constants, exact).run(nodes))


class _Halving:
    """Goes through a graph once, and knows which of its tensors are in float16 by now.

    Args:
        constants: by name.
        exact: results of products that stay in float32.
    """

    def __init__(self, constants: Constants, exact: set[str]) -> None:
        self._constants = constants
        self._exact = exact
        self._half: set[str] = set()
        """Names of the tensors that are float16 now."""
        self._casts: set[str] = set()

    def run(self, nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
        for node in nodes:
            if self._is_halved(node):
                yield from self._halved(node)
            else:
                for position, name in enumerate(node.input):
                    if name in self._half:
                        yield from self._cast(node, position, half=False)
                yield node

    def _is_halved(self, node: NodeProto) -> bool:
        if node.op_type in _PRODUCTS:
            return node.output[0] not in self._exact
        data = self._data(node)
        return (
            any(name in self._half for name in data)
            and node.op_type in (*_MOVING, *_ADDING)
            and all(name in self._half or name in self._constants for name in data)
        )

    def _data(self, node: NodeProto) -> list[str]:
        """Inputs that have the type of the result."""
        return list(node.input[:1] if node.op_type in _MOVING else node.input)

    def _halved(self, node: NodeProto) -> Iterator[NodeProto]:
        for position, name in enumerate(self._data(node)):
            if name in self._constants:
                self._constants[f"{name}@half"] = self._constants[name].astype(np.float16)
                node.input[position] = f"{name}@half"
            elif name not in self._half:
                yield from self._cast(node, position, half=True)
        yield node
        self._half.update(node.output)

    def _cast(self, node: NodeProto, position: int, half: bool) -> Iterator[NodeProto]:
        """Let an input of a node be its tensor cast, by a node that is made once."""
        from onnx import TensorProto, helper

        name = node.input[position]
        cast = f"{name}@{'half' if half else 'full'}"
        if cast not in self._casts:
            self._casts.add(cast)
            to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            yield helper.make_node("Cast", [name], [cast], name=f"cast {cast}", to=to)
        node.input[position] = cast


def _choosing(nodes: Sequence[NodeProto]) -> set[str]:
    """Results of products that a choice of patches follows from without another product between."""
    leads_on: set[str] = set()
    found: set[str] = set()
    for node in reversed(nodes):
        if node.op_type == "TopK":
            leads_on.add(node.input[0])
        elif leads_on.intersection(node.output):
            if node.op_type in _PRODUCTS:
                found.update(node.output)
            else:
                leads_on.update(node.input)
    return found


def _behind_enlargements(nodes: Sequence[NodeProto]) -> set[str]:
    """Results of products that lead to no Resize."""
    leads_on: set[str] = set()
    found: set[str] = set()
    for node in reversed(nodes):
        if node.op_type == "Resize" or leads_on.intersection(node.output):
            leads_on.update(node.input)
        elif node.op_type in _PRODUCTS:
            found.update(node.output)
    return found
