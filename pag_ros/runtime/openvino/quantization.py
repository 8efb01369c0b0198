"""Which inputs of a model's nodes OpenVINO rounds to 8 bits: a file beside the model, and its use.

`pag_ros quantize` measures it and writes `NAME.int8.json` beside `NAME.onnx`, so that a robot needs
nothing else. The weights are in the model; they are rounded here, each output channel in its range.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13
from openvino.passes import ConstantFolding, Manager

from pag_ros import checks
from pag_ros.errors import RangesError
from pag_ros.kernels.quantizing import Ranges
from pag_ros.reading import read_limited, reading
from pag_ros.runtime.openvino.api import GraphNode, GraphOutput, NetworkGraph
from pag_ros.writing import write_text

FORMAT = 2
LEVELS = 256
"""Of a map's values."""
WEIGHT_LEVELS = 255
"""Of a weight, alike above and below zero."""
CONVOLUTIONS = ("Convolution", "GroupConvolution")
WEIGHTED = (*CONVOLUTIONS, "ConvolutionBackpropData", "MatMul")
"""Kinds of nodes whose weights can be rounded."""
_OUTPUT_AXES = {"Convolution": (0,), "GroupConvolution": (0, 1), "ConvolutionBackpropData": (1,)}
IDLE = ("Constant", "Parameter", "Result")
"""Those that compute nothing."""

_MAX_BYTES = 1 << 24
_MAX_INPUTS = 1 << 14
_MAX_CHANNELS = 1 << 16
_MAX_VALUE = 1e9
_MAX_NODE_INPUTS = 16


@dataclass(frozen=True)
class Rounding:
    """One input of a node that is rounded to `LEVELS` values.

    Attributes:
        node: its name in the graph.
        input: which of its inputs.
        low, high: the smallest and the largest value, of all channels.
    """

    node: str
    input: int
    low: float
    high: float


@dataclass(frozen=True)
class GatedRanges:
    """What a gated convolution reads, rounded by our own kernels.

    Attributes:
        node: its name in the graph.
        low, high: the smallest and the largest value of each channel.
    """

    node: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    def of_channels(self) -> Ranges:
        """The same as arrays."""
        return Ranges(np.array(self.low), np.array(self.high))


@dataclass(frozen=True)
class Quantization:
    """What a model's file of ranges holds.

    Attributes:
        sha256: of the model that it was measured with.
        roundings: of everything that is rounded but the weights.
        weights: names of the nodes whose weights are rounded.
        biases: name of an addition -> what takes the place of the bias that it adds, so that the
            channels' means stay what they were.
        gated: of the gated convolutions; where one is missing they compute in floats.
    """

    sha256: str
    roundings: tuple[Rounding, ...]
    weights: tuple[str, ...] = ()
    biases: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    gated: tuple[GatedRanges, ...] = ()
    format: int = FORMAT

    def without(self, nodes: Collection[str]) -> Quantization:
        """What is left for OpenVINO where these nodes are computed otherwise."""
        return replace(
            self,
            roundings=tuple(each for each in self.roundings if each.node not in nodes),
            weights=tuple(name for name in self.weights if name not in nodes),
            biases={name: bias for name, bias in self.biases.items() if name not in nodes},
        )


def quantization_path(model: Path) -> Path:
    """`engines/foo.onnx` -> `engines/foo.int8.json`."""
    return model.with_suffix(".int8.json")


def save_quantization(quantization: Quantization, model: Path) -> None:
    """Write the file beside `model`, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(asdict(quantization), separators=(",", ":"))
    # One line for each rounding: a diff of two files shows what has changed.
    write_text(quantization_path(model), text.replace('{"node"', '\n{"node"') + "\n")


def load_quantization(model: Path, sha256: str) -> Quantization:
    """Read and check the file beside an ONNX model.

    Args:
        model: path of the .onnx file.
        sha256: of it.

    Raises:
        RangesError: there is no such file, it is damaged, or it belongs to another model.
    """
    path, remedy = quantization_path(model), f"quantize it: {_command(model)}"
    if not path.is_file():
        raise RangesError(f"{path}: no such file, precision int8 needs it; {remedy}")
    with reading(path, "the ranges of a quantized model", RangesError, remedy):
        quantization = _from_json(json.loads(read_limited(path, _MAX_BYTES)))
    if quantization.sha256 != sha256:
        raise RangesError(f"{path}: belongs to another model than {model.name}; {remedy}")
    return quantization


def gated_ranges(
    quantization: Quantization, channels: Mapping[str, int], model: Path
) -> dict[str, Ranges]:
    """What gated convolutions read, by the name of their node.

    Args:
        channels: those of the input of each gated convolution of the model.

    Raises:
        RangesError: they do not fit these convolutions.
    """
    path, remedy = quantization_path(model), f"quantize it: {_command(model)}"
    with reading(path, "the ranges of this model", RangesError, remedy):
        for each in quantization.gated:
            name = checks.shown(each.node)
            if each.node not in channels:
                raise ValueError(f"the model has no gated convolution {name}")
            if len(each.low) != channels[each.node]:
                wanted = channels[each.node]
                raise ValueError(f"{name} reads {wanted} channels, not {len(each.low)}")
    return {each.node: each.of_channels() for each in quantization.gated}


def insert_roundings(graph: NetworkGraph, quantization: Quantization, model: Path) -> None:
    """Put the roundings into a graph of any size, in place, before it is compiled.

    Raises:
        RangesError: they do not fit the graph.
    """
    path, remedy = quantization_path(model), f"quantize it: {_command(model)}"
    with reading(path, "the ranges of this model", RangesError, remedy):
        simplify(graph)
        nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
        for name, values in quantization.biases.items():
            _replace_bias(_found(nodes, name), values)
        _round_inputs(nodes, quantization.roundings)
        for name in quantization.weights:
            _round_weights(_found(nodes, name))
        graph.validate_nodes_and_infer_types()


def simplify(graph: NetworkGraph) -> None:
    """Compute all that depends on constants alone, and give the rest names that last.

    A node that OpenVINO makes of a part of an ONNX node has a name with a number that is another
    each time the file is read. It is called by who reads it instead.
    """
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(graph)
    for node in reversed(graph.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name() and node.get_type_name() not in IDLE:
            node.set_friendly_name(_name_by_reader(node))


def _name_by_reader(node: GraphNode) -> str:
    """ "NAME/0:TYPE" for what is input 0 of NAME; there is one such node in a graph."""
    readers = (reader for port in node.outputs() for reader in port.get_target_inputs())
    name, place = min((each.get_node().get_friendly_name(), each.get_index()) for each in readers)
    return f"{name}/{place}:{node.get_type_name()}"


def has_weights(node: GraphNode) -> bool:
    """Whether it is a layer with weights; a product of two maps has none."""
    if node.get_type_name() not in WEIGHTED:
        return False
    return node.input_value(1).get_node().get_type_name() == "Constant"


def _weight_axes(node: GraphNode) -> tuple[int, ...]:
    """The axes of a node's weights that are output channels.

    Raises:
        ValueError: it has no weights.
    """
    kind = node.get_type_name()
    if not has_weights(node):
        raise ValueError(f"{node.get_friendly_name()}: it has no weights")
    if kind == "MatMul":
        axes = len(node.input_value(1).get_node().data.shape)
        return (axes - 2 if node.get_attributes()["transpose_b"] else axes - 1,)
    return _OUTPUT_AXES[kind]


def _weight_limits(node: GraphNode) -> NDArray[np.float32]:
    """The largest weight of each output channel, in a shape that fits all weights."""
    axes, weights = _weight_axes(node), node.input_value(1).get_node().data
    others = tuple(axis for axis in range(weights.ndim) if axis not in axes)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    # A channel of zeros has a range all the same.
    limits: NDArray[np.float32] = np.maximum(largest, np.float32(1e-8)).astype(np.float32)
    return limits


def _round_inputs(nodes: Mapping[str, GraphNode], roundings: Iterable[Rounding]) -> None:
    # Who reads the same values rounded alike reads them from one node: they are rounded once.
    made: dict[object, GraphNode] = {}
    for rounding in roundings:
        node = _found(nodes, rounding.node)
        if rounding.input >= node.get_input_size():
            raise ValueError(f"{rounding.node}: it has no input {rounding.input}")
        source = node.input_value(rounding.input)
        key = source.get_node().get_friendly_name(), source.get_index(), rounding.low, rounding.high
        if key not in made:
            low, high = (np.array(value, np.float32) for value in (rounding.low, rounding.high))
            made[key] = _fake_quantize(source, low, high, LEVELS)
        node.input(rounding.input).replace_source_output(made[key].output(0))


def _round_weights(node: GraphNode) -> None:
    limits = _weight_limits(node)
    rounded = _fake_quantize(node.input_value(1), -limits, limits, WEIGHT_LEVELS)
    node.input(1).replace_source_output(rounded.output(0))


def _fake_quantize(
    source: GraphOutput, low: NDArray[np.float32], high: NDArray[np.float32], levels: int
) -> GraphNode:
    node: GraphNode = opset13.fake_quantize(source, low, high, low, high, levels)
    return node


def _replace_bias(node: GraphNode, values: Sequence[float]) -> None:
    for position in range(node.get_input_size()):
        constant = node.input_value(position).get_node()
        if constant.get_type_name() == "Constant" and constant.data.size == len(values):
            bias = np.array(values, np.float32).reshape(constant.data.shape)
            replaced = opset13.constant(bias, ov.Type.f32)
            node.input(position).replace_source_output(replaced.output(0))
            return
    raise ValueError(f"{node.get_friendly_name()}: it adds no bias of {len(values)} channels")


def _found(nodes: Mapping[str, GraphNode], name: str) -> GraphNode:
    if name not in nodes:
        raise ValueError(f"the model has no node {checks.shown(name)}")
    return nodes[name]


def _command(model: Path) -> str:
    return f"pag_ros quantize {model} --data ..."


def _from_json(value: Any) -> Quantization:
    """Every value is checked here, before anything is computed or allocated from it.

    Raises:
        ValueError, KeyError: a value is missing or outside what it may be.
    """
    data = checks.entries(value, "file")
    if data.get("format") != FORMAT:
        raise ValueError(f"format {checks.shown(data.get('format'))}, this version reads {FORMAT}")
    roundings = tuple(
        _rounding(entry) for entry in checks.items(data["roundings"], "roundings", 1, _MAX_INPUTS)
    )
    if len({(rounding.node, rounding.input) for rounding in roundings}) < len(roundings):
        raise ValueError("roundings: two are of the same input")
    names = checks.items(data["weights"], "weights", 0, _MAX_INPUTS)
    weights = tuple(checks.name_of(name, "weights") for name in names)
    if len(set(weights)) < len(weights):
        raise ValueError("weights: a node is named twice")
    biases = {
        checks.name_of(name, "biases"): _values(values, f"bias of {checks.shown(name)}")
        for name, values in checks.entries(data["biases"], "biases").items()
    }
    gated = tuple(
        _gated_ranges(entry) for entry in checks.items(data["gated"], "gated", 0, _MAX_INPUTS)
    )
    if len({each.node for each in gated}) < len(gated):
        raise ValueError("gated: a node is named twice")
    sha256 = checks.name_of(data["sha256"], "sha256")
    return Quantization(sha256, roundings, weights, biases, gated)


def _rounding(value: Any) -> Rounding:
    data = checks.entries(value, "roundings")
    name = checks.name_of(data["node"], "node")
    low, high = (
        checks.number(data[key], f"{name}: {key}", -_MAX_VALUE, _MAX_VALUE)
        for key in ("low", "high")
    )
    # Of a range that float32 cannot tell from none the values would not be finite.
    if not np.float32(low) < np.float32(high):
        raise ValueError(f"{name}: expected low < high, not {low:g} and {high:g}")
    return Rounding(
        node=name,
        input=checks.whole(data["input"], f"{name}: input", 0, _MAX_NODE_INPUTS),
        low=low,
        high=high,
    )


def _gated_ranges(value: Any) -> GatedRanges:
    data = checks.entries(value, "gated")
    name = checks.name_of(data["node"], "node")
    low, high = (_values(data[key], f"{name}: {key}") for key in ("low", "high"))
    if len(low) != len(high) or any(a > b for a, b in zip(low, high, strict=True)):
        raise ValueError(f"{name}: expected as many low as high, and low <= high")
    return GatedRanges(name, low, high)


def _values(value: Any, name: str) -> tuple[float, ...]:
    """The values of all channels."""
    return tuple(
        checks.number(entry, name, -_MAX_VALUE, _MAX_VALUE)
        for entry in checks.items(value, name, 1, _MAX_CHANNELS)
    )
