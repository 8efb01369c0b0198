"""Going from node to node of a graph: who reads what, and whence a value comes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pag_ros.runtime.openvino.api import GraphNode, GraphOutput


def constant_of(value: GraphOutput) -> NDArray[np.float32] | None:
    """The values of a constant of the graph, behind a cast or not; None of anything else."""
    node = value.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.ascontiguousarray(node.data, np.float32) if is_constant(node) else None


def is_constant(node: GraphNode) -> bool:
    """Whether a node gives the same values whatever the input."""
    return node.get_type_name() == "Constant"


def reader_names(output: GraphOutput) -> set[str]:
    """The names of the nodes that read an output."""
    return {reader.get_node().get_friendly_name() for reader in output.get_target_inputs()}


def move_readers(old: GraphOutput, new: GraphOutput) -> None:
    """Let whoever reads one output read another one."""
    for reader in old.get_target_inputs():
        reader.replace_source_output(new)


def way_back(value: GraphOutput, kinds: Collection[str]) -> list[GraphNode]:
    """The nodes that a value comes through, from the last one of another kind on.

    Constants are no way.
    """
    way = [value.get_node()]
    while way[0].get_type_name() in kinds:
        sources = [way[0].input_value(at).get_node() for at in range(way[0].get_input_size())]
        before = [node for node in sources if not is_constant(node)]
        if len(before) != 1:
            break
        way = [*before, *way]
    return way


def is_only_way(nodes: Sequence[GraphNode]) -> bool:
    """Whether nobody but the next of these nodes reads one of them."""
    return all(
        set().union(*map(reader_names, node.outputs())) == {following.get_friendly_name()}
        for node, following in pairwise(nodes)
    )
