"""A frame: colour, depth, normals and classes of a scene as one camera sees them.

Geometry is taken at pixel centres. Colour is shaded there once for all pixels, and at a few more
random places inside the pixels that hold an edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.camera import Pose, SceneCamera, pixel_rays
from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.film import Film, develop
from pag_ros.lab.scenes.illumination import Illumination, SurfaceGuide, illuminate
from pag_ros.lab.scenes.mesh import FloatArray, Image, dot
from pag_ros.lab.scenes.scene import Scene
from pag_ros.lab.scenes.shading import reflect
from pag_ros.lab.scenes.tracing import Surface, Tracer, trace_surface

EDGE_SAMPLES = 2
# a step of light by an eighth is six grey levels, and less in what is nearly black
CONTRAST, BLACK = np.float32(0.12), np.float32(0.002)
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
    color = reflect(tracer, surface, illumination, pixel_angle)
    contrast = _contrast(color.reshape(3, *shape))
    edges = np.flatnonzero(_edges(tracer.scene, surface, shape) & contrast)
    if len(edges) and edge_samples:
        offset = rng.random((2, edge_samples, len(edges)), np.float32) - np.float32(0.5)
        samples = _edge_samples(tracer, camera, pose, surface, illumination, edges, offset)
        color[:, edges] = (color[:, edges] + samples.sum(1)) / (1 + edge_samples)
    depth, normals, labels = _geometry(tracer.scene, surface, pose, shape)
    radiance = np.ascontiguousarray(color.T).reshape(*shape, 3)
    return View(develop(radiance, film, rng), depth, normals, labels)


def _edge_samples(
    tracer: Tracer,
    camera: SceneCamera,
    pose: Pose,
    surface: Surface,
    illumination: Illumination,
    pixels: NDArray[np.int64],
    offset: FloatArray,
) -> FloatArray:
    """[3,K,N] colours at places `offset` [2,K,N] (down, right; in pixels) off pixel centres."""
    row, column = np.divmod(pixels, camera.width)
    rays = pixel_rays(camera, pose, (column + offset[1]).ravel(), (row + offset[0]).ravel())
    sample = trace_surface(tracer, pose.position, rays)
    # light is known at pixel centres: that of the nearest one on the same surface will do
    nearest = _nearest_pixel(surface, sample, row, column, offset, (camera.height, camera.width))
    light = illumination.at(nearest)
    return reflect(tracer, sample, light, 1 / camera.fx).reshape(3, *offset.shape[1:])


def render_geometry(
    tracer: Tracer, camera: SceneCamera, pose: Pose
) -> tuple[FloatArray, FloatArray, NDArray[np.uint8]]:
    """Depth [H,W] m, normals [H,W,3] and labels [H,W] alone."""
    surface = _all_pixels(tracer, camera, pose)
    return _geometry(tracer.scene, surface, pose, (camera.height, camera.width))


def _all_pixels(tracer: Tracer, camera: SceneCamera, pose: Pose) -> Surface:
    """What lies at the centres of all pixels, row by row."""
    row, column = np.indices((camera.height, camera.width), np.float32).reshape(2, -1)
    return trace_surface(tracer, pose.position, pixel_rays(camera, pose, column, row))


def _geometry(
    scene: Scene, surface: Surface, pose: Pose, shape: tuple[int, int]
) -> tuple[FloatArray, FloatArray, NDArray[np.uint8]]:
    """Depth, normals in the optical frame, and labels."""
    # a smoothed normal may lean away from a grazing ray: there the face's own is right
    world = surface.smooth.copy()
    leans = dot(world, surface.view) > 0
    world[leans] = surface.flat[leans]
    normals = np.stack([dot(world, pose.rotation[:, axis]) for axis in range(3)], 1)
    normals[surface.missed] = np.nan
    depth = np.where(surface.missed, np.float32(np.nan), surface.distance)
    labels = scene.label.take(surface.hits.face)
    labels[surface.missed] = class_id("window")
    return depth.reshape(shape), normals.reshape(*shape, 3), labels.reshape(shape)


def _nearest_pixel(
    surface: Surface,
    sample: Surface,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    offset: FloatArray,
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    """[K*N] which of the four pixels around each sample shows the place most like it.

    row, column: [N] of the pixels that the samples [K*N] are `offset` [2,K,N] away from.
    """
    best = np.zeros(sample.distance.shape, np.int64)
    least = np.full(sample.distance.shape, np.inf, np.float32)
    side = np.where(offset > 0, 1, -1)
    for dy, dx in np.ndindex(2, 2):
        pixel = np.clip(row + dy * side[0], 0, shape[0] - 1) * shape[1]
        pixel = (pixel + np.clip(column + dx * side[1], 0, shape[1] - 1)).ravel()
        gap = surface.points.take(pixel, 0) - sample.points
        turn = 1 - dot(surface.flat.take(pixel, 0), sample.flat)
        unlike = dot(gap, gap) / sample.distance**2 + TURN_WEIGHT * turn
        best = np.where(unlike < least, pixel, best)
        least = np.minimum(unlike, least)
    return best


def _contrast(color: FloatArray) -> NDArray[np.bool_]:
    """[H,W] pixels of light [3,H,W] that differ visibly from a neighbour."""
    around, differs = np.ones((3, 3), np.uint8), np.zeros(color.shape[1:], np.bool_)
    for plane in color:
        differs |= cv2.dilate(plane, around) > cv2.erode(plane, around) * (1 + CONTRAST) + BLACK
    return differs


def _edges(scene: Scene, surface: Surface, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """[H,W] pixels that show another part or surface than a neighbour."""
    part, guide = scene.part.take(surface.hits.face).reshape(shape), SurfaceGuide.of(surface, shape)
    edges = np.zeros(shape, np.bool_)
    for one, other in (
        (np.s_[..., 1:, :], np.s_[..., :-1, :]),
        (np.s_[..., :, 1:], np.s_[..., :, :-1]),
    ):
        differs = (guide.at(one).same_surface(guide.at(other)) == 0) | (part[one] != part[other])
        edges[one] |= differs
        edges[other] |= differs
    return edges
