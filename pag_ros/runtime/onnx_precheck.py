"""Look into an ONNX file before a reader gets it: for our operators, and for what hangs the reader.

OpenVINO's reader hangs where a graph reads its own results, though the format wants nodes in an
order in which they can be computed; and it counts up to the versions of the operators that a file
claims. The bytes are read here by hand: the package onnx is none that a robot needs. Weights are
skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pag_ros.checks import shown
from pag_ros.manifest import MAX_MODEL_BYTES

_MAX_NESTING = 16
"""How deep graphs may lie within the attributes of nodes."""
_MAX_VERSION = 10_000
"""The highest version of a set of operators that is believed; ONNX has come to the twenties."""

# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _MODEL_OPERATORS, _OPERATORS_VERSION = 7, 8, 2
_GRAPH_NODE = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""Wire types of protocol buffers."""
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True)
class _Node:
    """Names that a node reads, the graphs within it included, and those that it gives."""

    reads: tuple[bytes, ...]
    gives: tuple[bytes, ...]


def check_onnx(content: bytes) -> None:
    """Check that a reader will come to the end of an ONNX file.

    Args:
        content: of the file.

    Raises:
        ValueError: a node reads its own or a later result, two give the same one, a version of
            operators is impossible, or the file is no ONNX model.
    """
    model = memoryview(content)
    for operators in _parts(model, _MODEL_OPERATORS):
        for number, version in _fields(operators):
            if number == _OPERATORS_VERSION and not _is_version(version):
                raise ValueError(f"its operators are of version {shown(version)}")
    # Readers join a graph that comes twice into one.
    _checked([node for graph in _parts(model, _MODEL_GRAPH) for node in _parts(graph, _GRAPH_NODE)])


def own_operators(path: Path) -> frozenset[str]:
    """Names of the operators of the domain `pag` in a file, see docs/operators.md.

    There are none where the file is no model of ours, or cannot be read: whoever runs it says why.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_MODEL_BYTES:
            return frozenset()
        graphs = _parts(memoryview(path.read_bytes()), _MODEL_GRAPH)
        nodes = [node for graph in graphs for node in _parts(graph, _GRAPH_NODE)]
        return frozenset(
            bytes(name).decode("utf-8", "backslashreplace")
            for node in nodes
            if [bytes(domain) for domain in _parts(node, _NODE_DOMAIN)] == [b"pag"]
            for name in _parts(node, _NODE_OPERATOR)
        )
    except (OSError, ValueError):
        return frozenset()


def is_transformer(path: Path) -> bool:
    """Whether it is a model of `pag_ros adopt`: standard operators compute its gated blocks."""
    return "End" in own_operators(path)


def _is_version(value: int | memoryview) -> bool:
    return isinstance(value, int) and value <= _MAX_VERSION


def _checked(parts: Iterable[memoryview], nesting: int = 0) -> list[_Node]:
    """The nodes of a graph, if each reads only what those before it give."""
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
        if isinstance(value, int):
            continue
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
    """The messages in those fields of another."""
    fields = _fields(message)
    return [v for number, v in fields if number in numbers and isinstance(v, memoryview)]


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, content) of a message's fields: whole numbers, and bytes, texts or messages."""
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
            value, position = _varint(message, position)
            yield key >> 3, value
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
