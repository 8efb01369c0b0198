"""The colour of surfaces: textures, lamps and windows with shadows, sun, light from all around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.mesh import FloatArray, unit
from pag_ros.lab.scenes.scene import Scene
from pag_ros.lab.scenes.tracing import Hits, Surface, Tracer

SRGB_TO_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
RAY_START_METRES = 2e-3
OCCLUSION_METRES = 0.6
OUTDOORS_RADIANCE = 3.0


@dataclass(frozen=True)
class Illumination:
    """The light that falls on places [N,3]: light is spread evenly, shine is for glossy things."""

    light: FloatArray
    shine: FloatArray

    def at(self, index: NDArray[np.int64]) -> Illumination:
        """The illumination of some of the places."""
        return Illumination(self.light[index], self.shine[index])


def illuminate(
    tracer: Tracer, surface: Surface, rng: np.random.Generator, shape: tuple[int, int]
) -> Illumination:
    """Lamps, windows, sun and surroundings at the pixels of an image (height, width)."""
    points = surface.points + surface.flat * np.float32(RAY_START_METRES)
    light, shine = _direct_light(tracer, points, surface.smooth, surface.view, rng)
    light += _ambient_light(tracer, points, surface.smooth, rng)
    grainy = np.concatenate([light, shine], 1).reshape(*shape, 6)
    guide = surface.flat.reshape(*shape, 3), surface.distance.reshape(shape)
    light, shine = np.split(_smoothed(grainy, *guide).reshape(-1, 6), 2, axis=1)
    return Illumination(light + _sunlight(tracer, points, surface.smooth), shine)


def reflect(
    scene: Scene, surface: Surface, illumination: Illumination, pixel_angle: float
) -> FloatArray:
    """[N,3] linear light that comes back from a surface; pixel_angle: rad that a pixel covers."""
    face = surface.hits.face
    slant = np.maximum(-np.einsum("ij,ij->i", surface.view, surface.flat), 0.15)
    albedo = texture_lookup(scene, surface.hits, surface.distance * pixel_angle / slant)
    color = albedo * (illumination.light + scene.emission[face][:, None])
    color += scene.gloss[face][:, None] * illumination.shine
    color[surface.missed] = OUTDOORS_RADIANCE
    return color


def texture_lookup(scene: Scene, hits: Hits, footprint: FloatArray) -> FloatArray:
    """[N,3] linear reflectance at the hits: bilinear, in the mip level that fits the footprint.

    footprint: [N] metres of surface that a pixel covers.
    """
    face, atlas = hits.face, scene.atlas
    texture = scene.texture[face]
    level = np.log2(np.maximum(scene.texel_density[face] * footprint, 1e-3))
    level = np.clip(np.round(level), 0, atlas.offset.shape[1] - 1).astype(np.int32)
    height, width = atlas.height[texture, level], atlas.width[texture, level]
    corners = scene.uv[face]
    uv = np.einsum("ij,ijk->ik", hits.weights, corners)
    x = (uv[:, 0] - np.floor(uv[:, 0])) * width - 0.5
    y = (1 - (uv[:, 1] - np.floor(uv[:, 1]))) * height - 0.5
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    columns = [x0.astype(np.int64) % width, (x0.astype(np.int64) + 1) % width]
    rows = [y0.astype(np.int64) % height, (y0.astype(np.int64) + 1) % height]
    offset = atlas.offset[texture, level]
    total = np.zeros((len(face), 3), np.float32)
    for row, weight_y in zip(rows, (1 - fy, fy), strict=True):
        for column, weight_x in zip(columns, (1 - fx, fx), strict=True):
            texel = SRGB_TO_LINEAR[atlas.texels[offset + row * width + column]]
            total += texel * (weight_x * weight_y)
    return total * scene.color[face]


def _direct_light(
    tracer: Tracer,
    points: FloatArray,
    normals: FloatArray,
    view: FloatArray,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray]:
    """Irradiance over pi and highlight, [N,3] each: one shadow ray to every light."""
    light = np.zeros_like(points)
    shine = np.zeros_like(points)
    for source in tracer.scene.lights:
        spot = np.asarray(source.position, np.float32) + np.asarray(source.spread, np.float32) * (
            rng.random(points.shape, np.float32) * 2 - 1
        )
        towards = spot - points
        square = np.maximum(np.einsum("ij,ij->i", towards, towards), 0.04)
        direction = towards / np.sqrt(square)[:, None]
        cosine = np.einsum("ij,ij->i", direction, normals)
        strength = np.maximum(cosine, 0) / square
        if any(source.facing):
            strength *= np.maximum(-direction @ np.asarray(source.facing, np.float32), 0)
        lit = np.flatnonzero(strength > 1e-4)
        reach = np.full(len(lit), 0.98, np.float32)
        lit = lit[~tracer.blocked(points[lit], towards[lit], reach)]
        power = np.asarray(source.power, np.float32)
        light[lit] += strength[lit, None] * power
        half = unit(direction[lit] - view[lit])
        peak = np.einsum("ij,ij->i", half, normals[lit]).clip(0) ** 40
        shine[lit] += (0.5 * peak / square[lit])[:, None] * power
    return light, shine


def _sunlight(tracer: Tracer, points: FloatArray, normals: FloatArray) -> FloatArray:
    """[N,3] irradiance over pi where a ray towards the sun leaves through a window pane."""
    scene, total = tracer.scene, np.zeros_like(points)
    if scene.sun is None:
        return total
    towards = np.asarray(scene.sun.towards, np.float32)
    cosine = normals @ towards
    facing = np.flatnonzero(cosine > 0)
    hits = tracer.hits(points[facing], np.broadcast_to(towards, (len(facing), 3)))
    pane = (scene.label[hits.face] == class_id("window")) & (scene.emission[hits.face] > 0)
    lit = facing[pane & (hits.face >= 0)]
    total[lit] = cosine[lit, None] * np.asarray(scene.sun.power, np.float32)
    return total


def _ambient_light(
    tracer: Tracer, points: FloatArray, normals: FloatArray, rng: np.random.Generator, rays: int = 2
) -> FloatArray:
    """[N,3] light from all around: dimmed and tinted by what is near."""
    scene = tracer.scene
    total = np.zeros_like(points)
    ambient = np.asarray(scene.ambient, np.float32)
    for _ in range(rays):
        # normal + point on a sphere: cosine-distributed
        direction = unit(normals * 1.001 + unit(rng.normal(size=points.shape).astype(np.float32)))
        hits = tracer.hits(points, direction)
        missed = hits.face < 0
        openness = 1 - np.exp(-np.where(missed, 10, hits.distance) / OCCLUSION_METRES)
        bounced = scene.mean_color[hits.face]
        # far away the room is one bright hull; near things send their own, darker colour
        total += ambient * (openness[:, None] * (0.5 + 0.5 * bounced) + 0.15 * bounced)
    return total / rays


def _smoothed(light: FloatArray, normals: FloatArray, distance: FloatArray) -> FloatArray:
    """Average light over neighbours on the same surface: fewer rays, less grain."""
    for step in (1, 2):
        total, weight_sum = light.copy(), np.ones(light.shape[:2], np.float32)
        for dy, dx in ((0, step), (step, 0), (step, step), (step, -step)):
            here, there = _shifted(light.shape[:2], dy, dx)
            same = np.einsum("ijk,ijk->ij", normals[here], normals[there]) > 0.95
            near = np.abs(distance[here] - distance[there]) < 0.03 * distance[here]
            weight = (same & near).astype(np.float32)
            total[here] += weight[..., None] * light[there]
            total[there] += weight[..., None] * light[here]
            weight_sum[here] += weight
            weight_sum[there] += weight
        light = total / weight_sum[..., None]
    return light


def _shifted(
    shape: tuple[int, ...], dy: int, dx: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of an image and of the same image moved by (dy >= 0, dx)."""
    height, width = shape
    rows = slice(0, height - dy), slice(dy, height)
    if dx >= 0:
        return (rows[0], slice(0, width - dx)), (rows[1], slice(dx, width))
    return (rows[0], slice(-dx, width)), (rows[1], slice(0, width + dx))
