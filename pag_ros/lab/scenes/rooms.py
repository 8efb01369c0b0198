"""Random floor plans: rectangles, L-shapes, corridors, a doorway to a second room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pag_ros.lab.scenes.shell import Opening, Point, Room

Generator = np.random.Generator
WALL_METRES = 0.14
# theme -> how often
THEMES = {
    "living": 0.16,
    "bedroom": 0.11,
    "kitchen": 0.14,
    "bathroom": 0.06,
    "office": 0.17,
    "corridor": 0.06,
    "lab": 0.1,
    "dining": 0.07,
    "store": 0.05,
    "hall": 0.08,
}


def random_rooms(rng: Generator, theme: str | None = None) -> list[Room]:
    """A room to be seen from inside and, sometimes, the one behind its open doorway."""
    theme = theme or random_theme(rng)
    corners = random_corners(rng, theme)
    height = float(rng.uniform(2.8, 4.2) if theme == "hall" else rng.uniform(2.3, 3.2))
    room = Room(corners, height, theme, ())
    doorway = _doorway(room, rng) if rng.random() < (0.8 if theme == "corridor" else 0.4) else None
    openings = [doorway] if doorway else []
    for _ in range(int(rng.integers(1, 4))):
        opening = _closed_door(room, rng) if rng.random() < 0.35 else _window(room, rng)
        if opening is not None and not any(_clash(opening, other) for other in openings):
            openings.append(opening)
    room = replace(room, openings=tuple(openings))
    if doorway is None:
        return [room]
    return [room, _room_behind(room, doorway, rng)]


def random_theme(rng: Generator) -> str:
    """What a room is for."""
    return str(rng.choice(list(THEMES), p=list(THEMES.values())))


def random_corners(rng: Generator, theme: str) -> tuple[Point, ...]:
    """Counter-clockwise corners of a floor plan, in metres."""
    if theme == "corridor":
        length, width = rng.uniform(4, 9), rng.uniform(1.2, 2.4)
    elif theme == "hall":
        length, width = rng.uniform(6, 12), rng.uniform(5, 9)
    elif theme == "bathroom":
        length, width = rng.uniform(2.2, 4), rng.uniform(1.8, 3)
    else:
        length, width = rng.uniform(2.8, 7.5), rng.uniform(2.6, 5.5)
    x, y = float(length), float(width)
    kind = rng.random()
    if kind < 0.2 and min(x, y) > 3 and theme != "corridor":
        cut_x, cut_y = float(rng.uniform(0.25, 0.5) * x), float(rng.uniform(0.25, 0.5) * y)
        return ((0, 0), (x, 0), (x, y - cut_y), (x - cut_x, y - cut_y), (x - cut_x, y), (0, y))
    if kind < 0.32:
        cut = float(rng.uniform(0.4, 1.2))
        return ((0, 0), (x, 0), (x, y - cut), (x - cut, y), (0, y))
    return ((0, 0), (x, 0), (x, y), (0, y))


def _place(room: Room, width: float, rng: Generator, outer: bool) -> tuple[int, float] | None:
    """A random wall (one on the bounding box if `outer`) and start where `width` fits."""
    low_x, low_y, high_x, high_y = room.bounds
    fitting = []
    for index in range(len(room.corners)):
        start, along, _, length = room.edge(index)
        end = start + along * length
        on_box = (start[0] == end[0] and start[0] in (low_x, high_x)) or (
            start[1] == end[1] and start[1] in (low_y, high_y)
        )
        if length > width + 0.4 and (on_box or not outer):
            fitting.append((index, length))
    if not fitting:
        return None
    index, length = fitting[int(rng.integers(len(fitting)))]
    return index, float(rng.uniform(0.2, length - width - 0.2))


def _doorway(room: Room, rng: Generator) -> Opening | None:
    width = float(rng.choice([rng.uniform(0.8, 1.0), rng.uniform(1.2, 2.2)], p=[0.75, 0.25]))
    place = _place(room, width, rng, outer=True)
    if place is None:
        return None
    return Opening(*place, width, 0.0, float(rng.uniform(1.98, 2.2)), WALL_METRES, "doorway")


def _closed_door(room: Room, rng: Generator) -> Opening | None:
    width = float(rng.uniform(0.75, 1.0))
    place = _place(room, width, rng, outer=False)
    if place is None:
        return None
    depth = float(rng.uniform(0.06, 0.15))
    return Opening(*place, width, 0.0, float(rng.uniform(1.98, 2.15)), depth, "door")


def _window(room: Room, rng: Generator) -> Opening | None:
    width = float(rng.uniform(0.6, 2.4))
    place = _place(room, width, rng, outer=False)
    if place is None:
        return None
    bottom = float(rng.choice([0.05, rng.uniform(0.7, 1.1)], p=[0.15, 0.85]))
    top = min(room.height - 0.15, float(rng.uniform(1.9, 2.3)))
    return Opening(*place, width, bottom, top, float(rng.uniform(0.08, 0.25)), "window")


def _clash(a: Opening, b: Opening) -> bool:
    return a.edge == b.edge and a.start < b.end + 0.3 and b.start < a.end + 0.3


def _room_behind(room: Room, doorway: Opening, rng: Generator) -> Room:
    """A rectangle beyond the doorway with a hole where the doorway ends."""
    start, along, normal, _ = room.edge(doorway.edge)
    depth = float(rng.uniform(1.5, 5.0))
    before, after = (float(v) for v in rng.uniform(0.3, 2.5, 2))
    origin = start + along * (doorway.start - before) - normal * (doorway.depth)
    span = before + doorway.width + after
    # seen from behind, the shared wall runs the other way round
    a = origin + along * span
    b, c, d = origin, origin - normal * depth, origin - normal * depth + along * span
    hole = Opening(0, after, doorway.width, 0.0, doorway.top, 0.0, "hole")
    corners = tuple((float(p[0]), float(p[1])) for p in (a, b, c, d))
    theme = random_theme(rng)
    behind = Room(corners, float(rng.uniform(2.3, 3.0)), theme, (hole,))
    window = _window(behind, rng)
    if window is not None and window.edge != 0 and rng.random() < 0.7:
        behind = replace(behind, openings=(hole, window))
    return behind
