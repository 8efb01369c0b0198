"""A MATLAB file whose structure contradicts itself is refused before scipy reads it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest

scipy_io = pytest.importorskip("scipy.io")

from pag_ros.lab.datasets.mat_structure import check_mat  # noqa: E402

LIMIT = 1 << 20
HEADER = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def matrix(kind: int, shape: tuple[int, ...], *parts: bytes) -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<2i", *shape))
    return element(14, b"".join([head, element(1, b"x"), *parts]))


def saved(**variables: Any) -> bytes:
    stream = io.BytesIO()
    scipy_io.savemat(stream, variables, do_compression=bool(len(variables) % 2))
    return stream.getvalue()


def test_numbers_texts_cells_and_structs_pass() -> None:
    cells = np.empty((2, 2), object)
    cells[:] = [[np.eye(3), "text"], [{"a": 1, "b": np.zeros((0, 3))}, np.array([], object)]]
    check_mat(saved(cells=cells), LIMIT)
    check_mat(saved(x=np.ones((2, 3, 4), np.uint8), y=1j * np.eye(2)), LIMIT)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (matrix(6, (1, 1), element(0, b"")), "type 0 and 0 bytes"),
        (matrix(6, (1, 1), element(14, b"\0" * 8)), "type 14"),
        (matrix(6, (1, 1), element(8, b"\0" * 8)), "type 8"),
        (matrix(6, (480, 640), element(9, b"\0" * 8)), "claims 480x640"),
        (matrix(6, (-1, -1), element(9, b"\0" * 8)), "of shape"),
        (matrix(1, (1, 10**9)), "claims 1x1000000000"),
        (matrix(4, (1, 10**9), element(16, b"a")), "claims 1x1000000000"),
        (matrix(2, (1, 1), element(5, struct.pack("<i", 0)), element(1, b"a")), "no names"),
        (matrix(5, (1, 1)), "class 5"),
        (matrix(17, (1, 1)), "class 17"),
        (matrix(6, (1, 1), element(9, b"\0" * 8))[:-8], "where none can be"),
        (element(15, b"no zlib"), "is damaged"),
        (element(15, zlib.compress(b"\0" * (2 * LIMIT)))[:-1], "unpacks to more"),
        (element(15, zlib.compress(element(9, b"\0" * 8))), "type 9"),
        (b"\0\0\0", "cut short"),
    ],
)
def test_a_contradiction_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_mat(HEADER + content, LIMIT)


def test_cells_within_cells_have_an_end() -> None:
    content = matrix(6, (1, 1), element(9, b"\0" * 8))
    for _ in range(40):
        content = matrix(1, (1, 1), content)
    with pytest.raises(ValueError, match="nested too deeply"):
        check_mat(HEADER + content, LIMIT)


def test_what_has_no_header_is_refused() -> None:
    with pytest.raises(ValueError, match="header"):
        check_mat(b"text", LIMIT)
