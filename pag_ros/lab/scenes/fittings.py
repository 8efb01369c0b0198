"""Large things made from nothing: bookshelves, kitchen rows, curtains, wall shelves, columns.

Each maker returns parts that stand on z = 0, centred on the z axis, their front towards -y.
"""

from __future__ import annotations

import numpy as np

from pag_ros.lab.scenes.mesh import Material, Mesh, box, grid_mesh, joined
from pag_ros.lab.scenes.shell import Part
from pag_ros.lab.scenes.surfaces import Surfaces, wood
from pag_ros.lab.scenes.things import random_thing

Generator = np.random.Generator
# most tables and worktops are as high as people like them; the rest as anybody may build them
UNUSUAL_HEIGHT_SHARE = 0.4
UNUSUAL_HEIGHT_METRES = (0.35, 1.15)
WORKTOP_METRES, WALL_UNIT_GAP_METRES = 0.04, 0.45


def surface_height(rng: Generator, usual: tuple[float, float]) -> float:
    """Metres from the floor to the top of a table or worktop; usual: lowest and highest of most."""
    unusual = rng.random() < UNUSUAL_HEIGHT_SHARE
    return float(rng.uniform(*(UNUSUAL_HEIGHT_METRES if unusual else usual)))


def bookshelf(surfaces: Surfaces, rng: Generator) -> list[Part]:
    """Open shelves, more or less full of books and things."""
    width, depth = float(rng.uniform(0.5, 1.4)), float(rng.uniform(0.22, 0.4))
    count = int(rng.integers(2, 7))
    pitch = float(rng.uniform(0.28, 0.42))
    height, board = count * pitch + 0.06, 0.02
    look = _board_look(surfaces, rng)
    frame = [
        box((board, depth, height), look).moved((s * (width - board) / 2, 0.0, 0.0))
        for s in (1, -1)
    ]
    levels = [0.04 + k * pitch for k in range(count + 1)]
    inner = width - 2 * board
    frame += [box((inner, depth, board), look).moved((0.0, 0.0, z)) for z in levels]
    if rng.random() < 0.7:
        frame.append(box((inner, 0.006, height), look).moved((0.0, depth / 2 - 0.004, 0.0)))
    fullness = rng.random()
    content = [
        m.moved((0.0, 0.0, z + board))
        for z in levels[:-1]
        for m in _row(surfaces, rng, inner, depth, pitch - board - 0.03, fullness)
    ]
    return [Part(joined(frame), "cabinet"), *([Part(joined(content), "object")] if content else [])]


def _row(
    surfaces: Surfaces, rng: Generator, width: float, depth: float, free: float, fullness: float
) -> list[Mesh]:
    """Books and boxes side by side on a shelf, with gaps."""
    meshes, position = [], -width / 2 + 0.01
    while position < width / 2 - 0.06:
        if rng.random() > fullness:
            position += float(rng.uniform(0.05, 0.3))
            continue
        is_book = rng.random() < 0.8
        wide = float(rng.uniform(0.012, 0.06) if is_book else rng.uniform(0.1, 0.3))
        tall = free * float(rng.uniform(0.55, 0.98))
        deep = min(depth - 0.03, float(rng.uniform(0.13, 0.22)))
        if position + wide > width / 2:
            break
        thing = box((wide, deep, tall), surfaces.parcel() if is_book else surfaces.plain(), True)
        front = -depth / 2 + deep / 2 + float(rng.uniform(0.005, 0.03))
        meshes.append(thing.moved((position + wide / 2, front, 0.0)))
        position += wide + 0.001
    return meshes


def kitchen_row(surfaces: Surfaces, rng: Generator, length: float) -> list[Part]:
    """Base units with a worktop, tiles and, mostly, wall units above."""
    depth, height = 0.58, surface_height(rng, (0.82, 0.9)) - WORKTOP_METRES
    front = Material(surfaces.paint_color(), gloss=float(rng.choice([0.0, 0.2])))
    if rng.random() < 0.3:
        front = surfaces.plain()
    units, fixtures = [], []
    body = box((length, depth - 0.02, height - 0.1), front).moved((0.0, 0.01, 0.1))
    base = box((length, depth - 0.08, 0.1), Material((0.05, 0.05, 0.05))).moved((0.0, 0.04, 0.0))
    worktop = box((length, depth + 0.03, WORKTOP_METRES), _board_look(surfaces, rng)).moved(
        (0.0, 0.0, height)
    )
    count = max(1, round(length / 0.55))
    width = length / count
    appliance = int(rng.integers(count)) if rng.random() < 0.6 else -1
    for k in range(count):
        x = -length / 2 + (k + 0.5) * width
        if k == appliance:
            fixtures += _oven(x, width, height, depth)
        else:
            units += _fronts(rng, front, x, width, 0.11, height - 0.01, -depth / 2)
    splash = box((length, 0.008, 0.55), surfaces.tiling()).moved((0.0, depth / 2, height + 0.04))
    parts = [Part(joined([body, base, worktop, *units]), "cabinet"), Part(splash, "wall")]
    if rng.random() < 0.75:
        high, low = float(rng.uniform(0.5, 0.75)), max(1.4, height + WALL_UNIT_GAP_METRES)
        upper = [box((length, 0.33, high), front).moved((0.0, depth / 2 - 0.165, low))]
        for k in range(count):
            x = -length / 2 + (k + 0.5) * width
            upper += _fronts(rng, front, x, width, low, low + high, depth / 2 - 0.33, drawers=False)
        parts.append(Part(joined(upper), "cabinet"))
    if rng.random() < 0.7:
        x = float(rng.uniform(-length / 2 + 0.35, max(length / 2 - 0.35, -length / 2 + 0.36)))
        fixtures += _tap_and_sink(x, height + 0.04)
    if fixtures:
        parts.append(Part(joined(fixtures), "fixture"))
    return parts


def _fronts(
    rng: Generator,
    look: Material,
    x: float,
    width: float,
    low: float,
    high: float,
    y: float,
    drawers: bool = True,
) -> list[Mesh]:
    """A door or a stack of drawers with handles, 18 mm proud of y."""
    count = int(rng.integers(2, 5)) if drawers and rng.random() < 0.4 else 1
    metal = Material((0.4, 0.4, 0.4), gloss=0.5)
    meshes = []
    for k in range(count):
        bottom = low + (high - low) * k / count
        tall = (high - low) / count - 0.005
        shade = look.tinted((0.97, 0.97, 0.97))
        meshes.append(box((width - 0.006, 0.018, tall), shade).moved((x, y - 0.009, bottom)))
        if count > 1 or rng.random() < 0.3:
            bar, place = (width * 0.4, 0.02, 0.012), (x, y - 0.03, bottom + tall - 0.05)
        else:
            bar, place = (0.012, 0.02, 0.14), (x + width * 0.38, y - 0.03, (low + high) / 2)
        meshes.append(box(bar, metal).moved(place))
    return meshes


def _oven(x: float, width: float, height: float, depth: float) -> list[Mesh]:
    """A dark oven front with a hob above it."""
    glass = Material((0.015, 0.015, 0.018), gloss=0.5)
    metal = Material((0.45, 0.45, 0.45), gloss=0.4)
    y = -depth / 2 - 0.012
    return [
        box((width - 0.01, 0.024, 0.5), glass).moved((x, y, height - 0.64)),
        box((width - 0.01, 0.024, 0.12), metal).moved((x, y, height - 0.13)),
        box((width * 0.8, 0.03, 0.02), metal).moved((x, y - 0.03, height - 0.18)),
        box((min(width, 0.56), 0.48, 0.006), glass).moved((x, 0.0, height + 0.04)),
    ]


def _tap_and_sink(x: float, z: float) -> list[Mesh]:
    """A shallow steel basin let into the worktop and a tap behind it."""
    steel = Material((0.5, 0.5, 0.5), gloss=0.4)
    dark = Material((0.25, 0.25, 0.25), gloss=0.4)
    return [
        box((0.5, 0.42, 0.005), steel).moved((x, -0.02, z)),
        box((0.42, 0.34, 0.002), dark).moved((x, -0.02, z + 0.005)),
        box((0.03, 0.03, 0.28), steel).moved((x, 0.22, z)),
        box((0.025, 0.2, 0.025), steel).moved((x, 0.13, z + 0.27)),
    ]


def curtain(surfaces: Surfaces, rng: Generator, width: float, height: float) -> list[Part]:
    """A cloth that hangs in folds."""
    columns = max(24, int(width * 60))
    s = np.linspace(-0.5, 0.5, columns)
    folds, deep = width / float(rng.uniform(0.09, 0.2)), float(rng.uniform(0.02, 0.045))
    wave = deep * np.sin(2 * np.pi * folds * s + rng.uniform(0, 6) + np.sin(9 * s))
    z = np.linspace(0, height, 6)
    swing = 0.8 + 0.4 * (1 - z / height)
    points = np.stack(
        [
            np.broadcast_to(s * width, (6, columns)),
            swing[:, None] * wave[None],
            np.broadcast_to(z[:, None], (6, columns)),
        ],
        -1,
    )
    uv = np.stack(np.meshgrid(s * width * 1.6, z), -1)
    return [Part(grid_mesh(points.astype(np.float32), uv, surfaces.cloth()), "object")]


def wall_shelf(surfaces: Surfaces, rng: Generator) -> list[Part]:
    """A board with a few things on it."""
    width, depth = float(rng.uniform(0.4, 1.3)), float(rng.uniform(0.15, 0.28))
    parts = [Part(box((width, depth, 0.025), _board_look(surfaces, rng)), "cabinet")]
    things = _row(surfaces, rng, width, depth, 0.3, float(rng.uniform(0.2, 0.9)))
    if things:
        parts.append(Part(joined(things).moved((0.0, 0.0, 0.0255)), "object"))
    return parts


def simple_table(surfaces: Surfaces, rng: Generator) -> list[Part]:
    """A plain table or desk: a top on four legs or two sides."""
    width, depth = float(rng.uniform(0.7, 2.0)), float(rng.uniform(0.5, 1.0))
    height, thick = surface_height(rng, (0.68, 0.78)), float(rng.uniform(0.018, 0.05))
    look = _board_look(surfaces, rng)
    meshes = [box((width, depth, thick), look).moved((0.0, 0.0, height - thick))]
    leg = float(rng.uniform(0.03, 0.08))
    foot = look if rng.random() < 0.5 else Material((0.2, 0.2, 0.2), gloss=0.2)
    if rng.random() < 0.7:
        for sx in (1, -1):
            for sy in (1, -1):
                place = (sx * (width / 2 - leg), sy * (depth / 2 - leg), 0.0)
                meshes.append(box((leg, leg, height - thick), foot).moved(place))
    else:
        for sx in (1, -1):
            side = box((0.025, depth * 0.95, height - thick), look)
            meshes.append(side.moved((sx * (width / 2 - 0.03), 0.0, 0.0)))
    return [Part(joined(meshes), "table")]


def pile(surfaces: Surfaces, rng: Generator) -> list[Part]:
    """Boxes on one another."""
    meshes, z = [], 0.0
    size = rng.uniform(0.3, 0.6, 3)
    for _ in range(int(rng.integers(2, 5))):
        size = size * rng.uniform(0.7, 1.0, 3)
        x, y, tall = (float(v) for v in size)
        look = surfaces.parcel() if rng.random() < 0.6 else surfaces.plain()
        meshes.append(
            box((x, y, tall), look, True).moved((0.0, 0.0, z), float(rng.normal(0, 0.15)))
        )
        z += tall + 0.0005
    return [Part(joined(meshes), "object")]


def column(surfaces: Surfaces, rng: Generator, height: float) -> list[Part]:
    """A pillar up to the ceiling."""
    x, y = (float(v) for v in rng.uniform(0.2, 0.6, 2))
    return [Part(box((x, y, height - 0.03), surfaces.wall()), "wall")]


def loose_thing(surfaces: Surfaces, rng: Generator) -> list[Part]:
    """A small thing as parts."""
    return [Part(random_thing(surfaces, rng), "object")]


def _board_look(surfaces: Surfaces, rng: Generator) -> Material:
    """Wood, white laminate, or anything plain."""
    kind = rng.random()
    if kind < 0.3:
        return Material((0.75, 0.74, 0.71), gloss=0.1)
    if kind < 0.45:
        return Material(wood(rng), gloss=0.1)
    return surfaces.timber() if kind < 0.75 else surfaces.plain()
