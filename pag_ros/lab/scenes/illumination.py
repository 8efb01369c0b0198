"""The light that falls on what a camera sees: lamps, windows, sun, and light from all around.

Light changes slowly over a surface. It is found at every second pixel of every second row, from a
few random rays each, averaged over neighbours on the same surface and carried on to the pixels
between them. Where a pixel has no such neighbour, and at the rim of a patch of sun, rays are cast
for the pixel itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from pag_ros.lab.scenes.classes import class_id
from pag_ros.lab.scenes.mesh import FloatArray, dot, unit
from pag_ros.lab.scenes.scene import Light, Sun
from pag_ros.lab.scenes.tracing import Surface, Tracer

RAY_START_METRES = np.float32(2e-3)
OCCLUSION_METRES = 0.6
# random numbers of neighbouring pixels fill STRATA x STRATA cells evenly: less grain. As wide as
# the first step of the filter, which then leaves nothing of that pattern
STRATA = 3
# normals that differ by less than 18 degrees belong to one surface
SAME_SURFACE_COSINE = 0.95
# so do points that lie nearer to each other's plane than this share of their distance
SAME_PLANE_SHARE = 0.01
FILTER_STEPS = (1, 2)
HIGHLIGHT_POWER = 40
# a hundredth of the light from all around in a dim room
NEGLIGIBLE_LIGHT = 1e-3
SHADOW_REACH = 0.98
"""Share of the way to a light that a shadow ray goes: the light has a body of its own."""

Pixels = NDArray[np.int64]
# of an image, or of all its planes
Window = tuple[EllipsisType, slice, slice]


@dataclass(frozen=True)
class Illumination:
    """The light that falls on N places: light [3,N] is spread evenly by a surface; shine [N],
    that of lamps, is white and mirrored by what is glossy."""

    light: FloatArray
    shine: FloatArray

    def at(self, index: Pixels) -> Illumination:
        """The illumination of some of the places."""
        return Illumination(self.light.take(index, 1), self.shine.take(index))


@dataclass(frozen=True)
class Places:
    """Points [N,3] just above a surface, its normals, and where they are seen from (unit, [N,3]).

    cell: [N] number of the stratum that random numbers are drawn from.
    """

    points: FloatArray
    normals: FloatArray
    view: FloatArray
    cell: Pixels

    @classmethod
    def of(cls, surface: Surface, pixels: Pixels, width: int) -> Places:
        """Some pixels of a picture that is `width` pixels wide."""
        row, column = np.divmod(pixels, width)
        flat = surface.flat.take(pixels, 0)
        return cls(
            points=surface.points.take(pixels, 0) + flat * RAY_START_METRES,
            normals=surface.smooth.take(pixels, 0),
            view=surface.view.take(pixels, 0),
            cell=row // 2 % STRATA * STRATA + column // 2 % STRATA,
        )


def illuminate(
    tracer: Tracer, surface: Surface, rng: np.random.Generator, shape: tuple[int, int]
) -> Illumination:
    """Lamps, windows, sun and surroundings at the pixels of an image (height, width)."""
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)[::2, ::2]
    coarse = Places.of(surface, pixels.ravel(), shape[1])
    guide = SurfaceGuide.of(surface, shape)
    light = _scattered(tracer, coarse, rng).reshape(4, *pixels.shape)
    light = _smoothed(light, guide.at(np.s_[..., ::2, ::2]))
    sun = _sunshine(tracer, coarse).reshape(1, *pixels.shape)
    planes, unlike = _interpolated(np.concatenate([light, sun]), guide)
    fine, alone = planes.reshape(5, -1), np.flatnonzero(unlike)
    fine[:4, alone] = _scattered(tracer, Places.of(surface, alone, shape[1]), rng)
    if tracer.scene.lighting.sun is not None:
        rim = np.flatnonzero(unlike.ravel() | ((fine[4] > 0) & (fine[4] < 1)))
        fine[4, rim] = _sunshine(tracer, Places.of(surface, rim, shape[1]))
        fine[:3] += _sunlight(tracer.scene.lighting.sun, surface, fine[4])
    return Illumination(fine[:3], fine[3])


def _scattered(tracer: Tracer, places: Places, rng: np.random.Generator) -> FloatArray:
    """[4,N] light and shine of all but the sun, from one ray to each light and one elsewhere."""
    light, shine = _direct_light(tracer, places, rng)
    return np.concatenate([light + _ambient_light(tracer, places, rng), shine[None]])


def _stratified(cell: Pixels, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Two random numbers [N] from 0 to 1 for each place, those of neighbours in other cells.

    Each lies in the middle half of its cell: there is less grain, and shadows are still smooth.
    """
    first, second = rng.integers(STRATA, size=2)
    row, column = np.divmod(cell, STRATA)
    noise = rng.random((2, len(cell)), np.float32) / 2 + np.float32(0.25)
    u = ((row + first) % STRATA).astype(np.float32) + noise[0]
    v = ((column + second) % STRATA).astype(np.float32) + noise[1]
    return u / STRATA, v / STRATA


def _direct_light(
    tracer: Tracer, places: Places, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Irradiance over pi [3,N] and highlight [N]: one shadow ray to every light."""
    light = np.zeros((3, len(places.points)), np.float32)
    shine = np.zeros(len(places.points), np.float32)
    for source in tracer.scene.lighting.lights:
        power = np.asarray(source.power, np.float32)
        towards = _spots(source, places, rng) - places.points
        square = np.maximum(dot(towards, towards), np.float32(0.04))
        direction = towards / np.sqrt(square)[:, None]
        strength = np.maximum(dot(direction, places.normals), 0) / square
        if any(source.facing):
            facing = np.asarray(source.facing, np.float32)
            strength *= np.maximum(-dot(direction, facing), 0)
        lit = np.flatnonzero(strength * power.max() > NEGLIGIBLE_LIGHT)
        lit = lit[~tracer.blocked(places.points.take(lit, 0), towards.take(lit, 0), SHADOW_REACH)]
        light[:, lit] += power[:, None] * strength.take(lit)
        half = unit(direction.take(lit, 0) - places.view.take(lit, 0))
        peak = np.maximum(dot(half, places.normals.take(lit, 0)), 0) ** HIGHLIGHT_POWER
        shine[lit] += power.mean() / 2 * peak / square.take(lit)
    return light, shine


def _spots(source: Light, places: Places, rng: np.random.Generator) -> FloatArray:
    """[N,3] random places on a light, in strata along its two sides."""
    u, v = _stratified(places.cell, rng)
    # a lamp lies along x and y, a window stands along a wall (x and y together) and z
    offset = np.stack([u, u if any(source.facing) else v, v], 1) * 2 - 1
    spread = np.asarray(source.spread, np.float32)
    return np.asarray(np.asarray(source.position, np.float32) + spread * offset)


def _sunshine(tracer: Tracer, places: Places) -> FloatArray:
    """[N] 1 where a ray towards the sun leaves through a window pane, else 0."""
    scene, lit = tracer.scene, np.zeros(len(places.points), np.float32)
    if scene.lighting.sun is None:
        return lit
    towards = np.asarray(scene.lighting.sun.towards, np.float32)
    facing = np.flatnonzero(dot(places.normals, towards) > 0)
    directions = np.broadcast_to(towards, (len(facing), 3))
    face = tracer.hits(places.points[facing], directions).face
    pane = (scene.label[face] == class_id("window")) & (scene.emission[face] > 0)
    lit[facing[pane & (face >= 0)]] = 1
    return lit


def _sunlight(sun: Sun, surface: Surface, lit: FloatArray) -> FloatArray:
    """[3,N] irradiance over pi of the sun on the lit share [N] of a surface."""
    cosine = np.maximum(dot(surface.smooth, np.asarray(sun.towards, np.float32)), 0)
    return np.asarray(np.asarray(sun.power, np.float32)[:, None] * (lit * cosine))


def _ambient_light(tracer: Tracer, places: Places, rng: np.random.Generator) -> FloatArray:
    """[3,N] light from all around: dimmed and tinted by what is near."""
    scene = tracer.scene
    u, v = _stratified(places.cell, rng)
    height, around = 1 - 2 * u, np.float32(2 * np.pi) * v
    radius = np.sqrt(np.maximum(1 - height * height, 0))
    sphere = np.stack([radius * np.cos(around), radius * np.sin(around), height], 1)
    # normal + point on a sphere: cosine-distributed
    direction = unit(places.normals * np.float32(1.001) + sphere)
    hits = tracer.hits(places.points, direction)
    distance = np.where(hits.face < 0, np.float32(10), hits.distance)
    openness = 1 - np.exp(distance * np.float32(-1 / OCCLUSION_METRES))
    bounced = scene.mean_color.take(hits.face, 1)
    # far away the room is one bright hull; near things send their own, darker colour
    share = openness * (np.float32(0.5) + np.float32(0.5) * bounced)
    share += np.float32(0.15) * bounced
    return np.asarray(share * np.asarray(scene.lighting.ambient, np.float32)[:, None])


# ---- images of light --------------------------------------------------------------------------


@dataclass(frozen=True)
class SurfaceGuide:
    """What tells one surface from another: planes [H,W] of normals, points and distances.

    A plane for each number, since numpy is three times as quick along them.
    """

    normal: FloatArray
    point: FloatArray
    distance: FloatArray

    @classmethod
    def of(cls, surface: Surface, shape: tuple[int, int]) -> SurfaceGuide:
        """That of a picture (height, width)."""
        normal, point = (
            np.ascontiguousarray(a.T).reshape(3, *shape) for a in (surface.flat, surface.points)
        )
        return cls(normal, point, surface.distance.reshape(shape))

    def at(self, part: Window) -> SurfaceGuide:
        """That of a part of the picture."""
        return SurfaceGuide(self.normal[part], self.point[part], self.distance[part])

    def same_surface(self, other: SurfaceGuide) -> FloatArray:
        """1 where another guide of this size shows the same surface, else 0."""
        (x, y, z), (u, v, w) = self.normal, other.normal
        same = x * u + y * v + z * w > SAME_SURFACE_COSINE
        (a, b, c), (d, e, f) = self.point, other.point
        step = x * (d - a) + y * (e - b) + z * (f - c)
        same &= np.abs(step) < SAME_PLANE_SHARE * self.distance
        return np.asarray(same, np.float32)

    def padded(self) -> SurfaceGuide:
        """With its last row and its last column once more."""
        return SurfaceGuide(*(_padded(a) for a in (self.normal, self.point, self.distance)))


def _padded(planes: FloatArray) -> FloatArray:
    """Planes [...,H,W] with their last row and their last column once more."""
    return np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, 1)] * 2, "edge")


def _smoothed(light: FloatArray, guide: SurfaceGuide) -> FloatArray:
    """Light [C,H,W] averaged over neighbours on the same surface: fewer rays, less grain."""
    for step in FILTER_STEPS:
        total, weight_sum = light.copy(), np.ones(light.shape[1:], np.float32)
        for dy, dx in ((0, step), (step, 0), (step, step), (step, -step)):
            here, there = _shifted(light.shape[1:], dy, dx)
            weight = guide.at(here).same_surface(guide.at(there))
            total[here] += weight * light[there]
            total[there] += weight * light[here]
            weight_sum[here] += weight
            weight_sum[there] += weight
        light = total / weight_sum
    return light


def _shifted(shape: tuple[int, ...], dy: int, dx: int) -> tuple[Window, Window]:
    """Slices of an image and of the same image moved by (dy >= 0, dx)."""
    height, width = shape
    rows = slice(0, height - dy), slice(dy, height)
    if dx >= 0:
        return (..., rows[0], slice(0, width - dx)), (..., rows[1], slice(dx, width))
    return (..., rows[0], slice(-dx, width)), (..., rows[1], slice(0, width + dx))


def _interpolated(coarse: FloatArray, guide: SurfaceGuide) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Values [C,H,W] at all pixels, from those at every second pixel of every second row.

    A pixel takes the mean of its neighbours on the same surface; the second result tells, [H,W],
    which pixels have none.
    """
    shape = guide.distance.shape
    fine = np.empty((len(coarse), *shape), np.float32)
    alone = np.zeros(shape, np.bool_)
    fine[:, ::2, ::2] = coarse
    # beyond the last row and column they go on as they end
    coarse, known = _padded(coarse), guide.at(np.s_[..., ::2, ::2]).padded()
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        here = guide.at(np.s_[..., dy::2, dx::2])
        rows, columns = here.distance.shape
        total = np.zeros((len(coarse), rows, columns), np.float32)
        weight_sum = np.zeros((rows, columns), np.float32)
        for y, x in np.ndindex(dy + 1, dx + 1):
            there = np.s_[..., y : y + rows, x : x + columns]
            weight = here.same_surface(known.at(there))
            total += weight * coarse[there]
            weight_sum += weight
        fine[:, dy::2, dx::2] = total / np.maximum(weight_sum, 1)
        alone[dy::2, dx::2] = weight_sum == 0
    return fine, alone
