"""The colour of surfaces: textures, and how they send back the light that falls on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.illumination import RAY_START_METRES, Illumination
from pag_ros.lab.scenes.mesh import FloatArray, IntArray, dot
from pag_ros.lab.scenes.scene import SRGB_TO_LINEAR, Atlas, Scene
from pag_ros.lab.scenes.tracing import Hits, Surface, Tracer

OUTDOORS_RADIANCE = 3.0
# what is glossier mirrors its surroundings: steel, panes, screens that are off, lacquer; faced
# squarely, this share of them
MIRROR_GLOSS, MIRROR_SHARE = 0.3, 0.3
# a pixel on a surface seen at a sharper angle covers no more texels than this one
STEEPEST_COSINE = 0.15


def reflect(
    tracer: Tracer, surface: Surface, illumination: Illumination, pixel_angle: float
) -> FloatArray:
    """[3,N] linear light that comes back from a surface; pixel_angle: rad that a pixel covers."""
    scene, face = tracer.scene, surface.hits.face
    slant = np.maximum(-dot(surface.view, surface.flat), np.float32(STEEPEST_COSINE))
    albedo = texture_lookup(scene, surface.hits, surface.distance * np.float32(pixel_angle) / slant)
    color = albedo * (illumination.light + scene.emission.take(face))
    gloss = scene.gloss.take(face)
    color += gloss * illumination.shine
    mirrors = np.flatnonzero(gloss >= MIRROR_GLOSS)
    if len(mirrors):
        color[:, mirrors] += gloss.take(mirrors) * _mirrored(tracer, surface, mirrors, illumination)
    color[:, surface.missed] = OUTDOORS_RADIANCE
    return color


def _mirrored(
    tracer: Tracer, surface: Surface, index: NDArray[np.int64], illumination: Illumination
) -> FloatArray:
    """[3,K] light that smooth metal or glass at some places mirrors, more where seen at a slant.

    What is mirrored has its mean colour, in the mean light of the places.
    """
    view, normal = surface.view.take(index, 0), surface.smooth.take(index, 0)
    cosine = dot(view, normal)
    start = surface.points.take(index, 0) + surface.flat.take(index, 0) * RAY_START_METRES
    hits = tracer.hits(start, view - 2 * cosine[:, None] * normal)
    scene = tracer.scene
    light = illumination.light.mean(1)[:, None] + scene.emission.take(hits.face)
    seen = np.where(hits.face < 0, OUTDOORS_RADIANCE, scene.mean_color.take(hits.face, 1) * light)
    slant = np.clip(1 + cosine, 0, 1) ** 5  # Schlick's approximation of Fresnel's law
    return np.asarray(seen * (MIRROR_SHARE + (1 - MIRROR_SHARE) * slant), np.float32)


def texture_lookup(scene: Scene, hits: Hits, footprint: FloatArray) -> FloatArray:
    """[3,N] linear reflectance at the hits: bilinear, in the mip level that fits the footprint.

    footprint: [N] metres of surface that a pixel covers.
    """
    texels = scene.texel_density.take(hits.face) * footprint
    levels = scene.atlas.offset.shape[1]
    level = np.clip(np.rint(np.log2(np.maximum(texels, np.float32(1e-3)))), 0, levels - 1)
    picture = scene.texture.take(hits.face) * levels + level.astype(np.int32)
    uv = hits.interpolated(scene.uv)
    return np.asarray(_texels(scene.atlas, picture, uv) * scene.color.take(hits.face, 1))


def _texels(atlas: Atlas, picture: IntArray, uv: FloatArray) -> FloatArray:
    """[3,N] linear colours at uv [2,N] of pictures [N], which count the levels of all textures."""
    height, width = atlas.height.take(picture), atlas.width.take(picture)
    x = (uv[0] - np.floor(uv[0])) * width.astype(np.float32) - np.float32(0.5)
    y = (1 - uv[1] + np.floor(uv[1])) * height.astype(np.float32) - np.float32(0.5)
    left, top = np.floor(x), np.floor(y)
    fx, fy = x - left, y - top
    # textures repeat: what lies beyond an edge comes from the other side
    columns, rows = _wrapped(left, width), _wrapped(top, height)
    offset = atlas.offset.take(picture).astype(np.int32)
    total = np.zeros((3, len(picture)), np.float32)
    for row, weight_y in zip(rows, (1 - fy, fy), strict=True):
        start = offset + row * width
        for column, weight_x in zip(columns, (1 - fx, fx), strict=True):
            texel, weight = atlas.texels.take(start + column), weight_x * weight_y
            for plane, shift in zip(total, (0, 8, 16), strict=True):
                plane += SRGB_TO_LINEAR.take((texel >> np.uint32(shift)) & np.uint32(255)) * weight
    return total


def _wrapped(first: FloatArray, size: IntArray) -> tuple[IntArray, IntArray]:
    """Whole numbers from -1 to size - 1, and those after them, in a row of `size` that repeats."""
    one = first.astype(np.int32)
    other = one + np.int32(1)
    return np.where(one < 0, size - 1, one), np.where(other >= size, 0, other)
