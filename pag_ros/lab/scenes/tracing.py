"""Ray casting with embree: what rays hit, and the surface at that place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.mesh import FloatArray, IntArray, unit
from pag_ros.lab.scenes.scene import Scene


@dataclass(frozen=True)
class Hits:
    """Where rays end. face is -1 for a miss; u, v weigh the second and third corner."""

    face: IntArray
    u: FloatArray
    v: FloatArray
    distance: FloatArray

    @property
    def weights(self) -> FloatArray:
        """[N,3] weights of a face's corners."""
        return np.stack([1 - self.u - self.v, self.u, self.v], 1)


class Tracer:
    """A scene in embree's hands."""

    def __init__(self, scene: Scene) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        self.scene = scene
        self._embree: Any = EmbreeScene()
        TriangleMesh(self._embree, scene.vertices, scene.faces)

    def hits(self, origins: FloatArray, directions: FloatArray) -> Hits:
        """First hits of rays [N,3]; distances are in units of the direction's length."""
        found = self._embree.run(_packed(origins), _packed(directions), output=1)
        return Hits(found["primID"], found["u"], found["v"], found["tfar"])

    def blocked(
        self, origins: FloatArray, directions: FloatArray, reach: FloatArray
    ) -> NDArray[np.bool_]:
        """[N] whether anything lies between an origin and `reach` directions further."""
        found = self._embree.run(
            _packed(origins), _packed(directions), query="OCCLUDED", dists=_packed(reach)
        )
        return np.asarray(found != -1)


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
    """The surface that rays [N,3] from one point [3] meet; a miss counts as 10 rays away."""
    hits = tracer.hits(np.broadcast_to(origin, rays.shape), rays)
    missed = hits.face < 0
    distance = np.where(missed, np.float32(10), hits.distance)
    flat = tracer.scene.face_normal[hits.face]
    flat = np.where((np.einsum("ij,ij->i", flat, rays) > 0)[:, None], -flat, flat)
    corners = tracer.scene.corner_normal[hits.face]
    smooth = unit(np.einsum("ij,ijk->ik", hits.weights, corners))
    smooth = np.where((np.einsum("ij,ij->i", smooth, flat) < 0)[:, None], -smooth, smooth)
    points = origin + rays * distance[:, None]
    return Surface(hits, missed, distance, points, unit(rays), flat, smooth)
