"""Small things made from nothing: boxes, books, papers, monitors, keyboards, crockery, cushions.

Each maker returns a mesh that stands on z = 0, centred on the z axis, its front towards -y.
"""

from __future__ import annotations

import numpy as np

from pag_ros.lab.scenes.mesh import (
    Material,
    Mesh,
    box,
    grid_mesh,
    joined,
    lathe,
    quad,
    triple,
)
from pag_ros.lab.scenes.surfaces import (
    Surfaces,
    any_color,
    key_caps,
    metal,
    noise_field,
    printed_page,
)

Generator = np.random.Generator
METAL_SHARE = 0.15


def random_thing(surfaces: Surfaces, rng: Generator) -> Mesh:
    """Any of the small things below."""
    makers = (carton, books, papers, crockery, cushion, heap, tray, cable)
    weights = (0.28, 0.2, 0.13, 0.2, 0.05, 0.05, 0.05, 0.04)
    return makers[int(rng.choice(len(makers), p=weights))](surfaces, rng)


def small_thing(surfaces: Surfaces, rng: Generator) -> Mesh:
    """What crowds a table: crockery, books, papers, packages a hand can hold."""
    makers = (crockery, books, papers, package)
    weights = (0.4, 0.2, 0.15, 0.25)
    return makers[int(rng.choice(len(makers), p=weights))](surfaces, rng)


def package(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A package of 3-18 cm."""
    return box(triple(*rng.uniform(0.03, 0.18, 3)), _skin(surfaces, rng), True)


def carton(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A package of 3-45 cm, mostly small."""
    size = triple(*0.03 + 0.42 * rng.random(3) ** 1.8)
    return box(size, _skin(surfaces, rng), True)


def _skin(surfaces: Surfaces, rng: Generator) -> Material:
    return surfaces.parcel() if rng.random() < 0.6 else surfaces.plain()


def books(surfaces: Surfaces, rng: Generator, most: int = 7) -> Mesh:
    """A stack of books, or a row of them standing."""
    standing = rng.random() < 0.4
    meshes, position = [], 0.0
    for _ in range(int(rng.integers(1, most + 1))):
        thick = float(rng.uniform(0.008, 0.05))
        deep, tall = float(rng.uniform(0.12, 0.22)), float(rng.uniform(0.18, 0.3))
        size = (thick, deep, tall) if standing else (deep, tall, thick)
        book = box(size, surfaces.parcel(), True)
        if standing:
            meshes.append(book.moved((position + thick / 2, 0.0, 0.0)))
        else:
            meshes.append(book.moved((0.0, 0.0, position), float(rng.normal(0, 0.15))))
        position += thick + 0.0005
    return _centred(joined(meshes))


def papers(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A few sheets lying over one another."""
    sheets = []
    for number in range(int(rng.integers(1, 5))):
        page = Material((1.0, 1.0, 1.0), printed_page(rng))
        sheet = box((0.21, 0.297, 0.0008), page, True)
        shift = rng.normal(0, 0.04 if number else 0.0, 2)
        sheets.append(sheet.moved(triple(*shift, number * 0.0009), float(rng.normal(0, 0.3))))
    return _centred(joined(sheets))


def crockery(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A mug, bottle, bowl, plate, tin or ball, turned on a lathe."""
    del surfaces
    material = Material(any_color(rng), gloss=float(rng.choice([0.0, 0.2, 0.5])))
    if rng.random() < METAL_SHARE:
        material = metal(rng)
    radius, height = float(rng.uniform(0.025, 0.06)), float(rng.uniform(0.06, 0.13))
    kind = int(rng.integers(6))
    if kind == 0:
        inner = radius * 0.9
        profile = [(0, 0), (radius, 0), (radius, height), (inner, height), (inner, 0.01), (0, 0.01)]
        cup = lathe(profile, material)
        handle = box((0.012, 0.03, height * 0.6), material)
        return joined([cup, handle.moved((radius + 0.004, 0.0, height * 0.2))])
    if kind == 1:
        tall, neck = height * 2.4, radius * 0.35
        return lathe(
            [
                (0, 0),
                (radius, 0),
                (radius, tall * 0.6),
                (neck, tall * 0.78),
                (neck, tall),
                (0, tall),
            ],
            material,
        )
    if kind == 2:
        wide = radius * 2.2
        arc = [(wide * np.sin(a), wide * 0.6 * (1 - np.cos(a))) for a in np.linspace(0, 1.4, 7)]
        back = [(r * 0.94, h + 0.006) for r, h in reversed(arc)]
        return lathe([*arc, *back], material)
    if kind == 3:
        wide = radius * 2.4
        return lathe(
            [(0, 0), (wide * 0.6, 0), (wide, 0.02), (wide * 0.6, 0.008), (0, 0.008)], material
        )
    if kind == 4:
        return lathe([(0, 0), (radius, 0), (radius, height), (0, height)], material)
    ball = radius * float(rng.uniform(0.6, 2.0))
    return lathe(
        [(ball * np.sin(a), ball * (1 - np.cos(a))) for a in np.linspace(0, np.pi, 11)], material
    )


def cushion(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A square pillow, thick in the middle."""
    size, thick = float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.06, 0.16))
    u, v = np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15))
    bulge = ((1 - u**4) * (1 - v**4)) ** 0.6 * thick / 2
    sheets = [np.stack([u * size / 2, v * size / 2, thick / 2 + s * bulge], -1) for s in (1, -1)]
    uv = np.stack([u, v], -1) * size / 2
    cloth = surfaces.cloth()
    return joined([grid_mesh(p.astype(np.float32), uv, cloth) for p in sheets])


def heap(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A crumpled cloth or a bag: a bumpy dome."""
    size, tall = float(rng.uniform(0.2, 0.7)), float(rng.uniform(0.05, 0.3))
    u, v = np.meshgrid(np.linspace(-1, 1, 25), np.linspace(-1, 1, 25))
    bumps = noise_field(rng, 25, 3)
    edge = 1 + 0.15 * np.sin(np.arctan2(v, u) * int(rng.integers(2, 6)) + rng.uniform(0, 6))
    dome = np.clip(1 - (np.hypot(u, v) / edge) ** 2, 0, 1) ** 0.6
    height = dome * tall * np.clip(1 + 0.35 * bumps, 0.1, 2)
    points = np.stack([u * size / 2, v * size / 2, height], -1).astype(np.float32)
    return grid_mesh(points, np.stack([u, v], -1) * size / 2, surfaces.cloth())


def tray(surfaces: Surfaces, rng: Generator) -> Mesh:
    """An open box: crate, drawer, letter tray."""
    x, y = (float(v) for v in rng.uniform(0.15, 0.5, 2))
    z, wall = float(rng.uniform(0.04, 0.3)), 0.012
    look = surfaces.plain()
    return joined(
        [
            box((x, y, wall), look),
            box((x, wall, z), look).moved((0.0, y / 2 - wall / 2, 0.0)),
            box((x, wall, z), look).moved((0.0, -y / 2 + wall / 2, 0.0)),
            box((wall, y, z), look).moved((x / 2 - wall / 2, 0.0, 0.0)),
            box((wall, y, z), look).moved((-x / 2 + wall / 2, 0.0, 0.0)),
        ]
    )


def cable(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A cord of 3-5 mm radius that wanders over what it lies on."""
    del surfaces
    count, radius = 40, float(rng.uniform(0.003, 0.005))
    heading = np.cumsum(rng.normal(0, 0.35, count))
    step = float(rng.uniform(0.015, 0.03))
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * step, 0)
    path -= (path.max(0) + path.min(0)) / 2
    around = np.linspace(0, 2 * np.pi, 7)
    side = np.stack([-np.sin(heading), np.cos(heading)], 1)
    offset = side[:, None] * (np.cos(around) * radius)[None, :, None]
    height = np.broadcast_to(radius + radius * np.sin(around), (count, 7))
    points = np.concatenate([path[:, None] + offset, height[..., None]], 2)
    material = Material((0.03, 0.03, 0.03) if rng.random() < 0.6 else any_color(rng))
    return grid_mesh(points.astype(np.float32), np.zeros((count, 7, 2)), material)


# ---- what stands on desks -------------------------------------------------------------------


def monitor(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A flat display of 17-32 inches on a foot; the display looks towards -y."""
    width = float(rng.uniform(0.38, 0.72))
    height, foot = width * float(rng.uniform(0.55, 0.75)), float(rng.uniform(0.06, 0.16))
    shade = float(rng.choice([0.02, 0.05, 0.4]))
    case = Material((shade, shade, shade), gloss=0.15)
    rim = 0.015
    panel = box((width, 0.035, height), case).moved((0.0, 0.0, foot))
    display = quad(
        (-width / 2 + rim, -0.0185, foot + rim),
        (width - 2 * rim, 0, 0),
        (0, 0, height - 2 * rim),
        surfaces.screen(),
        fit=True,
    )
    stand = box((0.05, 0.03, foot + height / 3), case).moved((0.0, 0.03, 0.0))
    return joined([panel, display, stand, box((0.22, 0.18, 0.012), case)])


def laptop(surfaces: Surfaces, rng: Generator) -> Mesh:
    """An open laptop: keys below, display leaning back."""
    width = float(rng.uniform(0.3, 0.38))
    depth = width * 0.68
    shade = float(rng.choice([0.03, 0.3, 0.6]))
    case = Material((shade, shade, shade), gloss=0.2)
    lean = float(rng.uniform(0.1, 0.6))
    up = (0.0, depth * np.sin(lean), depth * np.cos(lean))
    corner = (-width / 2, depth / 2, 0.018)
    lid = quad(corner, (width, 0, 0), up, surfaces.screen(), fit=True)
    behind = quad((width / 2, depth / 2 + 0.006, 0.018), (-width, 0, 0), up, case)
    keys = Material((1.0, 1.0, 1.0), key_caps(rng))
    board = quad(
        (-width * 0.45, -depth * 0.1, 0.0185),
        (width * 0.9, 0, 0),
        (0, depth * 0.5, 0),
        keys,
        fit=True,
    )
    return joined([box((width, depth, 0.018), case), board, lid, behind])


def keyboard(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A keyboard with keys drawn on."""
    del surfaces
    width, depth, tall = float(rng.uniform(0.35, 0.46)), float(rng.uniform(0.12, 0.17)), 0.02
    keys = Material((1.0, 1.0, 1.0), key_caps(rng))
    shade = float(rng.choice([0.03, 0.5]))
    body = box((width, depth, tall), Material((shade, shade, shade)))
    top = quad((-width / 2, -depth / 2, tall + 0.001), (width, 0, 0), (0, depth, 0), keys, fit=True)
    return joined([body, top])


def mouse(surfaces: Surfaces, rng: Generator) -> Mesh:
    """A computer mouse: half an egg."""
    del surfaces
    shade = float(rng.choice([0.02, 0.4]))
    material = Material((shade, shade, shade), gloss=0.3)
    arc = [(0.03 * np.cos(a), 0.035 * np.sin(a)) for a in np.linspace(0, np.pi / 2, 6)]
    return lathe(arc, material, 14).scaled((1.0, 1.7, 1.0))


def _centred(mesh: Mesh) -> Mesh:
    low, high = mesh.bounds
    return mesh.moved((-float(low[0] + high[0]) / 2, -float(low[1] + high[1]) / 2, 0.0))
