"""A strongly typed graph in half precision: float16 where most of the work is, float32 at its ends.

TensorRT 11 takes every layer's type from the graph. In float32 stay: the image's normalisation, the
gates' scores once they are computed, and all that follows the last convolutions (log depth, its
exponential, normalisation of normals, softmax), as well as the inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto

Constants = dict[str, NDArray[Any]]

_CONVOLUTIONS = ("Conv", "MatMul")
_INTEGER_RESULTS = ("ArgMax",)
_UNTYPED_CONSTANTS = ("Resize", "Reshape", "Gather", "Split", "Expand", "ReduceL2", "Unsqueeze")
"""Operators whose constants are sizes, positions and scales, whatever the type of the data."""


def to_half(
    nodes: Sequence[NodeProto], constants: Constants, plugins: Mapping[str, Sequence[str]]
) -> list[NodeProto]:
    """The same computation with float16 tensors between the first and the last convolutions.

    Args:
        nodes: in order of execution.
        constants: by name; those that are needed in float16 are added.
        plugins: node name -> the type that each of its inputs and then outputs has: "fp16", "fp32"
            or "i32".

    Returns:
        The nodes, with casts where types meet.
    """
    return list(_Halving(constants, plugins, _last_convolutions(nodes, plugins)).run(nodes))


class _Halving:
    def __init__(
        self, constants: Constants, plugins: Mapping[str, Sequence[str]], last: Set[str]
    ) -> None:
        self._constants = constants
        self._plugins = plugins
        self._last = last
        self._half: set[str] = set()
        """Names of the tensors that are float16 now."""
        self._casts: dict[tuple[str, str], str] = {}

    def run(self, nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
        for node in nodes:
            if node.name in self._plugins:
                yield from self._plugin(node)
            elif node.op_type in _CONVOLUTIONS or any(name in self._half for name in node.input):
                yield from self._halved(node)
            else:
                yield node

    def _plugin(self, node: NodeProto) -> Iterator[NodeProto]:
        types = self._plugins[node.name]
        for position, name in enumerate(node.input):
            if name in self._constants:
                continue
            if types[position] == "fp16" and name not in self._half:
                yield from self._cast(node, position, "half")
            elif types[position] == "fp32" and name in self._half:
                yield from self._cast(node, position, "full")
        yield node
        for name, dtype in zip(node.output, types[len(node.input) :], strict=True):
            if dtype == "fp16":
                self._half.add(name)

    def _halved(self, node: NodeProto) -> Iterator[NodeProto]:
        for position, name in enumerate(node.input):
            if name in self._constants:
                self._halve_constant(node, position)
            elif name and name not in self._half:
                yield from self._cast(node, position, "half")
        if node.op_type in _INTEGER_RESULTS:
            yield node
        elif node.output[0] in self._last:
            yield from self._back_to_full(node)
        else:
            yield node
            self._half.update(node.output)

    def _halve_constant(self, node: NodeProto, position: int) -> None:
        if node.op_type in _UNTYPED_CONSTANTS:
            return
        name = node.input[position]
        value = self._constants[name]
        if value.dtype == np.float32:
            node.input[position] = f"{name}@half"
            self._constants[f"{name}@half"] = value.astype(np.float16)

    def _cast(self, node: NodeProto, position: int, kind: str) -> Iterator[NodeProto]:
        """Let an input of a node be its tensor cast, by a node that is made once."""
        name = node.input[position]
        if (name, kind) not in self._casts:
            self._casts[name, kind] = f"{name}@{kind}"
            yield _cast_node(name, f"{name}@{kind}", half=kind == "half")
        node.input[position] = self._casts[name, kind]
        if kind == "half":
            self._half.add(node.input[position])

    def _back_to_full(self, node: NodeProto) -> Iterator[NodeProto]:
        name = node.output[0]
        node.output[0] = f"{name}@half"
        yield node
        yield _cast_node(f"{name}@half", name, half=False)


def _cast_node(source: str, target: str, half: bool) -> NodeProto:
    from onnx import TensorProto, helper

    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return helper.make_node("Cast", [source], [target], name=f"cast {target}", to=to)


def _last_convolutions(
    nodes: Sequence[NodeProto], plugins: Mapping[str, Sequence[str]]
) -> set[str]:
    """Results of convolutions that lead to no other convolution, and to no plugin."""
    leads_on: set[str] = set()
    last: set[str] = set()
    for node in reversed(nodes):
        multiplies = node.op_type in _CONVOLUTIONS or node.name in plugins
        if node.op_type in _CONVOLUTIONS and not leads_on.intersection(node.output):
            last.update(node.output)
        if multiplies or leads_on.intersection(node.output):
            leads_on.update(node.input)
    return last
