"""Ray casting with embree: what rays hit, and the surface at that place."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.mesh import FloatArray, IntArray, dot, unit
from pag_ros.lab.scenes.scene import Lighting, Scene

MISSED_RAYS = 10.0
"""Lengths of its ray after which one that hits nothing ends."""


@dataclass(frozen=True)
class Hits:
    """Where rays end. face is -1 for a miss; u, v weigh the second and third corner."""

    face: IntArray
    u: FloatArray
    v: FloatArray
    distance: FloatArray

    def at(self, index: NDArray[np.int64]) -> Hits:
        """Some of the hits."""
        face, distance = self.face.take(index), self.distance.take(index)
        return Hits(face, self.u.take(index), self.v.take(index), distance)

    def interpolated(self, corners: FloatArray) -> FloatArray:
        """[K,N] values at the hits, from those [3,K,F] at the three corners of all faces."""
        first, second, third = corners.take(self.face, 2)
        return np.asarray(first * (1 - self.u - self.v) + second * self.u + third * self.v)


class Caster:
    """Triangles in embree's hands: vertices [V,3], faces [F,3]."""

    def __init__(self, vertices: FloatArray, faces: IntArray) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self._embree: Any = EmbreeScene()
        TriangleMesh(self._embree, vertices, faces)

    def hits(self, origins: FloatArray, directions: FloatArray) -> Hits:
        """First hits of rays [N,3]; distances are in units of the direction's length."""
        found = self._embree.run(_packed(origins), _packed(directions), output=1)
        return Hits(found["primID"], found["u"], found["v"], found["tfar"])

    def blocked(
        self, origins: FloatArray, directions: FloatArray, reach: float
    ) -> NDArray[np.bool_]:
        """[N] whether anything lies between an origin and `reach` directions further."""
        reaches = np.full(len(origins), reach, np.float32)
        found = self._embree.run(
            _packed(origins), _packed(directions), query="OCCLUDED", dists=reaches
        )
        return np.asarray(found != -1)


class Tracer(Caster):
    """A scene and its triangles in embree's hands."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.vertices, scene.faces)
        self.scene = scene

    def relit(self, lighting: Lighting) -> Tracer:
        """The same triangles in another light."""
        other = copy(self)
        other.scene = replace(self.scene, lighting=lighting)
        return other


def _packed(array: FloatArray) -> FloatArray:
    return np.ascontiguousarray(array, np.float32)


@dataclass(frozen=True)
class Surface:
    """Where camera rays end, one row a ray.

    hits: faces and weights; missed: [N] nothing was hit; distance [N] along the ray;
    points [N,3]; view [N,3] unit direction of the ray; flat, smooth [N,3]: normal of the face
    and interpolated normal, both turned against the ray.
    """

    hits: Hits
    missed: NDArray[np.bool_]
    distance: FloatArray
    points: FloatArray
    view: FloatArray
    flat: FloatArray
    smooth: FloatArray


def trace_surface(tracer: Tracer, origin: FloatArray, rays: FloatArray) -> Surface:
    """The surface that rays [N,3] from one point [3] meet; a miss ends after MISSED_RAYS."""
    hits = tracer.hits(np.broadcast_to(origin, rays.shape), rays)
    missed = hits.face < 0
    distance = np.where(missed, np.float32(MISSED_RAYS), hits.distance)
    flat = tracer.scene.face_normal.take(hits.face, 0)
    _turn_against(flat, rays)
    curved = np.flatnonzero(tracer.scene.curved.take(hits.face))
    smooth = flat.copy()
    bent = unit(hits.at(curved).interpolated(tracer.scene.corner_normal).T)
    _turn_against(bent, -flat.take(curved, 0))
    smooth[curved] = bent
    return Surface(
        hits=hits,
        missed=missed,
        distance=distance,
        points=origin + rays * distance[:, None],
        view=unit(rays),
        flat=flat,
        smooth=smooth,
    )


def _turn_against(normals: FloatArray, directions: FloatArray) -> None:
    """Turn round, in place, the normals [N,3] that point along `directions` [N,3]."""
    normals *= np.where(dot(normals, directions) > 0, np.float32(-1), np.float32(1))[:, None]
