"""Wavefront OBJ and MTL, as far as furniture catalogues use them.

A small reader of our own keeps what general loaders drop (materials per face, opacity) and
reads nothing but the bytes it is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from pag_ros.lab.scenes.mesh import FloatArray, IntArray

_MAX_INDEX = 1 << 30


@dataclass
class MtlMaterial:
    """One `newmtl` block: diffuse and specular colour, opacity, picture name."""

    diffuse: tuple[float, float, float] = (0.7, 0.7, 0.7)
    specular: float = 0.0
    opacity: float = 1.0
    picture: str | None = None


@dataclass
class ObjFile:
    """vertices [V,3], faces [F,3], uv [F,3,2], material [F] into material_names."""

    vertices: FloatArray
    faces: IntArray
    uv: FloatArray
    material: IntArray
    material_names: list[str]
    libraries: list[str] = field(default_factory=list)


def parse_mtl(text: str) -> dict[str, MtlMaterial]:
    """Materials by name. Lines that are not understood are passed over."""
    materials: dict[str, MtlMaterial] = {}
    current = MtlMaterial()
    for line in text.splitlines():
        key, _, rest = line.strip().partition(" ")
        words = rest.split()
        if key == "newmtl":
            current = materials.setdefault(rest.strip(), MtlMaterial())
        elif key == "map_Kd" and words:
            current.picture = rest.strip()
        else:
            _set_look(current, key, _numbers(words))
    return materials


def _set_look(material: MtlMaterial, key: str, values: list[float]) -> None:
    if key == "Kd" and len(values) >= 3:
        material.diffuse = (values[0], values[1], values[2])
    elif key == "Ks" and len(values) >= 3:
        material.specular = sum(values[:3]) / 3
    elif key == "d" and values:
        material.opacity = values[-1]


def _numbers(words: list[str]) -> list[float]:
    """The numbers at the end of a line ("d -halo 0.5" has a word before them)."""
    values: list[float] = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        values = [*values, value] if math.isfinite(value) else []
    return values


def parse_obj(text: str) -> ObjFile:
    """Read vertices, texture coordinates and faces; polygons become fans of triangles.

    Raises:
        ValueError: a number is none, or a face refers to a vertex that the file does not have.
    """
    vertex_lines: list[str] = []
    uv_lines: list[str] = []
    corners: list[str] = []
    triangles: list[tuple[int, int, int]] = []
    material: list[int] = []
    names: dict[str, int] = {}
    libraries: list[str] = []
    current = 0
    for line in text.replace("\\\n", " ").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key == "v":
            vertex_lines.append(rest)
        elif key == "vt":
            uv_lines.append(rest)
        elif key == "f":
            words = rest.split()
            first = len(corners)
            corners.extend(words)
            for k in range(1, len(words) - 1):
                triangles.append((first, first + k, first + k + 1))
                material.append(current)
        elif key == "usemtl":
            current = names.setdefault(rest.strip(), len(names))
        elif key == "mtllib":
            libraries.append(rest.strip())
    vertices = _table(vertex_lines, 3)
    texture = _table(uv_lines, 2)
    vertex_index, uv_index = _corner_indices(corners, len(vertices), len(texture))
    order = np.array(triangles, np.int64).reshape(-1, 3)
    if len(texture) == 0:
        texture = np.zeros((1, 2), np.float32)
    return ObjFile(
        vertices=vertices,
        faces=vertex_index[order].astype(np.int32),
        uv=texture[uv_index[order]],
        material=np.array(material, np.int32),
        material_names=list(names) or [""],
        libraries=libraries,
    )


def _table(lines: list[str], width: int) -> FloatArray:
    """Lines of numbers as [N,width]; further columns (w, vertex colours) are dropped."""
    rows = [line.split()[:width] for line in lines]
    with np.errstate(over="ignore"):  # beyond float32 a number is infinite, which is told later
        return np.array([r + ["0"] * (width - len(r)) for r in rows], np.float32).reshape(-1, width)


def _index(text: str) -> int:
    value = int(text)
    if abs(value) > _MAX_INDEX:
        raise ValueError(f"a face refers to vertex {text[:20]}")
    return value


def _corner_indices(corners: list[str], vertices: int, texture: int) -> tuple[IntArray, IntArray]:
    """Zero-based vertex and uv indices of corners written as v, v/vt, v//vn or v/vt/vn."""
    both = np.zeros((len(corners), 2), np.int32)
    for row, corner in enumerate(corners):
        parts = corner.split("/")
        both[row, 0] = _index(parts[0])
        both[row, 1] = _index(parts[1]) if len(parts) > 1 and parts[1] else 1
    for column, count in ((0, vertices), (1, max(texture, 1))):
        index = both[:, column]
        both[:, column] = np.where(index < 0, index + count, index - 1)
        if len(both) and (both[:, column].min() < 0 or both[:, column].max() >= count):
            raise ValueError("a face refers to a vertex that the file does not have")
    return both[:, 0], both[:, 1]
