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
# cells along the longest side of a mesh that is simplified
FINEST_CELLS, COARSEST_CELLS = 256.0, 40.0
GRID_KEYS = np.array([1, 1 << 21, 1 << 42])
"""Makes one number of three, from -2^20 to 2^20 each."""
MIN_AREA = 5e-9
"""Square metres. Smaller triangles have no reliable normal."""


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
        return extent(self.vertices)

    def moved(self, position: Triple, yaw: float = 0.0) -> Mesh:
        """The mesh turned by `yaw` (rad, about z) and then shifted by `position` (m)."""
        return replace(
            self,
            vertices=turned(self.vertices, yaw) + np.asarray(position, np.float32),
            normals=turned(self.normals, yaw),
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


def turned(vectors: FloatArray, yaw: float) -> FloatArray:
    """Vectors [...,3] turned by `yaw` (rad) about the vertical axis."""
    if yaw == 0.0:
        return vectors
    # by hand: a matrix product would wake the threads of BLAS, which then fight with other workers
    cosine, sine = float(np.cos(yaw)), float(np.sin(yaw))
    x, y = vectors[..., 0], vectors[..., 1]
    result = np.array(vectors)
    result[..., 0] = cosine * x - sine * y
    result[..., 1] = sine * x + cosine * y
    return result


def extent(points: FloatArray) -> FloatArray:
    """[2,3]: lowest and highest coordinates of points [N,3]."""
    # column by column: numpy is slow where the axis that is left is short
    columns = points.T
    return np.array([[c.min() for c in columns], [c.max() for c in columns]], points.dtype)


def dot(a: FloatArray, b: FloatArray) -> FloatArray:
    """Scalar products of vectors along the last axis, of length 3; quicker than einsum there."""
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])


def cross(a: FloatArray, b: FloatArray) -> FloatArray:
    """Vector products of vectors [...,3]; quicker than numpy's for few of them."""
    x, y, z = (a[..., k] for k in range(3))
    u, v, w = (b[..., k] for k in range(3))
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], -1)


def spans(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """[F,3] vector product of two sides of each triangle: its normal, twice its area long."""
    first, second, third = (vertices.take(faces[:, k], 0) for k in range(3))
    return cross(second - first, third - first)


def unit(vectors: FloatArray) -> FloatArray:
    """Vectors [...,3] scaled to length one along the last axis; zero vectors stay zero."""
    length = np.sqrt(dot(vectors, vectors))[..., None]
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
    normal = cross(u, v)
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
_BOX_SIDES = np.array(
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
_QUAD_UV = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
_BOX_VERTICES = np.concatenate(
    [
        corner + 2 * (_QUAD_UV[:, :1] * along + _QUAD_UV[:, 1:] * up)
        for corner, along, up in _BOX_SIDES
    ]
)
_BOX_FACES = (np.arange(6)[:, None, None] * 4 + [[0, 1, 2], [0, 2, 3]]).reshape(12, 3).astype("i4")
_BOX_AXES = np.abs(_BOX_SIDES[:, 1:]).argmax(2)
_BOX_NORMALS = np.cross(_BOX_SIDES[:, 1], _BOX_SIDES[:, 2]).repeat(6, 0).reshape(12, 3, 3)


def box(size: Triple, material: Material, fit: bool = False) -> Mesh:
    """A box centred on the z axis that stands on z = 0; uv as for `quad`, on each side."""
    metres = np.array(size, np.float32)
    vertices = _BOX_VERTICES * (metres / 2)
    vertices[:, 2] += metres[2] / 2
    uv = _QUAD_UV * (np.ones((6, 1, 2), np.float32) if fit else metres[_BOX_AXES][:, None])
    return Mesh(
        vertices=vertices,
        faces=_BOX_FACES,
        uv=uv.reshape(24, 2)[_BOX_FACES],
        normals=_BOX_NORMALS,
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
    spread = spans(vertices, faces)
    return np.asarray(np.sqrt(dot(spread, spread)) / 2)


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


def simplified(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about `faces` faces at most: vertices within one cell of a grid become one.

    The grid is no coarser than COARSEST_CELLS along the longest side, whatever becomes of `faces`.
    Corners keep their normals and uv, so that the shading stays that of the fine mesh.
    """
    low, high = mesh.bounds
    cells = FINEST_CELLS
    while len(mesh.faces) > faces and cells >= COARSEST_CELLS:
        mesh = _clustered(mesh, float((high - low).max()) / cells)
        cells *= 0.75
    return mesh


def _clustered(mesh: Mesh, cell: float) -> Mesh:
    """The mesh with the vertices of each cell (m) at their mean; faces that vanish are left out."""
    grid = np.floor((mesh.vertices - mesh.vertices.min(0)) / cell).astype(np.int64)
    keys = grid @ GRID_KEYS
    group, count = np.unique(keys, return_inverse=True, return_counts=True)[1:]
    sums = [np.bincount(group, mesh.vertices[:, k]) for k in range(3)]
    vertices = (np.stack(sums, 1) / count[:, None]).astype(np.float32)
    faces = group[mesh.faces].astype(np.int32)
    keep = triangle_areas(vertices, faces) > MIN_AREA
    same = np.unique(np.sort(faces, 1), axis=0, return_index=True)[1]
    keep[np.setdiff1d(np.arange(len(faces)), same, assume_unique=True)] = False
    return replace(
        mesh,
        vertices=vertices,
        faces=faces[keep],
        uv=mesh.uv[keep],
        normals=mesh.normals[keep],
        material=mesh.material[keep],
    )


def smooth_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """[F,3,3] corner normals: the faces around a vertex, weighted by their angle there, are
    averaged unless they meet at a crease.

    The winding of catalogue models cannot be trusted, so a neighbour that points the other way
    counts with its sign turned.
    """
    corners = vertices[faces]
    face_normal = unit(spans(vertices, faces))
    angle = _corner_angles(corners).reshape(-1)
    places = np.round(vertices * 1e5).astype(np.int64)
    welded = np.unique(places @ GRID_KEYS, return_inverse=True)[1].reshape(-1)
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
        cosine = dot(face_normal[corner_face[has]], normal)
        weight = np.where(np.abs(cosine) > CREASE_COSINE, np.sign(cosine), 0.0) * angle[other]
        total[has] += weight[:, None] * normal
    lost = dot(total, total) < 1e-12
    total[lost] = face_normal[corner_face[lost]]
    return unit(total.astype(np.float32)).reshape(-1, 3, 3)


def _corner_angles(corners: FloatArray) -> FloatArray:
    """[F,3] inner angles (rad) of triangles [F,3,3]."""
    after = unit(np.roll(corners, -1, 1) - corners)
    before = unit(np.roll(corners, 1, 1) - corners)
    return np.asarray(np.arccos(np.clip(dot(after, before), -1, 1)))
