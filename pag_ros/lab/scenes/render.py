"""A frame: colour, depth, normals and classes of a scene as one camera sees them.

Geometry is taken at pixel centres. Colour is shaded there once for all pixels, and a few more
times at random places inside the pixels that hold an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.camera import Pose, SceneCamera, pixel_rays
from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.film import Film, develop
from pag_ros.lab.scenes.mesh import FloatArray, Image
from pag_ros.lab.scenes.scene import Scene
from pag_ros.lab.scenes.shading import illuminate, reflect
from pag_ros.lab.scenes.tracing import Surface, Tracer, trace_surface

EDGE_SAMPLES = 3
# neighbours whose normals differ by more than 18 degrees have an edge between them
EDGE_COSINE = 0.95
# a turn of the surface by 20 degrees counts like a step of a quarter of the distance
TURN_WEIGHT = 1.0


@dataclass(frozen=True)
class View:
    """What a camera sees.

    color [H,W,3] uint8 sRGB; depth [H,W] float32 m along the optical axis, NaN unknown;
    normals [H,W,3] float32 unit, optical frame, towards the camera, NaN unknown;
    labels [H,W] uint8.
    """

    color: Image
    depth: FloatArray
    normals: FloatArray
    labels: NDArray[np.uint8]


def render(
    tracer: Tracer,
    camera: SceneCamera,
    pose: Pose,
    film: Film,
    rng: np.random.Generator,
    edge_samples: int = EDGE_SAMPLES,
) -> View:
    """One frame with everything a learner needs."""
    surface = _all_pixels(tracer, camera, pose)
    shape = (camera.height, camera.width)
    pixel_angle = 1 / camera.fx
    illumination = illuminate(tracer, surface, rng, shape)
    color = reflect(tracer.scene, surface, illumination, pixel_angle)
    edges = np.flatnonzero(_edges(tracer.scene, surface, shape))
    row, column = np.divmod(edges, camera.width)
    for _ in range(edge_samples):
        jitter = rng.random((2, len(edges)), np.float32) - np.float32(0.5)
        rays = pixel_rays(camera, pose, column + jitter[0], row + jitter[1])
        sample = trace_surface(tracer, pose.position, rays)
        # light is known at pixel centres: that of the nearest one on the same surface will do
        nearest = _nearest_pixel(surface, sample, row, column, shape)
        color[edges] += reflect(tracer.scene, sample, illumination.at(nearest), pixel_angle)
    color[edges] /= 1 + edge_samples
    depth, normals, labels = _geometry(tracer.scene, surface, pose, shape)
    return View(develop(color.reshape(*shape, 3), film, rng), depth, normals, labels)


def render_geometry(
    tracer: Tracer, camera: SceneCamera, pose: Pose
) -> tuple[FloatArray, FloatArray, NDArray[np.uint8]]:
    """Depth [H,W] m, normals [H,W,3] and labels [H,W] alone."""
    surface = _all_pixels(tracer, camera, pose)
    return _geometry(tracer.scene, surface, pose, (camera.height, camera.width))


def _all_pixels(tracer: Tracer, camera: SceneCamera, pose: Pose) -> Surface:
    """What lies at the centres of all pixels, row by row."""
    row, column = np.mgrid[: camera.height, : camera.width].astype(np.float32).reshape(2, -1)
    return trace_surface(tracer, pose.position, pixel_rays(camera, pose, column, row))


def _geometry(
    scene: Scene, surface: Surface, pose: Pose, shape: tuple[int, int]
) -> tuple[FloatArray, FloatArray, NDArray[np.uint8]]:
    """Depth, normals in the optical frame, and labels."""
    # a smoothed normal may lean away from a grazing ray: there the face's own is right
    leans = np.einsum("ij,ij->i", surface.smooth, surface.view) > 0
    normals = np.where(leans[:, None], surface.flat, surface.smooth) @ pose.rotation
    normals[surface.missed] = np.nan
    depth = np.where(surface.missed, np.nan, surface.distance).astype(np.float32)
    labels = np.where(surface.missed, class_id("window"), scene.label[surface.hits.face])
    return (
        depth.reshape(shape),
        normals.astype(np.float32).reshape(*shape, 3),
        labels.astype(np.uint8).reshape(shape),
    )


def _nearest_pixel(
    surface: Surface,
    sample: Surface,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """[N] which of the nine pixels around (row, column) shows the place most like a sample."""
    best = np.zeros(len(row), np.int64)
    least = np.full(len(row), np.inf, np.float32)
    for dy, dx in np.ndindex(3, 3):
        pixel = np.clip(row + dy - 1, 0, shape[0] - 1) * shape[1]
        pixel += np.clip(column + dx - 1, 0, shape[1] - 1)
        gap = (surface.points[pixel] - sample.points) / sample.distance[:, None]
        turn = 1 - np.einsum("ij,ij->i", surface.flat[pixel], sample.flat)
        unlike = np.einsum("ij,ij->i", gap, gap) + TURN_WEIGHT * turn
        nearer = unlike < least
        best[nearer], least[nearer] = pixel[nearer], unlike[nearer]
    return best


def _edges(scene: Scene, surface: Surface, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """[H,W] pixels that differ from a neighbour in part or direction."""
    part = scene.part[surface.hits.face].reshape(shape)
    normal = surface.flat.reshape(*shape, 3)
    edges = np.zeros(shape, np.bool_)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        bend = np.einsum("ijk,ijk->ij", normal[one], normal[other]) < EDGE_COSINE
        differs = bend | (part[one] != part[other])
        edges[one] |= differs
        edges[other] |= differs
    return edges
