"""ONNX graphs in torch, as far as our networks go: for GPU machines without TensorRT.

Nothing here reads a value of a tensor, so a graph can be recorded as a CUDA graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray
from torch import Tensor

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import Spec
from pag_ros.runtime.tensorrt.graph import EngineGraph

if TYPE_CHECKING:
    from onnx import NodeProto

_DTYPES = {1: torch.float32, 2: torch.uint8, 6: torch.int32, 7: torch.int64, 10: torch.float16}
"""onnx.TensorProto.DataType -> torch's."""


class Programs(Protocol):
    """How the GPU programs among a graph's nodes are run.

    Attributes:
        has_gates: whether Selects are run, so that counts and lists can be asked for.
    """

    has_gates: bool

    def reads(self, spec: Spec) -> frozenset[str]:
        """Names of those of the program's inputs that matter."""
        ...

    def prepare(self, name: str, constant: Tensor) -> Tensor:
        """A constant input, once, in the form that `run` wants."""
        ...

    def run(self, spec: Spec, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Outputs of the program in its order; may be called while a CUDA graph is recorded."""
        ...


@dataclass(frozen=True)
class _Call:
    """One node as its operator sees it.

    Attributes:
        inputs: None where an optional input is absent.
        constants: those of the inputs that are known in advance, on the host.
    """

    attributes: Mapping[str, Any]
    inputs: Sequence[Tensor | None]
    constants: Sequence[NDArray[Any] | None]

    def tensor(self, position: int = 0) -> Tensor:
        tensor = self.inputs[position]
        assert tensor is not None
        return tensor

    def numbers(self, position: int) -> list[Any]:
        """Content of a constant input; empty where it is absent.

        Raises:
            BackendError: it is not constant.
        """
        if not self.has(position):
            return []
        constant = self.constants[position]
        if constant is None:
            raise BackendError("no torch for an operator whose sizes or bounds are computed")
        numbers: list[Any] = constant.ravel().tolist()
        return numbers

    def has(self, position: int) -> bool:
        return position < len(self.inputs) and self.inputs[position] is not None


class TorchGraph:
    """A graph with its constants on a device.

    Args:
        graph: of a model.
        outputs: names of what is wanted; nodes that do not lead there are left out.
        programs: runs the nodes that are GPU programs.
        device: of torch, "cuda" or "cpu".

    Raises:
        BackendError: the graph has an operator that is not known here.
    """

    def __init__(
        self, graph: EngineGraph, outputs: Sequence[str], programs: Programs, device: str
    ) -> None:
        import onnx
        from onnx import numpy_helper

        proto = onnx.load_model_from_string(graph.onnx).graph
        self._outputs = tuple(outputs)
        self._graph = graph
        self._programs = programs
        self._host = {each.name: numpy_helper.to_array(each) for each in proto.initializer}
        self._nodes = self._needed(proto.node)
        self._readers = Counter(name for node in self._nodes for name in set(node.input))
        self._readers.update(self._outputs)
        unknown = {node.op_type for node in self._nodes if not self._is_known(node)}
        if unknown:
            raise BackendError(f"no torch for the operators {', '.join(sorted(unknown))}")
        self._constants = self._uploaded(device)

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The wanted outputs by name.

        Args:
            inputs: of the graph, on the device.
        """
        values: dict[str, Tensor] = {**self._constants, **inputs}
        for node in self._nodes:
            values.update(zip(node.output, self._results(node, values), strict=True))
        return {name: values[name] for name in self._outputs}

    def _results(self, node: NodeProto, values: Mapping[str, Tensor]) -> Sequence[Tensor]:
        if node.name in self._graph.programs:
            given = {name: values[source] for name, source in self._read(node).items()}
            return self._programs.run(self._graph.programs[node.name], given)
        call = _Call(
            _attributes(node),
            [values.get(name) for name in node.input],
            [self._host.get(name) for name in node.input],
        )
        result = _OPERATORS[node.op_type](call)
        if not isinstance(result, Tensor):
            return result
        shared = [name for name in node.input if self._readers[name] > 1 and name in values]
        # A program may write into this, which others must not see.
        is_shared = any(_have_one_memory(result, values[name]) for name in shared)
        return (result.clone() if is_shared else result,)

    def _needed(self, nodes: Sequence[NodeProto]) -> list[NodeProto]:
        """The nodes that lead to the outputs, in their order."""
        wanted = set(self._outputs)
        kept = []
        for node in reversed(nodes):
            if wanted.intersection(node.output):
                kept.append(node)
                wanted.update(self._read(node).values())
        return kept[::-1]

    def _read(self, node: NodeProto) -> dict[str, str]:
        """What a node reads: name of its input (of an operator its position) -> tensor's name."""
        spec = self._graph.programs.get(node.name)
        if spec is None:
            return {str(i): name for i, name in enumerate(node.input) if name}
        reads = self._programs.reads(spec)
        names = (tensor.name for tensor in spec.inputs)
        pairs = zip(names, node.input, strict=True)
        return {name: source for name, source in pairs if name in reads}

    def _is_known(self, node: NodeProto) -> bool:
        return node.name in self._graph.programs or node.op_type in _OPERATORS

    def _uploaded(self, device: str) -> dict[str, Tensor]:
        """The constants that the nodes read, in the form that each of them wants."""
        result: dict[str, Tensor] = {}
        for node in self._nodes:
            for name, source in self._read(node).items():
                if source in result or source not in self._host:
                    continue
                # A copy: torch warns of arrays that cannot be written.
                constant = torch.from_numpy(np.array(self._host[source])).to(device)
                if node.name in self._graph.programs:
                    constant = self._programs.prepare(name, constant)
                elif constant.dim() == 4:
                    constant = constant.to(memory_format=torch.channels_last)
                result[source] = constant
        return result


def _have_one_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _arg_max(call: _Call) -> Tensor:
    return call.tensor().argmax(call.attributes["axis"], bool(call.attributes["keepdims"]))


def _cast(call: _Call) -> Tensor:
    return call.tensor().to(_DTYPES[call.attributes["to"]])


def _clip(call: _Call) -> Tensor:
    low, high = (call.numbers(position) or [None] for position in (1, 2))
    return torch.clamp(call.tensor(), low[0], high[0])


def _concat(call: _Call) -> Tensor:
    parts = [call.tensor(position) for position in range(len(call.inputs))]
    return torch.cat(parts, call.attributes["axis"])


def _conv(call: _Call) -> Tensor:
    x = call.tensor(0)
    top, left, bottom, right = call.attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x = F.pad(x, (left, right, top, bottom))
        top = left = 0
    return F.conv2d(
        x,
        call.tensor(1),
        call.tensor(2) if call.has(2) else None,
        stride=call.attributes.get("strides", (1, 1)),
        padding=(top, left),
        dilation=call.attributes.get("dilations", (1, 1)),
        groups=call.attributes.get("group", 1),
    )


def _expand(call: _Call) -> Tensor:
    # The shape may say 1 where the tensor is larger; `expand` would refuse that, -1 keeps it.
    shape = [-1 if size == 1 else size for size in call.numbers(1)]
    return call.tensor().expand(shape)


def _gather(call: _Call) -> Tensor:
    axis, positions = call.attributes.get("axis", 0), call.constants[1]
    if positions is None or positions.ndim:
        raise BackendError("no torch for a Gather at more than one position")
    return call.tensor().select(axis, int(positions))


def _gather_nd(call: _Call) -> Tensor:
    return call.tensor(0)[call.tensor(1).unbind(-1)]


def _reduce_l2(call: _Call) -> Tensor:
    keep = bool(call.attributes.get("keepdims", 1))
    norm: Tensor = torch.linalg.vector_norm(call.tensor(), dim=call.numbers(1), keepdim=keep)
    return norm


def _reduce_max(call: _Call) -> Tensor:
    return call.tensor().amax(call.numbers(1), bool(call.attributes.get("keepdims", 1)))


def _reduce_mean(call: _Call) -> Tensor:
    return call.tensor().mean(call.numbers(1), bool(call.attributes.get("keepdims", 1)))


def _reshape(call: _Call) -> Tensor:
    return call.tensor().reshape(call.numbers(1))


def _resize(call: _Call) -> Tensor:
    """Bilinear with pixel centres at half, to given sizes."""
    ways = {"mode": b"linear", "coordinate_transformation_mode": b"half_pixel"}
    sizes = call.numbers(3)
    if not sizes or any(call.attributes.get(name) != way for name, way in ways.items()):
        raise BackendError("no torch for a Resize that is not bilinear, or without sizes")
    return F.interpolate(call.tensor(), size=sizes[-2:], mode="bilinear", align_corners=False)


def _split(call: _Call) -> Sequence[Tensor]:
    return torch.split(call.tensor(), call.numbers(1), call.attributes["axis"])


def _unsqueeze(call: _Call) -> Tensor:
    (axis,) = call.numbers(1)
    return call.tensor().unsqueeze(axis)


_OPERATORS: Mapping[str, Callable[[_Call], Tensor | Sequence[Tensor]]] = {
    "Add": lambda call: call.tensor(0) + call.tensor(1),
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": lambda call: call.tensor(0) / call.tensor(1),
    "Exp": lambda call: call.tensor().exp(),
    "Expand": _expand,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "MatMul": lambda call: call.tensor(0) @ call.tensor(1),
    "Mul": lambda call: call.tensor(0) * call.tensor(1),
    "Reciprocal": lambda call: call.tensor().reciprocal(),
    "ReduceL2": _reduce_l2,
    "ReduceMax": _reduce_max,
    "ReduceMean": _reduce_mean,
    "Relu": lambda call: F.relu(call.tensor()),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda call: call.tensor().sigmoid(),
    "Softmax": lambda call: call.tensor().softmax(call.attributes["axis"]),
    "Split": _split,
    "Sub": lambda call: call.tensor(0) - call.tensor(1),
    "Transpose": lambda call: call.tensor().permute(call.attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}
