"""A scene as flat arrays, ready for ray casting and texture lookups."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.mesh import FloatArray, Image, IntArray, Material, Triple, dot, spans, unit
from pag_ros.lab.scenes.shell import Part

MAX_LEVELS = 9
# normals nearer than a third of a degree to that of their face are not told from it
FLAT_COSINE = 0.99998
SRGB_TO_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """A lamp or a window. It shines from `position` jittered within +-spread (both [3], m).

    power: [3] radiant intensity; facing: [3] unit normal of a flat source, zeros for a bulb.
    """

    position: Triple
    spread: Triple
    power: Triple
    facing: Triple = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Sun:
    """Parallel light that comes in through window panes. towards: [3] unit; power: irradiance."""

    towards: Triple
    power: Triple


@dataclass(frozen=True)
class Lighting:
    """What shines. ambient: [3] light from all around; sun: None on a dull day or at night."""

    lights: tuple[Light, ...]
    ambient: Triple
    sun: Sun | None = None


@dataclass(frozen=True)
class Atlas:
    """All textures with their mip levels in one list of texels.

    texels [N] sRGB, red in the lowest byte, then green, then blue; offset, height, width: [T,L]
    per texture and level.
    """

    texels: NDArray[np.uint32]
    offset: NDArray[np.int64]
    height: IntArray
    width: IntArray


@dataclass(frozen=True)
class Scene:
    """Everything that can be seen. Arrays are per face; see `flatten`.

    corner_normal [3,3,F] and uv [3,2,F]: of the first, second and third corner; curved: whether
    normals change over the face; color, mean_color: planes [3,F], linear.
    """

    vertices: FloatArray
    faces: IntArray
    face_normal: FloatArray
    corner_normal: FloatArray
    curved: NDArray[np.bool_]
    uv: FloatArray
    texel_density: FloatArray
    label: NDArray[np.uint8]
    part: IntArray
    texture: IntArray
    color: FloatArray
    gloss: FloatArray
    emission: FloatArray
    mean_color: FloatArray
    atlas: Atlas
    lighting: Lighting


def flatten(parts: list[Part], lighting: Lighting) -> Scene:
    """Join the parts of a scene."""
    materials, material_of_face = _collect_materials(parts)
    pictures = {id(m.texture): m.texture for m in materials if m.texture is not None}
    order = {key: index + 1 for index, key in enumerate(pictures)}
    atlas = build_atlas([np.full((1, 1, 3), 255, np.uint8), *pictures.values()])
    texture_of = np.array([order.get(id(m.texture), 0) for m in materials], np.int32)
    vertices, faces = triangles(parts)
    tile = np.array([m.tile for m in materials], np.float32)[material_of_face]
    uv = np.concatenate([p.mesh.uv for p in parts]) / tile[:, None, None]
    counts = [len(p.mesh.faces) for p in parts]
    area = spans(vertices, faces)
    face_normal = unit(area * 1e4)
    corner_normal = np.concatenate([p.mesh.normals for p in parts]).astype(np.float32)
    along = np.abs(dot(corner_normal, face_normal[:, None]))
    texture = texture_of[material_of_face]
    base = np.array([m.color for m in materials], np.float32)
    mean = _mean_colors(materials)
    return Scene(
        vertices=vertices,
        faces=faces,
        face_normal=face_normal,
        corner_normal=_by_corner(corner_normal),
        curved=along.min(1) < FLAT_COSINE,
        uv=_by_corner(uv.astype(np.float32)),
        texel_density=_texel_density(uv, area, atlas, texture),
        label=np.repeat([class_id(p.label) for p in parts], counts).astype(np.uint8),
        part=np.repeat(np.arange(len(parts)), counts).astype(np.int32),
        texture=texture,
        color=base.T.take(material_of_face, 1),
        gloss=np.array([m.gloss for m in materials], np.float32)[material_of_face],
        emission=np.array([m.emission for m in materials], np.float32)[material_of_face],
        mean_color=mean.T.take(material_of_face, 1),
        atlas=atlas,
        lighting=lighting,
    )


def _by_corner(values: FloatArray) -> FloatArray:
    """Values [F,3,K] of corners as [3,K,F]: one number of many faces is looked up at a time."""
    return np.ascontiguousarray(values.transpose(1, 2, 0))


def triangles(parts: list[Part]) -> tuple[FloatArray, IntArray]:
    """The vertices [V,3] and faces [F,3] of all parts in a row."""
    offsets = np.cumsum([0, *(len(p.mesh.vertices) for p in parts)])
    faces = [part.mesh.faces + o for part, o in zip(parts, offsets, strict=False)]
    vertices = np.concatenate([part.mesh.vertices for part in parts])
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.int32)


def _collect_materials(parts: list[Part]) -> tuple[list[Material], IntArray]:
    """All materials of all parts in a row, and each face's index into them."""
    materials: list[Material] = []
    indices = []
    for part in parts:
        indices.append(part.mesh.material + len(materials))
        materials.extend(part.mesh.materials)
    return materials, np.concatenate(indices).astype(np.int32)


def _mean_colors(materials: list[Material]) -> FloatArray:
    """[M,3] linear colour of each material, averaged over its texture: what bounces off it."""
    cache: dict[int, np.ndarray] = {}
    rows = []
    for material in materials:
        mean = np.ones(3)
        if material.texture is not None:
            key = id(material.texture)
            if key not in cache:
                cache[key] = SRGB_TO_LINEAR[material.texture[::4, ::4].reshape(-1, 3)].mean(0)
            mean = cache[key]
        rows.append(mean * material.color)
    return np.array(rows, np.float32)


def _texel_density(uv: FloatArray, area: FloatArray, atlas: Atlas, texture: IntArray) -> FloatArray:
    """[F] texels of the finest level per metre of surface: decides the mip level."""
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    uv_area = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    texels = uv_area * atlas.height[texture, 0] * atlas.width[texture, 0]
    metres = np.sqrt(dot(area, area))
    return np.asarray(np.sqrt(texels / np.maximum(metres, 1e-10)), np.float32)


def build_atlas(pictures: list[Image]) -> Atlas:
    """Pictures and their halved copies, down to a single texel, one after another."""
    texels, offset = [], 0
    table = np.zeros((3, len(pictures), MAX_LEVELS + 1), np.int64)
    for index, picture in enumerate(pictures):
        level = picture
        for step in range(MAX_LEVELS + 1):
            height, width = level.shape[:2]
            table[:, index, step] = offset, height, width
            if step == MAX_LEVELS or height * width == 1:
                table[:, index, step:] = np.array([[offset], [height], [width]])
                texels.append(level.reshape(-1, 3))
                offset += height * width
                break
            texels.append(level.reshape(-1, 3))
            offset += height * width
            level = _halved(level)
    packed = cv2.cvtColor(np.concatenate(texels)[None], cv2.COLOR_RGB2RGBA).reshape(-1).view("<u4")
    return Atlas(packed, table[0], table[1].astype(np.int32), table[2].astype(np.int32))


def _halved(picture: Image) -> Image:
    """Texels averaged, mostly 2x2 to one; never less than one row or column is left."""
    height, width = picture.shape[:2]
    size = max(width // 2, 1), max(height // 2, 1)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
