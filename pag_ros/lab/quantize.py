"""Measures with NNCF which ranges a network's maps have, so that OpenVINO computes it in 8 bits."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from pag_ros.errors import BackendError, ModelError
from pag_ros.image.letterbox import Letterbox
from pag_ros.kernels import Workspace
from pag_ros.lab.datasets import Dataset, Sample
from pag_ros.lab.datasets.excerpt import Excerpt
from pag_ros.manifest import Manifest, load_manifest
from pag_ros.reading import reading
from pag_ros.runtime.frame_clock import FrameClock, limit_rows
from pag_ros.runtime.openvino.api import GraphNode, GraphOutput, NetworkGraph
from pag_ros.runtime.openvino.graph import read_graph, read_separate
from pag_ros.runtime.openvino.operators import Operators
from pag_ros.runtime.openvino.quantization import (
    IDLE,
    WEIGHTED,
    GatedRanges,
    Quantization,
    Rounding,
    has_weights,
    simplify,
)

_BUDGETS = (1.0, 0.7, 0.5, 0.3)
"""Pictures take them in turn: what follows the gated blocks sees them at each."""

_DIGITS = 6
_GATED = ("Select", "SparseConv", "TrunkOperator", "End")

Feeds = dict[str, NDArray[Any]]


def quantize(
    model: Path, datasets: Sequence[Dataset], pictures: int, progress: Callable[[], object]
) -> Quantization:
    """Measure the ranges of a model's maps.

    Args:
        model: path of the ONNX file, its manifest beside it.
        datasets: pictures as the model will see them; not those that it is scored on.
        pictures: how many, evenly from all of them.
        progress: called after each picture.

    Raises:
        BackendError: NNCF is not installed.
        ModelError: the model or its manifest is missing, damaged or unfit.
        DatasetError: a picture is damaged.
    """
    _nncf()  # asked before the pictures are read
    manifest = load_manifest(model)
    samples = _spread(datasets, pictures)
    feeds = (_feeds(sample, manifest, number) for number, sample in enumerate(samples))
    return quantize_on(model, list(_counted(feeds, progress)))


def shares(datasets: Sequence[Dataset], pictures: int) -> list[int]:
    """How many pictures of each dataset: alike, as far as each has so many."""
    ends = [pictures * place // len(datasets) for place in range(len(datasets) + 1)]
    return [min(b - a, len(d)) for d, (a, b) in zip(datasets, pairwise(ends), strict=True)]


def quantize_on(model: Path, feeds: Sequence[Feeds], correct_biases: bool = True) -> Quantization:
    """The same with the network's inputs, see `model_layout.input_layout`.

    Args:
        correct_biases: so that the channels' means stay what they were; without, it is quicker. A
            transformer's never are: it takes an hour, and its depth is no nearer then.
    """
    nncf = _nncf()
    manifest = load_manifest(model)
    with _operators(manifest) as operators:
        with reading(model, "a usable model", ModelError):
            graph = read_graph(model, manifest, manifest, operators)
            simplify(graph)
        quantized = _quantized(nncf, graph, feeds, correct_biases and not _is_transformer(graph))
        return Quantization(
            sha256=manifest.sha256,
            roundings=_roundings(quantized),
            weights=_weights(quantized),
            gated=_gated_ranges(model, manifest, feeds),
            biases=_biases(graph, quantized),
        )


@contextmanager
def _operators(manifest: Manifest) -> Iterator[Operators]:
    """Those of a model whose graph runs outside a session, on a clock that nobody reads."""
    with closing(Workspace()) as workspace:
        operators = Operators(FrameClock([block.name for block in manifest.blocks]), workspace)
        operators.clock.start()
        try:
            yield operators
        finally:
            operators.release()


def _gated_ranges(
    model: Path, manifest: Manifest, feeds: Sequence[Feeds]
) -> tuple[GatedRanges, ...]:
    """What gated convolutions read, as the network shows it that computes in floats."""
    with _operators(manifest) as operators:
        graph = read_separate(model, manifest, operators)
        convolutions = operators.convolutions()
        if not convolutions:
            return ()
        maps = {_port(each.input_value(0)): each.input_value(0) for each in convolutions}
        graph.add_outputs([*maps.values()])
        limits = dict(zip(maps, _limits(graph, len(maps), feeds), strict=True))
        found = [
            GatedRanges(each.get_friendly_name(), *limits[_port(each.input_value(0))])
            for each in convolutions
        ]
    return tuple(sorted(found, key=lambda ranges: ranges.node))


def _port(output: GraphOutput) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()


def _limits(
    graph: NetworkGraph, maps: int, feeds: Sequence[Feeds]
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """The smallest and the largest value of each channel of the graph's last outputs [1,h,w,C]."""
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    limits: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for feed in feeds:
        request.infer(feed)
        values = [tensor.data[0] for tensor in request.output_tensors[-maps:]]
        found = [(each.min(axis=(0, 1)), each.max(axis=(0, 1))) for each in values]
        limits = [
            (np.minimum(low, a), np.maximum(high, b))
            for (low, high), (a, b) in zip(limits or found, found, strict=True)
        ]
    return [(_short(low), _short(high)) for low, high in limits]


def _nncf() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise BackendError(
            f"networks are quantized with NNCF ({error}); pip install 'pag_ros[bench]'"
        ) from error
    return nncf


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Without the bars and the warnings of a tool that quantizes.

    Args:
        logger: of the tool, "" for the root; it speaks again afterwards.
    """
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)


def _quantized(
    nncf: Any, graph: NetworkGraph, feeds: Sequence[Feeds], correct_biases: bool
) -> NetworkGraph:
    """A copy of the graph with NNCF's FakeQuantize nodes in it."""
    from nncf.quantization.advanced_parameters import OverflowFix, QuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    with quiet("nncf"):
        quantized: NetworkGraph = nncf.quantize(
            graph,
            nncf.Dataset(feeds),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(feeds),
            # Fast, it corrects each layer as if those before it were exact, and the depth of some
            # rooms is off by a few hundredths.
            fast_bias_correction=False,
            ignored_scope=nncf.IgnoredScope(names=sorted(exact_nodes(graph))),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # The largest value of all pictures: the mean of each picture's own would clip the
                # brightest pixels, and the ends of ReLU6.
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
                activations_quantization_params=QuantizationParameters(per_channel=False),
                disable_bias_correction=not correct_biases,
                # For processors without VNNI it would halve the values of some weights, at a loss
                # of some hundredths; precision auto takes int8 with VNNI only.
                overflow_fix=OverflowFix.DISABLE,
                # It would change weights, which the file does not hold.
                disable_channel_alignment=True,
                backend_params={"compress_weights": False},
            ),
        )
    return quantized


def exact_nodes(graph: NetworkGraph) -> set[str]:
    """Names of the nodes that stay float: from the last layer of each head and gate to its end.

    There a rounding is one of the result, or decides which pixels are computed, and hardly any time
    is to be won. So do layers that see no more than one pixel. So do two things that each lost 2 %
    alone, of the metric depth of a kitchen and of the normals of table tops: depthwise filters of
    the first features, and sums of a map and an enlarged one, whose ranges differ by far. And so
    does of a transformer all that has no weights: normalisations, attention, and sums that run
    through all blocks. Rounded, they are no faster, and the depth is off by ten times as much.
    """
    exact: set[str] = set()
    ends = [op for op in graph.get_ops() if op.get_type_name() in ("Result", "Select")]
    waiting = [source for end in ends for source in _sources(end)]
    while waiting:
        node = waiting.pop()
        name, kind = node.get_friendly_name(), node.get_type_name()
        if name in exact or kind in _GATED:
            continue
        exact.add(name)
        if kind not in WEIGHTED:
            waiting += _sources(node)
    exact |= {
        op.get_friendly_name()
        for op in graph.get_ops()
        if _sees_one_pixel(op) or _adds_enlarged(op) or _filters_first_features(op)
    }
    if _is_transformer(graph):
        exact |= {op.get_friendly_name() for op in graph.get_ops() if not has_weights(op)}
    return exact & _computing(graph)


def _is_transformer(graph: NetworkGraph) -> bool:
    """Whether its gated blocks are computed by standard operators, see docs/operators.md."""
    return any(op.get_type_name() == "End" for op in graph.get_ops())


def _computing(graph: NetworkGraph) -> set[str]:
    """Names of the nodes that compute anything."""
    return {op.get_friendly_name() for op in graph.get_ops() if op.get_type_name() not in IDLE}


def _sources(node: GraphNode) -> list[GraphNode]:
    return [node.input_value(at).get_node() for at in range(node.get_input_size())]


def _sees_one_pixel(node: GraphNode) -> bool:
    if node.get_type_name() != "Convolution":
        return False
    return [*node.input_value(0).get_partial_shape()][2:] == [1, 1]


def _filters_first_features(node: GraphNode) -> bool:
    """Whether it is depthwise, and the first layer behind the one that reads the picture."""
    if node.get_type_name() != "GroupConvolution":
        return False
    before = _layers_before(node)
    return any(not _layers_before(layer) for layer in before)


def _layers_before(node: GraphNode) -> list[GraphNode]:
    """The layers with weights whose maps a node reads, with nothing but other nodes in between."""
    found: list[GraphNode] = []
    for source in _sources(node):
        if source.get_type_name() in WEIGHTED:
            found.append(source)
        elif source.get_type_name() not in IDLE:
            found += _layers_before(source)
    return found


def _adds_enlarged(node: GraphNode) -> bool:
    kinds = [source.get_type_name() for source in _sources(node)]
    return node.get_type_name() == "Add" and "Interpolate" in kinds


def _roundings(quantized: NetworkGraph) -> tuple[Rounding, ...]:
    """What NNCF has put into the graph, by who reads it; weights aside."""
    found = [
        Rounding(
            reader.get_node().get_friendly_name(),
            reader.get_index(),
            *(limit for at in (1, 2) for limit in _short(node.input_value(at).get_node().data)),
        )
        for node in _fake_quantizes(quantized)
        if not _is_of_weights(node)
        for reader in node.output(0).get_target_inputs()
    ]
    return tuple(sorted(found, key=lambda rounding: (rounding.node, rounding.input)))


def _weights(quantized: NetworkGraph) -> tuple[str, ...]:
    """Names of the nodes whose weights NNCF rounds; it does so as `insert_roundings` does."""
    readers = [
        reader.get_node()
        for node in _fake_quantizes(quantized)
        if _is_of_weights(node)
        for reader in node.output(0).get_target_inputs()
    ]
    return tuple(sorted(node.get_friendly_name() for node in readers))


def _fake_quantizes(graph: NetworkGraph) -> list[GraphNode]:
    return [op for op in graph.get_ops() if op.get_type_name() == "FakeQuantize"]


def _is_of_weights(fake_quantize: GraphNode) -> bool:
    return fake_quantize.input_value(0).get_node().get_type_name() == "Constant"


def _biases(graph: NetworkGraph, quantized: NetworkGraph) -> dict[str, tuple[float, ...]]:
    """The biases that NNCF has changed, by the name of the addition."""
    before, after = _added(graph), _added(quantized)
    return {
        name: _short(values)
        for name, values in sorted(after.items())
        if name in before and not np.array_equal(values, before[name])
    }


def _added(graph: NetworkGraph) -> dict[str, NDArray[np.float32]]:
    return {
        op.get_friendly_name(): source.data.ravel()
        for op in graph.get_ops()
        if op.get_type_name() == "Add"
        for source in _sources(op)
        if source.get_type_name() == "Constant"
    }


def _short(values: NDArray[np.float32]) -> tuple[float, ...]:
    """As many digits as make a difference."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.ravel())


def _spread(datasets: Sequence[Dataset], pictures: int) -> Iterator[Sample]:
    """The pictures of `shares`, evenly from each dataset's first to its last."""
    for dataset, share in zip(datasets, shares(datasets, pictures), strict=True):
        excerpt = Excerpt(dataset, share)
        yield from (excerpt[number] for number in range(len(excerpt)))


def _feeds(sample: Sample, manifest: Manifest, number: int) -> Feeds:
    height, width = sample.color.shape[:2]
    box = Letterbox.fit((height, width), (manifest.height, manifest.width))
    keep = manifest.keep_for(_BUDGETS[number % len(_BUDGETS)])
    return {
        "image": box.shrink(sample.color)[None],
        "fx": np.array([sample.focal_px * box.scale], np.float32),
        "keep": np.array(keep, np.int32),
        "plan": limit_rows(None, 0.0, len(keep)),
    }


def _counted(feeds: Iterator[Feeds], progress: Callable[[], object]) -> Iterator[Feeds]:
    for each in feeds:
        yield each
        progress()
