"""Whether the nodes of an ONNX file stand in an order in which they can be computed.

The format wants them so: every node reads only what comes before it. OpenVINO's reader trusts that,
and never returns from a graph that reads its own results. So this is looked at first, in the
file's bytes: the package onnx is none that a robot needs. Weights are skipped, not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pag_ros.checks import shown

_MAX_NESTING = 16
"""Of graphs within the attributes of nodes."""

# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _GRAPH_NODE = 7, 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types of protocol buffers."""
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True)
class _Node:
    """Names that a node reads, the graphs within it included, and those that it gives."""

    reads: tuple[bytes, ...]
    gives: tuple[bytes, ...]


def check_order(content: bytes) -> None:
    """Check that every node of an ONNX file reads only what nodes before it give.

    Args:
        content: of the file.

    Raises:
        ValueError: a node reads its own or a later result, two give the same one, or the file is no
            ONNX model.
    """
    nodes: list[memoryview] = []
    for number, part in _fields(memoryview(content)):
        if number == _MODEL_GRAPH:  # one that comes twice is joined
            nodes += _parts(part, _GRAPH_NODE)
    _checked(nodes, 0)


def _checked(parts: Iterable[memoryview], nesting: int) -> list[_Node]:
    """The nodes of a graph, if they are in order."""
    if nesting > _MAX_NESTING:
        raise ValueError("its graphs are nested too deeply")
    nodes = [_node(part, nesting) for part in parts]
    makers: dict[bytes, int] = {}
    for position, node in enumerate(nodes):
        for name in filter(None, node.gives):
            if name in makers:
                raise ValueError(f"two of its nodes give {_text(name)}")
            makers[name] = position
    for position, node in enumerate(nodes):
        for name in node.reads:
            if makers.get(name, -1) >= position:
                raise ValueError(f"a node reads {_text(name)} before that is computed")
    return nodes


def _node(part: memoryview, nesting: int) -> _Node:
    reads: list[bytes] = []
    gives: list[bytes] = []
    for number, value in _fields(part):
        if number == _NODE_INPUT:
            reads.append(bytes(value))
        elif number == _NODE_OUTPUT:
            gives.append(bytes(value))
        elif number == _NODE_ATTRIBUTE:
            for inner in _parts(value, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                nodes = _checked(_parts(inner, _GRAPH_NODE), nesting + 1)
                reads += [name for node in nodes for name in node.reads]
    return _Node(tuple(reads), tuple(gives))


def _parts(message: memoryview, *numbers: int) -> list[memoryview]:
    return [value for number, value in _fields(message) if number in numbers]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of all fields of a message that hold bytes, texts or messages."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == _BYTES:
            size, position = _varint(message, position)
            if size > len(message) - position:
                raise ValueError("it is cut short, or no ONNX model")
            yield key >> 3, message[position : position + size]
            position += size
        elif kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            position += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("it is no ONNX model")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A whole number of variable length, and the position behind it."""
    value = 0
    for shift, byte in enumerate(message[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 127) << (7 * shift)
        if byte < 128:
            return value, position + shift + 1
    raise ValueError("it is cut short, or no ONNX model")


def _text(name: bytes) -> str:
    return shown(name.decode("utf-8", "backslashreplace"))
