"""What we use of OpenVINO's objects: its own stubs are not marked for type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ElementType(Protocol):
    """An `openvino.Type`."""

    def is_integral(self) -> bool: ...
    def to_dtype(self) -> np.dtype[Any]: ...


class HostTensor(Protocol):
    """An `openvino.Tensor` in the memory of the CPU."""

    @property
    def data(self) -> NDArray[Any]: ...


class GraphInput(Protocol):
    """An `openvino.Input`: where a node reads."""

    def replace_source_output(self, source: GraphOutput) -> None: ...


class GraphOutput(Protocol):
    """An `openvino.Output`: what a node gives, or what the model takes or gives."""

    @property
    def names(self) -> Set[str]: ...
    @property
    def partial_shape(self) -> object: ...
    @property
    def element_type(self) -> ElementType: ...
    def get_node(self) -> GraphNode: ...
    def get_names(self) -> Set[str]: ...
    def set_names(self, names: Set[str]) -> None: ...


class GraphNode(Protocol):
    """An `openvino.Node`."""

    @property
    def data(self) -> NDArray[Any]:
        """Its values; constants alone have it."""
        ...

    def get_type_name(self) -> str: ...
    def get_element_type(self) -> ElementType: ...
    def get_attributes(self) -> Mapping[str, Any]: ...
    def set_attribute(self, name: str, value: str) -> None: ...
    def input(self, position: int) -> GraphInput: ...
    def input_value(self, position: int) -> GraphOutput: ...

    def set_partial_shape(self, shape: object) -> None:
        """Give it another size; the model's inputs alone have it."""
        ...


class NetworkGraph(Protocol):
    """An `openvino.Model`, before it is compiled."""

    @property
    def inputs(self) -> Sequence[GraphOutput]: ...
    @property
    def outputs(self) -> Sequence[GraphOutput]: ...
    def input(self, name: str) -> GraphOutput: ...
    def get_ops(self) -> Sequence[GraphNode]: ...
    def validate_nodes_and_infer_types(self) -> None: ...


class InferRequest(Protocol):
    """An `openvino.InferRequest`: one run at a time of a compiled graph."""

    def infer(self) -> object: ...
    def get_tensor(self, port: GraphOutput) -> HostTensor: ...
    def set_tensor(self, name: str, tensor: HostTensor) -> None: ...


class CompiledGraph(Protocol):
    """An `openvino.CompiledModel`."""

    def create_infer_request(self) -> InferRequest: ...
    def output(self, name: str) -> GraphOutput: ...


class OnnxNode(Protocol):
    """An `openvino.frontend.NodeContext`: a node of the ONNX file that is being converted."""

    def get_attribute(self, name: str, default: object = ...) -> Any:
        """What the file says, of whatever type."""
        ...

    def get_input(self, position: int) -> GraphOutput: ...
    def get_input_size(self) -> int: ...


class AttributeVisitor(Protocol):
    """An `openvino.AttributeVisitor`: it is told what makes an operator differ from others."""

    def on_attributes(self, attributes: Mapping[str, int | str]) -> None: ...
