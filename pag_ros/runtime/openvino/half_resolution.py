"""The same network at half the input resolution: for a machine too slow for the whole one.

All convolutions, so the same weights serve; a quarter of the pixels costs about a quarter of the
time. Depth stays metric, since the focal length is counted in pixels of the whole resolution.
"""

from __future__ import annotations

from dataclasses import replace

import openvino as ov
from openvino import opset13

from pag_ros.errors import ModelError
from pag_ros.manifest import BlockSpec, Manifest
from pag_ros.runtime.openvino.api import Graph, Node

HALF = 2


def halved_manifest(manifest: Manifest) -> Manifest:
    """What a model is at half its resolution, with the scores measured so.

    Raises:
        ModelError: a side of the input or of a block is odd.
    """
    sides = [(manifest.height, manifest.width), *((b.height, b.width) for b in manifest.blocks)]
    if any(height % HALF or width % HALF for height, width in sides):
        raise ModelError(f"{manifest.name}: sides of {sides} cannot all be halved")
    low, high = manifest.focal_range
    blocks = tuple(_halved_block(block) for block in manifest.blocks)
    return replace(
        manifest,
        height=manifest.height // HALF,
        width=manifest.width // HALF,
        focal_range=(low / HALF, high / HALF),
        blocks=blocks,
        dense_macs=manifest.dense_macs // HALF**2,
        budgets={
            budget: tuple(min(k // HALF**2, b.pixels) for k, b in zip(keep, blocks, strict=True))
            for budget, keep in manifest.budgets.items()
        },
        scores=manifest.half_scores,
        half_scores={},
    )


def halve_graph(graph: Graph, manifest: Manifest) -> None:
    """Give a graph that was exported for one size half of it, in place, before it is compiled.

    Sizes are constants in three places: where maps are enlarged, expanded and flattened. The
    operators of our own have to be halved by their owner.

    Args:
        graph: with inputs as in `model_layout`.
        manifest: of the whole resolution.

    Raises:
        RuntimeError: the graph does not fit together at that size.
    """
    flat = {block.pixels for block in manifest.blocks}
    for operator in graph.get_ops():
        sizes = _sizes(operator)
        if sizes is None:
            continue
        if operator.get_type_name() == "Reshape":
            small = [n // HALF**2 if n in flat else n for n in sizes]
        else:
            small = [*sizes[:2], *(max(1, -(-n // HALF)) for n in sizes[2:])]
        constant = opset13.constant(small, ov.Type.i64)
        operator.input(1).replace_source_output(constant.output(0))
    image = graph.input("image")
    shape = [1, manifest.height // HALF, manifest.width // HALF, 3]
    image.get_node().set_partial_shape(ov.PartialShape(shape))
    graph.validate_nodes_and_infer_types()


def _sizes(operator: Node) -> list[int] | None:
    """The constant sizes of the map that an operator makes; None if it makes no such map."""
    kind = operator.get_type_name()
    if kind not in ("Interpolate", "Broadcast", "Reshape"):
        return None
    source = operator.input_value(1).get_node()
    if source.get_type_name() != "Constant" or not source.get_element_type().is_integral():
        return None  # It has factors in place of sizes.
    sizes = [int(size) for size in source.data.ravel()]
    return sizes if len(sizes) == (1 if kind == "Reshape" else 4) else None


def _halved_block(block: BlockSpec) -> BlockSpec:
    return replace(block, height=block.height // HALF, width=block.width // HALF)
