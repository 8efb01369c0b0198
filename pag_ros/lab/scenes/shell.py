"""The shell of a room: walls with doors and windows, floor, ceiling, skirting boards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pag_ros.lab.scenes.mesh import Material, Mesh, box, joined, quad, triple
from pag_ros.lab.scenes.surfaces import Surfaces

Point = tuple[float, float]


@dataclass(frozen=True)
class Opening:
    """A hole in a wall edge. kind: window, door (closed), doorway (with frame), hole (bare).

    start: metres from the start of the edge; bottom, top: heights; depth: of the reveal.
    """

    edge: int
    start: float
    width: float
    bottom: float
    top: float
    depth: float
    kind: str

    @property
    def end(self) -> float:
        """Metres from the start of the edge to the far side of the hole."""
        return self.start + self.width


@dataclass(frozen=True)
class Room:
    """A floor plan, counter-clockwise, walls between consecutive corners; metres."""

    corners: tuple[Point, ...]
    height: float
    theme: str
    openings: tuple[Opening, ...]

    def edge(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Start point, direction, inward normal (each [2]) and length of a wall."""
        start = np.array(self.corners[index])
        along = np.array(self.corners[(index + 1) % len(self.corners)]) - start
        length = float(np.linalg.norm(along))
        along = along / length
        return start, along, np.array([-along[1], along[0]]), length

    def contains(self, x: float, y: float) -> bool:
        """Whether a point lies inside the floor plan (even-odd rule)."""
        inside = False
        for (xa, ya), (xb, yb) in zip(
            self.corners, self.corners[1:] + self.corners[:1], strict=True
        ):
            if (ya > y) != (yb > y) and x < xa + (y - ya) / (yb - ya) * (xb - xa):
                inside = not inside
        return inside

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Lowest x, y and highest x, y."""
        x, y = zip(*self.corners, strict=True)
        return min(x), min(y), max(x), max(y)


@dataclass(frozen=True)
class Part:
    """A mesh with its class name."""

    mesh: Mesh
    label: str


def build_shell(room: Room, surfaces: Surfaces, rng: np.random.Generator) -> list[Part]:
    """Walls, floor and ceiling of a room as labelled meshes."""
    upper = surfaces.wall()
    lower = surfaces.wall() if rng.random() < 0.15 else upper
    split = float(rng.uniform(0.8, 1.3)) if lower is not upper else 0.0
    frame = Material(surfaces.paint_color(), gloss=0.1)
    skirting = Material(surfaces.paint_color()) if rng.random() < 0.75 else None
    outside = surfaces.outdoors()
    parts = _floor_and_ceiling(room, surfaces)
    for index in range(len(room.corners)):
        openings = sorted((o for o in room.openings if o.edge == index), key=lambda o: o.start)
        feature = surfaces.wall() if rng.random() < 0.1 else upper
        parts.append(Part(joined(_wall(room, index, openings, feature, lower, split)), "wall"))
        if skirting is not None:
            parts += _skirting(room, index, openings, skirting)
        for opening in openings:
            parts += _fill(room, opening, upper, frame, outside, rng)
    return parts


def _floor_and_ceiling(room: Room, surfaces: Surfaces) -> list[Part]:
    """Both cover the bounding box: what lies beyond the walls is never seen."""
    low_x, low_y, high_x, high_y = room.bounds
    size_x, size_y = high_x - low_x, high_y - low_y
    floor = quad((low_x, low_y, 0), (size_x, 0, 0), (0, size_y, 0), surfaces.floor())
    ceiling = quad((low_x, low_y, room.height), (0, size_y, 0), (size_x, 0, 0), surfaces.ceiling())
    return [Part(floor, "floor"), Part(ceiling, "ceiling")]


def _wall(
    room: Room,
    index: int,
    openings: list[Opening],
    upper: Material,
    lower: Material,
    split: float,
) -> list[Mesh]:
    """The wall around its openings, cut into upright strips and, maybe, two materials."""
    length = room.edge(index)[3]
    panels: list[tuple[float, float, float, float]] = []
    position = 0.0
    for opening in openings:
        panels.append((position, opening.start, 0.0, room.height))
        panels.append((opening.start, opening.end, 0.0, opening.bottom))
        panels.append((opening.start, opening.end, opening.top, room.height))
        position = opening.end
    panels.append((position, length, 0.0, room.height))
    meshes = []
    for start, end, bottom, top in panels:
        for low, high, material in (
            (bottom, min(top, split), lower),
            (max(bottom, split), top, upper),
        ):
            if end - start > 1e-4 and high - low > 1e-4:
                meshes.append(wall_quad(room, index, start, end, low, high, material))
    return meshes


def wall_quad(
    room: Room,
    index: int,
    start: float,
    end: float,
    bottom: float,
    top: float,
    material: Material,
    offset: float = 0.0,
    fit: bool = False,
) -> Mesh:
    """An upright rectangle on a wall that faces into the room; offset: metres into the room."""
    origin, along, normal, _ = room.edge(index)
    corner = origin + along * start + normal * offset
    extent = along * (end - start)
    return quad(
        triple(*corner, bottom),
        triple(*extent, 0.0),
        (0.0, 0.0, top - bottom),
        material,
        uv_origin=(start, bottom) if not fit else (0.0, 0.0),
        fit=fit,
    )


def wall_box(
    room: Room,
    index: int,
    start: float,
    end: float,
    bottom: float,
    top: float,
    material: Material,
    thickness: float,
    offset: float = 0.0,
) -> Mesh:
    """A box on a wall; its back is `offset` metres into the room (negative: in the wall)."""
    origin, along, normal, _ = room.edge(index)
    centre = origin + along * (start + end) / 2 + normal * (offset + thickness / 2)
    yaw = float(np.arctan2(along[1], along[0]))
    body = box((end - start, thickness, top - bottom), material)
    return body.moved(triple(*centre, bottom), yaw)


def _skirting(room: Room, index: int, openings: list[Opening], material: Material) -> list[Part]:
    """Boards along the foot of a wall, left out where an opening reaches the floor."""
    length = room.edge(index)[3]
    gaps = [(o.start - 0.08, o.end + 0.08) for o in openings if o.bottom < 0.1]
    parts, position = [], 0.0
    for start, end in [*gaps, (length, length)]:
        if start - position > 0.02:
            board = wall_box(room, index, position, start, 0.0, 0.09, material, 0.014)
            parts.append(Part(board, "wall"))
        position = end
    return parts


def _fill(
    room: Room,
    opening: Opening,
    wall: Material,
    frame: Material,
    outside: Material,
    rng: np.random.Generator,
) -> list[Part]:
    """Reveal, frame and whatever closes an opening."""
    if opening.kind == "hole":
        return []
    parts = _reveal(room, opening, wall)
    label = "window" if opening.kind == "window" else "door"
    if opening.kind != "window" or rng.random() < 0.6:
        parts += [Part(m, label) for m in _trim(room, opening, frame)]
    if opening.kind == "window":
        parts += [Part(m, "window") for m in _panes(room, opening, frame, outside, rng)]
    if opening.kind == "door":
        parts += [Part(m, "door") for m in _door_leaf(room, opening, frame, rng)]
    if opening.kind == "doorway" and opening.width < 1.1 and rng.random() < 0.6:
        parts.append(Part(_open_leaf(room, opening, frame, rng), "door"))
    return parts


def _reveal(room: Room, opening: Opening, wall: Material) -> list[Part]:
    """The four sides of the hole, and a floor under a doorway."""
    origin, along, normal, _ = room.edge(opening.edge)
    left, right = origin + along * opening.start, origin + along * opening.end
    out = -normal * opening.depth
    upward = (0.0, 0.0, opening.top - opening.bottom)
    outward, inward = triple(*out, 0.0), triple(*-out, 0.0)
    span = triple(*along * opening.width, 0.0)
    behind = triple(*left + out, opening.bottom)
    sides = [
        quad(behind, inward, upward, wall),
        quad(triple(*right, opening.bottom), outward, upward, wall),
        quad(triple(*left, opening.top), span, outward, wall),
    ]
    sill = quad(behind, span, inward, wall)
    return [
        *(Part(s, "wall") for s in sides),
        Part(sill, "floor" if opening.bottom < 0.02 else "wall"),
    ]


def _trim(room: Room, opening: Opening, frame: Material) -> list[Mesh]:
    """Boards around the opening on the room's side."""
    wide, thick = 0.07, 0.016
    low, high = max(opening.bottom - wide, 0.0), opening.top + wide
    meshes = [
        wall_box(room, opening.edge, opening.start - wide, opening.start, low, high, frame, thick),
        wall_box(room, opening.edge, opening.end, opening.end + wide, low, high, frame, thick),
        wall_box(room, opening.edge, opening.start, opening.end, opening.top, high, frame, thick),
    ]
    if opening.bottom > 0.1:
        meshes.append(
            wall_box(
                room, opening.edge, opening.start, opening.end, low, opening.bottom, frame, thick
            )
        )
    return meshes


def _panes(
    room: Room, opening: Opening, frame: Material, outside: Material, rng: np.random.Generator
) -> list[Mesh]:
    """One bright opaque pane behind a frame with bars: glass would have two depths."""
    edge, back = opening.edge, -opening.depth
    low, high, start, end = opening.bottom, opening.top, opening.start, opening.end
    meshes = [wall_quad(room, edge, start, end, low, high, outside, back + 0.03, fit=True)]
    bar, thick = 0.06, 0.05
    for a, b in ((start, start + bar), (end - bar, end)):
        meshes.append(wall_box(room, edge, a, b, low, high, frame, thick, back))
    for a, b in ((low, low + bar), (high - bar, high)):
        meshes.append(wall_box(room, edge, start, end, a, b, frame, thick, back))
    columns = max(1, round(opening.width / float(rng.uniform(0.5, 0.9))))
    rows = int(rng.choice([1, 1, 2, 3]))
    for k in range(1, columns):
        x = start + (end - start) * k / columns
        meshes.append(wall_box(room, edge, x - 0.025, x + 0.025, low, high, frame, thick, back))
    for k in range(1, rows):
        z = low + (high - low) * k / rows
        meshes.append(wall_box(room, edge, start, end, z - 0.02, z + 0.02, frame, thick, back))
    return meshes


def _door_leaf(
    room: Room, opening: Opening, frame: Material, rng: np.random.Generator
) -> list[Mesh]:
    """A closed door a little back in its frame, with panels and a handle."""
    edge, back = opening.edge, -min(opening.depth, 0.06)
    leaf = Material(frame.color, gloss=0.1)
    meshes = [
        wall_box(room, edge, opening.start, opening.end, 0.005, opening.top, leaf, 0.04, back)
    ]
    count = int(rng.choice([0, 1, 2, 3]))
    for k in range(count):
        height = (opening.top - 0.3) / count
        low = 0.15 + k * height
        meshes.append(
            wall_box(
                room,
                edge,
                opening.start + 0.14,
                opening.end - 0.14,
                low,
                low + height - 0.12,
                leaf.tinted((0.9, 0.9, 0.9)),
                0.015,
                back + 0.04,
            )
        )
    metal = Material((0.35, 0.35, 0.33), gloss=0.5)
    side = opening.start + 0.06 if rng.random() < 0.5 else opening.end - 0.18
    meshes.append(wall_box(room, edge, side, side + 0.12, 1.02, 1.045, metal, 0.05, back + 0.04))
    return meshes


def _open_leaf(room: Room, opening: Opening, frame: Material, rng: np.random.Generator) -> Mesh:
    """A door that stands open into the room, turned by 30-115 degrees about a jamb."""
    origin, along, normal, _ = room.edge(opening.edge)
    at_start = rng.random() < 0.5
    hinge = origin + along * (opening.start if at_start else opening.end) + normal * 0.02
    closed = along if at_start else -along
    angle = np.radians(rng.uniform(30, 115))
    direction = np.cos(angle) * closed + np.sin(angle) * normal
    middle = hinge + direction * opening.width / 2
    leaf = box((opening.width, 0.04, opening.top - 0.01), frame)
    yaw = float(np.arctan2(direction[1], direction[0]))
    return leaf.moved(triple(*middle, 0.005), yaw)
