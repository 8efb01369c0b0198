"""What we use of OpenVINO's objects: its own package has no types that could be checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ElementType(Protocol):
    """Of a tensor."""

    def to_dtype(self) -> np.dtype[Any]: ...

    def is_integral(self) -> bool: ...


class Value(Protocol):
    """An output of a node: `openvino.Output`."""

    @property
    def names(self) -> set[str]: ...

    @property
    def partial_shape(self) -> object: ...

    @property
    def element_type(self) -> ElementType: ...

    def get_node(self) -> Node: ...


class Target(Protocol):
    """An input of a node: `openvino.Input`."""

    def replace_source_output(self, value: Value) -> None: ...


class Node(Protocol):
    """A node of the graph: `openvino.Node`; `data` is a constant's."""

    @property
    def data(self) -> NDArray[Any]: ...

    def get_type_name(self) -> str: ...

    def get_friendly_name(self) -> str: ...

    def get_element_type(self) -> ElementType: ...

    def input(self, position: int) -> Target: ...

    def input_value(self, position: int) -> Value: ...

    def set_partial_shape(self, shape: object) -> None: ...


class FoundOperator(Protocol):
    """An operator that the ONNX front end asks us to convert: its `NodeContext`.

    Attributes are int, float, str or lists of these, as the ONNX file has them.
    """

    def get_attribute(self, name: str, default: Any = ...) -> Any: ...

    def get_input(self, position: int) -> Value: ...

    def get_input_size(self) -> int: ...


class AttributeVisitor(Protocol):
    """Collects what an operator is, beside its inputs."""

    def on_attributes(self, attributes: Mapping[str, object]) -> None: ...


class TensorView(Protocol):
    """`openvino.Tensor`: memory of OpenVINO's as an array."""

    @property
    def data(self) -> NDArray[Any]: ...


class Graph(Protocol):
    """A model before it is compiled: `openvino.Model`."""

    @property
    def inputs(self) -> Sequence[Value]: ...

    @property
    def outputs(self) -> Sequence[Value]: ...

    def get_ops(self) -> Sequence[Node]: ...

    def input(self, name: str) -> Value: ...

    def validate_nodes_and_infer_types(self) -> None: ...


class Request(Protocol):
    """`openvino.InferRequest`."""

    def infer(self) -> object: ...

    def set_tensor(self, name: str, tensor: object) -> None: ...

    def get_tensor(self, port: Value) -> TensorView: ...


class Compiled(Protocol):
    """`openvino.CompiledModel`."""

    def create_infer_request(self) -> Request: ...

    def output(self, name: str) -> Value: ...
