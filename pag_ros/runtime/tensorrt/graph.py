"""From a model file to the graph that TensorRT compiles: half precision, our kernels as nodes.

The model's `pag` operators (docs/operators.md) become nodes of programs (`kernels.gpu.programs`):
what lies between the convolutions of a branch exists at the listed pixels only ("rows"), every
Select also tells where a pixel stands in its list and when it began, and `Classify` becomes
standard operators. By a node's type and attributes a plugin is found and described.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pag_ros.errors import BackendError, ModelError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, Spec
from pag_ros.manifest import BlockSpec, Manifest, load_manifest
from pag_ros.reading import reading
from pag_ros.runtime.onnx_precheck import check_onnx
from pag_ros.runtime.tensorrt.half_precision import Constants, to_half

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PLUGIN_NAMESPACE, PLUGIN_VERSION = "pag", "1"
"""Quickly deployable plugins have this version, always."""

_DOMAIN = "pag"
_ACTIVATIONS = {0: "none", 1: "relu", 6: "relu6"}
_X, _INDEX, _COUNT, _WEIGHT, _BIAS, _BASE, _DILATION = range(7)
"""Inputs of pag.SparseConv."""


@dataclass(frozen=True)
class EngineGraph:
    """What TensorRT is given.

    Attributes:
        onnx: the graph; besides the model's own inputs it has `clock` int32 [2], the frame's start
            as the GPU's clock tells it, and besides the outputs `stamps` int32 [L,2], when each
            Select began.
        programs: node name -> the GPU program that it is.
    """

    onnx: bytes
    programs: Mapping[str, Spec]

    @property
    def specs(self) -> tuple[Spec, ...]:
        """The distinct programs."""
        return tuple({spec.name: spec for spec in self.programs.values()}.values())


def engine_graph(model: Path, plugin_version: str = PLUGIN_VERSION) -> EngineGraph:
    """The graph of a model for an NVIDIA GPU.

    Args:
        model: path of the ONNX file, its manifest beside it.
        plugin_version: of the plugins that its nodes are to be.

    Raises:
        ModelError: the model or its manifest is missing, damaged or unfit.
        BackendError: the model has an operator that the GPU kernels lack, or the package onnx is
            not installed.
    """
    require_onnx()
    manifest = load_manifest(model)
    with reading(model, "a usable model", ModelError):
        try:
            return _rewritten(parsed_onnx(model), manifest, plugin_version)
        except BackendError as error:
            raise BackendError(f"{model}: {error}") from error


def require_onnx() -> None:
    """Raise BackendError unless the package onnx is installed."""
    if importlib.util.find_spec("onnx") is None:
        raise BackendError(
            "graphs for the GPU need the package onnx: pip install onnx (beside ROS with its "
            "constraints, see docs/jetson.md)"
        )


def dense_graph(model: Path) -> bytes:
    """The graph of a dense export (`pag_ros export --dense`) in the same precision.

    With standard operators only it shows what TensorRT makes of everything but our kernels.

    Raises:
        ModelError: the file is no ONNX model.
    """
    with reading(model, "a usable model", ModelError):
        proto = parsed_onnx(model)
        constants, nodes = split_constants(proto)
        replace_nodes(proto, to_half(_cast_before_transpose(nodes), constants, {}), constants)
        return bytes(proto.SerializeToString())


def parsed_onnx(model: Path) -> ModelProto:
    """An ONNX file.

    Raises:
        ValueError: it is none.
        OSError: it cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    content = model.read_bytes()
    check_onnx(content)
    try:
        return onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ValueError(f"no ONNX file: {error}") from error


def _rewritten(proto: ModelProto, manifest: Manifest, plugin_version: str) -> EngineGraph:
    constants, nodes = split_constants(proto)
    nodes = _cast_before_transpose(_expanded(nodes, constants))
    gated = _Gated(nodes, constants, manifest, {output.name for output in proto.graph.output})
    nodes = gated.rewritten()
    _set_version(nodes, plugin_version)
    types = {
        name: [tensor.dtype for tensor in (*spec.inputs, *spec.outputs)]
        for name, spec in gated.programs.items()
    }
    nodes = to_half(nodes, constants, types)
    replace_nodes(proto, [*nodes, *_stamps(gated.stamps)], constants)
    _add_ports(proto, len(gated.stamps))
    return EngineGraph(proto.SerializeToString(), gated.programs)


def replace_nodes(proto: ModelProto, nodes: Sequence[NodeProto], constants: Constants) -> None:
    """Let the graph consist of other nodes, and of the constants that these use."""
    from onnx import numpy_helper

    graph = proto.graph
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items() if name in used
    )


def split_constants(proto: ModelProto) -> tuple[Constants, list[NodeProto]]:
    """The weights by name, half precision ones as they are meant, and the nodes without them."""
    from onnx import TensorProto, numpy_helper

    constants: Constants = {}
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ValueError(f"{tensor.name} lies in another file")
        constants[tensor.name] = numpy_helper.to_array(tensor)
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Cast" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]].astype(np.float32)
        else:
            nodes.append(node)
    return constants, nodes


def _cast_before_transpose(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The image's bytes are cast first: TensorRT can do nothing else with them."""
    nodes = list(nodes)
    for node, following in itertools.pairwise(nodes):
        is_first = node.op_type == "Transpose" and node.input[0] == "image"
        if is_first and following.op_type == "Cast" and following.input[0] == node.output[0]:
            middle, end = node.output[0], following.output[0]
            following.input[0], following.output[0] = "image", middle
            node.input[0], node.output[0] = middle, end
            first = nodes.index(node)
            nodes[first], nodes[first + 1] = following, node
            break
    return nodes


def _expanded(nodes: Sequence[NodeProto], constants: Constants) -> list[NodeProto]:
    """`Classify` as standard operators."""
    from onnx import TensorProto, helper

    result: list[NodeProto] = []
    for node in nodes:
        if node.domain != _DOMAIN or node.op_type != "Classify":
            result.append(node)
            continue
        sizes = _attributes(node)
        (logits,), (labels, confidence) = node.input, node.output
        large, odds, best = (f"{labels}.{part}" for part in ("large", "odds", "best"))
        factors = f"{labels}.sizes"
        constants[factors] = np.array([sizes["height"], sizes["width"]], np.int64)
        constants[f"{labels}.axes"] = np.array([1], np.int64)
        result += [
            helper.make_node(
                "Resize",
                [logits, "", "", factors],
                [large],
                name=f"{labels} resize",
                axes=[2, 3],
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            ),
            helper.make_node("ArgMax", [large], [best], name=f"{labels} best", axis=1, keepdims=0),
            # TensorRT makes bytes of floating-point numbers only.
            helper.make_node(
                "Cast", [best], [f"{best}.float"], name=f"{labels} float", to=TensorProto.FLOAT
            ),
            helper.make_node(
                "Cast", [f"{best}.float"], [labels], name=f"{labels} bytes", to=TensorProto.UINT8
            ),
            helper.make_node("Softmax", [large], [odds], name=f"{labels} softmax", axis=1),
            helper.make_node(
                "ReduceMax",
                [odds, f"{labels}.axes"],
                [confidence],
                name=f"{labels} confidence",
                keepdims=0,
            ),
        ]
    return result


class _Gated:
    """Rewrites Select and SparseConv.

    Attributes:
        programs: node name -> its program, once rewritten.
        stamps: names of the times at which the Selects began, in their order.
    """

    def __init__(
        self,
        nodes: Sequence[NodeProto],
        constants: Constants,
        manifest: Manifest,
        outputs: set[str],
    ) -> None:
        self._nodes = nodes
        self._constants = constants
        self._blocks = {block.name: block for block in manifest.blocks}
        self._outputs = outputs
        self._readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in nodes:
            for name in set(node.input):
                self._readers[name].append(node)
        self._makers = {name: node for node in nodes for name in node.output}
        self._block_of: dict[str, BlockSpec] = {}
        self._rows: set[str] = set()
        self.programs: dict[str, Spec] = {}
        self.stamps: list[str] = []

    def rewritten(self) -> list[NodeProto]:
        """All nodes, the gated ones as GPU programs."""
        ours = {"Select": self._select, "SparseConv": self._convolution}
        result = []
        for node in self._nodes:
            if node.domain == _DOMAIN and node.op_type not in ours:
                raise BackendError(f"the GPU kernels have no pag.{node.op_type} ({node.name})")
            result.append(ours[node.op_type](node) if node.domain == _DOMAIN else node)
        return result

    def _select(self, node: NodeProto) -> NodeProto:
        stage = _attributes(node)["stage"].decode()
        if stage not in self._blocks:
            raise ValueError(f"the manifest has no gated block {stage!r}")
        block = self._blocks[stage]
        score, keep, limits = node.input
        index, count = node.output
        self._block_of[index] = block
        self.stamps.append(f"{index}.stamp")
        outputs = [index, f"{index}.slot", count, f"{index}.stamp"]
        spec = SelectSpec(block.height, block.width)
        return self._program(spec, [score, keep, limits, "clock"], outputs, node.name)

    def _convolution(self, node: NodeProto) -> NodeProto:
        attributes = _attributes(node)
        inputs = [*node.input, "", ""][: _DILATION + 1]
        weight = self._constants[inputs[_WEIGHT]]
        if attributes.get("depthwise") or attributes["kernel"] not in (1, 3):
            kind = "depthwise " if attributes.get("depthwise") else ""
            raise BackendError(
                f"the GPU kernels convolve 1x1 and 3x3 densely over channels; {node.name} is a "
                f"{kind}{attributes['kernel']}x{attributes['kernel']}"
            )
        block = self._block_of[inputs[_INDEX]]
        y = node.output[0]
        x_rows, out_rows = inputs[_X] in self._rows, self._may_be_rows(node)
        if out_rows:
            self._rows.add(y)
        spec = ConvSpec(
            height=block.height,
            width=block.width,
            channels=weight.shape[3],
            features=weight.shape[0],
            kernel=attributes["kernel"],
            dilation=1 if inputs[_DILATION] else attributes.get("dilation", 1),
            activation=_ACTIVATIONS[attributes.get("relu", 0)],
            residual=bool(attributes.get("residual", 0)),
            x_rows=x_rows,
            out_rows=out_rows,
            base=bool(inputs[_BASE]),
            by_map=bool(inputs[_DILATION]),
            in_place=x_rows and bool(inputs[_BASE]) and self._is_read_before(inputs[_BASE], node),
        )
        # The kernels read [tap, input, output]: neighbouring threads take neighbouring outputs.
        packed = weight.transpose(1, 2, 3, 0).reshape(spec.taps, spec.channels, spec.features)
        self._constants[f"{node.name}.weight"] = np.ascontiguousarray(packed, np.float16)
        self._constants[f"{node.name}.bias"] = self._constants[inputs[_BIAS]].astype(np.float32)
        given = [
            inputs[_X],
            inputs[_INDEX],
            f"{inputs[_INDEX]}.slot",
            inputs[_COUNT],
            f"{node.name}.weight",
            f"{node.name}.bias",
        ]
        given += [name for name in inputs[_BASE:] if name]
        return self._program(spec, given, [y], node.name)

    def _may_be_rows(self, node: NodeProto) -> bool:
        """Whether only convolutions over the same pixels read a result, and as their x alone."""
        y = node.output[0]
        has_base = len(node.input) > _BASE and bool(node.input[_BASE])
        readers = self._readers[y]
        return (
            not has_base
            and y not in self._outputs
            and bool(readers)
            and all(
                reader.domain == _DOMAIN
                and reader.op_type == "SparseConv"
                and reader.input[_INDEX] == node.input[_INDEX]
                and list(reader.input).count(y) == 1
                and reader.input[_X] == y
                for reader in readers
            )
        )

    def _is_read_before(self, base: str, node: NodeProto) -> bool:
        """Whether all that reads a map must be done before `node` begins, so that it may change."""
        if base in self._outputs or base not in self._makers:
            return False
        before = self._ancestors(node)
        return all(reader is node or reader.output[0] in before for reader in self._readers[base])

    def _ancestors(self, node: NodeProto) -> set[str]:
        """First outputs of all nodes that a node depends on."""
        found: set[str] = set()
        waiting = list(node.input)
        while waiting:
            maker = self._makers.get(waiting.pop())
            if maker is not None and maker.output[0] not in found:
                found.add(maker.output[0])
                waiting += maker.input
        return found

    def _program(
        self, spec: Spec, inputs: Sequence[str], outputs: Sequence[str], name: str
    ) -> NodeProto:
        from onnx import helper

        self.programs[name] = spec
        return helper.make_node(
            plugin_name(spec),
            inputs,
            outputs,
            name=name,
            domain=_DOMAIN,
            plugin_namespace=PLUGIN_NAMESPACE,
            program=spec.name,
        )


def _set_version(nodes: Sequence[NodeProto], version: str) -> None:
    """Say in every node of ours which version of plugins it is to be."""
    from onnx import helper

    for node in nodes:
        if node.domain == _DOMAIN:
            node.attribute.append(helper.make_attribute("plugin_version", version))


def plugin_name(spec: Spec) -> str:
    """Type of the node of a program: one for every list of inputs."""
    if isinstance(spec, ConvSpec):
        base, by_map = "_base" if spec.base else "", "_by_map" if spec.by_map else ""
        return f"sparse_conv{base}{by_map}"
    return "select" if isinstance(spec, SelectSpec) else "stamp"


def _stamps(names: Sequence[str]) -> list[NodeProto]:
    """All stamps as one output [L,2]."""
    from onnx import helper

    together = helper.make_node("Concat", names, ["stamps.flat"], name="stamps concat", axis=0)
    shape = helper.make_node(
        "Constant", [], ["stamps.shape"], name="stamps shape", value_ints=[len(names), 2]
    )
    return [
        together,
        shape,
        helper.make_node("Reshape", ["stamps.flat", "stamps.shape"], ["stamps"], name="stamps"),
    ]


def _add_ports(proto: ModelProto, blocks: int) -> None:
    from onnx import TensorProto, helper

    proto.graph.input.append(helper.make_tensor_value_info("clock", TensorProto.INT32, [2]))
    proto.graph.output.append(
        helper.make_tensor_value_info("stamps", TensorProto.INT32, [blocks, 2])
    )


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}
