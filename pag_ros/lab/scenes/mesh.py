"""Triangle meshes with materials: what a scene is put together from.

World and model axes follow REP 103: z up, metres; the front of a model faces -y.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int32]
Image = NDArray[np.uint8]
Triple = tuple[float, float, float]

CREASE_COSINE = float(np.cos(np.radians(40.0)))
MAX_NEIGHBOURS = 32


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    color: [3] linear reflectance, multiplies the texture. texture: [H,W,3] sRGB or None.
    tile: metres that the texture spans, for surfaces whose uv is in metres (1 for models).
    gloss: strength of the highlight, 0..1. emission: radiance added, in units of albedo.
    """

    color: Triple = (0.7, 0.7, 0.7)
    texture: Image | None = None
    tile: float = 1.0
    gloss: float = 0.0
    emission: float = 0.0

    def tinted(self, tint: Triple) -> Material:
        """The same material with its colour multiplied by `tint`."""
        return replace(self, color=triple(*np.multiply(self.color, tint)))


@dataclass(frozen=True)
class Mesh:
    """vertices [V,3] m; faces [F,3]; uv [F,3,2] and unit normals [F,3,3] per corner;
    material [F] indexes `materials`."""

    vertices: FloatArray
    faces: IntArray
    uv: FloatArray
    normals: FloatArray
    material: IntArray
    materials: tuple[Material, ...]

    @property
    def bounds(self) -> FloatArray:
        """[2,3]: lowest and highest corner."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def moved(self, position: Triple, yaw: float = 0.0) -> Mesh:
        """The mesh turned by `yaw` (rad, about z) and then shifted by `position` (m)."""
        turn = rotation_z(yaw)
        return replace(
            self,
            vertices=self.vertices @ turn.T + np.asarray(position, np.float32),
            normals=self.normals @ turn.T,
        )

    def tinted(self, tint: Triple) -> Mesh:
        """The mesh with every material tinted."""
        return replace(self, materials=tuple(m.tinted(tint) for m in self.materials))

    def scaled(self, factors: Triple) -> Mesh:
        """The mesh stretched along its axes; normals follow."""
        scale = np.asarray(factors, np.float32)
        return replace(
            self, vertices=self.vertices * scale, normals=unit(self.normals / scale).astype("f4")
        )


def triple(*values: float) -> Triple:
    """Three numbers of any kind (a vector unpacked) as plain floats."""
    x, y, z = values
    return float(x), float(y), float(z)


def rotation_z(yaw: float) -> FloatArray:
    """[3,3] rotation about the vertical axis."""
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors scaled to length one along the last axis; zero vectors stay zero."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def quad(
    corner: Triple,
    along: Triple,
    up: Triple,
    material: Material,
    uv_origin: tuple[float, float] = (0.0, 0.0),
    fit: bool = False,
) -> Mesh:
    """A parallelogram whose normal is along x up.

    Its uv is in metres from `uv_origin`, or spans the texture once when `fit` is set.
    """
    a, u, v = (np.asarray(x, np.float64) for x in (corner, along, up))
    size = (1.0, 1.0) if fit else (float(np.linalg.norm(u)), float(np.linalg.norm(v)))
    corner_uv = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]]) + uv_origin
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    normal = np.cross(u, v)
    normal /= np.linalg.norm(normal) + 1e-12
    return Mesh(
        vertices=np.stack([a, a + u, a + u + v, a + v]).astype(np.float32),
        faces=faces,
        uv=corner_uv[faces].astype(np.float32),
        normals=np.broadcast_to(normal, (2, 3, 3)).astype(np.float32),
        material=np.zeros(2, np.int32),
        materials=(material,),
    )


# six sides of a box: a corner and the two directions from it, in units of half its size
BOX_SIDES = np.array(
    [
        [(-1, -1, -1), (1, 0, 0), (0, 0, 1)],
        [(1, 1, -1), (-1, 0, 0), (0, 0, 1)],
        [(1, -1, -1), (0, 1, 0), (0, 0, 1)],
        [(-1, 1, -1), (0, -1, 0), (0, 0, 1)],
        [(-1, -1, 1), (1, 0, 0), (0, 1, 0)],
        [(-1, 1, -1), (1, 0, 0), (0, -1, 0)],
    ],
    np.float32,
)
QUAD_UV = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)


def box(size: Triple, material: Material, fit: bool = False) -> Mesh:
    """A box centred on the z axis that stands on z = 0; uv as for `quad`, on each side."""
    half = np.array(size, np.float32) / 2
    corner, along, up = (BOX_SIDES[:, k] * half for k in range(3))
    steps = QUAD_UV[:, :1, None] * (2 * along) + QUAD_UV[:, 1:, None] * (2 * up)
    vertices = (corner + np.array([0, 0, half[2]]) + steps).transpose(1, 0, 2)
    spans = np.stack([np.linalg.norm(2 * along, axis=1), np.linalg.norm(2 * up, axis=1)], 1)
    uv = QUAD_UV * (np.ones((6, 1, 2)) if fit else spans[:, None])
    faces = (np.arange(6)[:, None, None] * 4 + [[0, 1, 2], [0, 2, 3]]).reshape(12, 3)
    normals = np.cross(BOX_SIDES[:, 1], BOX_SIDES[:, 2])
    return Mesh(
        vertices=vertices.reshape(24, 3).astype(np.float32),
        faces=faces.astype(np.int32),
        uv=uv.reshape(24, 2)[faces].astype(np.float32),
        normals=np.broadcast_to(normals.repeat(2, 0)[:, None], (12, 3, 3)).astype(np.float32),
        material=np.zeros(12, np.int32),
        materials=(material,),
    )


def grid_mesh(points: FloatArray, uv: FloatArray, material: Material) -> Mesh:
    """A sheet through [R,C,3] points with [R,C,2] uv; smooth where it bends gently."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, 1:].ravel(), index[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)
    vertices = points.reshape(-1, 3).astype(np.float32)
    solid = triangle_areas(vertices, faces) > 1e-10
    faces = faces[solid]
    return Mesh(
        vertices=vertices,
        faces=faces,
        uv=uv.reshape(-1, 2)[faces].astype(np.float32),
        normals=smooth_normals(vertices, faces),
        material=np.zeros(len(faces), np.int32),
        materials=(material,),
    )


def lathe(profile: list[tuple[float, float]], material: Material, sides: int = 20) -> Mesh:
    """A profile of (radius, height) turned about the z axis: bottles, bowls, poles, balls."""
    radius, height = np.array(profile).T
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.concatenate(
        [
            radius[:, None, None] * ring[None],
            np.broadcast_to(height[:, None, None], (len(radius), sides + 1, 1)),
        ],
        2,
    )
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(radius), np.diff(height)))])
    uv = np.stack(np.meshgrid(angle * max(radius.max(), 1e-3), along), -1)
    return grid_mesh(points.astype(np.float32), uv.astype(np.float32), material)


def cylinder(radius: float, height: float, material: Material, sides: int = 20) -> Mesh:
    """An upright closed cylinder on z = 0."""
    return lathe([(0, 0), (radius, 0), (radius, height), (0, height)], material, sides)


def triangle_areas(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """[F] areas, m^2."""
    spread = np.cross(
        vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    )
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", spread, spread)) / 2)


def joined(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one; materials are kept, equal ones are not merged."""
    vertex_offset = np.cumsum([0, *(len(m.vertices) for m in meshes)])
    material_offset = np.cumsum([0, *(len(m.materials) for m in meshes)])
    pairs = list(zip(meshes, vertex_offset, material_offset, strict=False))
    return Mesh(
        vertices=np.concatenate([m.vertices for m in meshes]),
        faces=np.concatenate([m.faces + v for m, v, _ in pairs]).astype(np.int32),
        uv=np.concatenate([m.uv for m in meshes]),
        normals=np.concatenate([m.normals for m in meshes]),
        material=np.concatenate([m.material + k for m, _, k in pairs]).astype(np.int32),
        materials=tuple(material for m in meshes for material in m.materials),
    )


def smooth_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """[F,3,3] corner normals: the faces around a vertex, weighted by their angle there, are
    averaged unless they meet at a crease.

    The winding of catalogue models cannot be trusted, so a neighbour that points the other way
    counts with its sign turned.
    """
    corners = vertices[faces]
    face_normal = unit(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
    angle = _corner_angles(corners).reshape(-1)
    welded = np.unique(np.round(vertices, 5), axis=0, return_inverse=True)[1].reshape(-1)
    corner_vertex = welded[faces].reshape(-1)
    corner_face = np.repeat(np.arange(len(faces)), 3)
    # all corners, vertex by vertex: the neighbours of a corner are a run of this list
    order = np.argsort(corner_vertex, kind="stable")
    counts = np.bincount(corner_vertex)
    starts = np.cumsum(counts) - counts
    total = np.zeros((len(corner_vertex), 3), np.float64)
    for step in range(min(int(counts.max()), MAX_NEIGHBOURS)):
        has = np.flatnonzero(counts[corner_vertex] > step)
        other = order[starts[corner_vertex[has]] + step]
        normal = face_normal[corner_face[other]]
        cosine = np.einsum("ij,ij->i", face_normal[corner_face[has]], normal)
        weight = np.where(np.abs(cosine) > CREASE_COSINE, np.sign(cosine), 0.0) * angle[other]
        total[has] += weight[:, None] * normal
    lost = np.einsum("ij,ij->i", total, total) < 1e-12
    total[lost] = face_normal[corner_face[lost]]
    return unit(total.astype(np.float32)).reshape(-1, 3, 3)


def _corner_angles(corners: FloatArray) -> FloatArray:
    """[F,3] inner angles (rad) of triangles [F,3,3]."""
    after = unit(np.roll(corners, -1, 1) - corners)
    before = unit(np.roll(corners, 1, 1) - corners)
    return np.asarray(np.arccos(np.clip(np.einsum("fij,fij->fi", after, before), -1, 1)))
