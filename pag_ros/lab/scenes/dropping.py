"""Small things on tables, shelves, beds and the floor: each rests where it would lie still."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pag_ros.lab.scenes.furnish import (
    Furnisher,
    Placed,
    Space,
    moved_piece,
    overlap,
    part_bounds,
    resized,
    space_of,
)
from pag_ros.lab.scenes.mesh import Material, Mesh, box, triple
from pag_ros.lab.scenes.scene import triangles
from pag_ros.lab.scenes.shell import Part
from pag_ros.lab.scenes.things import (
    keyboard,
    laptop,
    monitor,
    mouse,
    papers,
    random_thing,
    small_thing,
)
from pag_ros.lab.scenes.tracing import Caster

BEARING = ("table", "cabinet", "bed", "sofa", "chair", "fixture")
CROWDED = ("table", "cabinet", "fixture")
CROWDED_SHARE = 0.4
FINE_FACES = 500
MADE_THINGS = 12
GRID = 4
GRID_SHARES = np.linspace(0, 1, GRID)
LEVEL_METRES = 0.012


@dataclass
class Dropper:
    """Drops things into a furnished room."""

    furnisher: Furnisher
    caster: Caster
    rested: list[Placed] = field(default_factory=list)
    made: list[Mesh] = field(default_factory=list)

    @classmethod
    def over(cls, furnisher: Furnisher, shell: list[Part]) -> Dropper:
        """A dropper that knows all surfaces of the room on which things may lie."""
        furniture = [part for piece in furnisher.placed for part in piece.parts]
        parts = shell + [_coarse(part) for part in furniture]
        return cls(furnisher, Caster(*triangles(parts)))

    def scatter(self, count: int) -> None:
        """Equip the desks, then let `count` things fall anywhere that bears them."""
        rng = self.furnisher.rng
        supports = [p for p in self.furnisher.placed if p.label in BEARING and p.bottom < 1.5]
        for table in [p for p in supports if p.label == "table" and 0.6 < p.top < 1.2]:
            if rng.random() < (0.8 if self.furnisher.room.theme in ("office", "lab") else 0.25):
                self._equip_desk(table)
        # a few pieces get most of the clutter, as in real rooms
        favour = rng.random(len(supports)) ** 2 + 0.1
        for _ in range(count):
            if supports and rng.random() > 0.25:
                chosen = rng.choice(len(supports), p=favour / favour.sum())
                self._try(_small_parts(self.furnisher), supports[int(chosen)])
            else:
                self._try(_small_parts(self.furnisher), None)
        self._crowd([p for p in supports if p.label in CROWDED and 0.3 < p.top < 1.2])
        self.furnisher.placed.extend(self.rested)

    def _crowd(self, supports: list[Placed]) -> None:
        """Now and then a surface is full: a laid table, a bench in use, a desk never tidied."""
        rng = self.furnisher.rng
        for support in supports:
            if rng.random() < CROWDED_SHARE:
                for _ in range(int(rng.integers(8, 30))):
                    self._try([Part(self._small_thing(), "object")], support)

    def _small_thing(self) -> Mesh:
        """A new thing or, once there are some, one of them in another size and shade.

        Rooms have many cups of one kind, and to make a cup takes longer than to put it down.
        """
        rng = self.furnisher.rng
        if len(self.made) < MADE_THINGS:
            self.made.append(small_thing(self.furnisher.surfaces, rng))
            return self.made[-1]
        thing = self.made[int(rng.integers(MADE_THINGS))]
        shade = rng.uniform(0.6, 1.2)
        return resized(thing, rng).tinted((shade, shade, shade))

    def _try(self, parts: list[Part] | None, support: Placed | None) -> None:
        """A few attempts to drop parts over a piece (None: over the floor)."""
        rng = self.furnisher.rng
        for _ in range(4 if parts else 0):
            area = support.footprint if support else self.furnisher.room.bounds
            yaw = float(rng.uniform(0, 2 * np.pi))
            if support is not None and rng.random() < 0.7:
                yaw = support.yaw + float(rng.normal(0, 0.4))
            x, y = rng.uniform(area[0], area[2]), rng.uniform(area[1], area[3])
            if parts is not None and self._rest(parts, float(x), float(y), yaw, support):
                return

    def _equip_desk(self, table: Placed) -> None:
        """Displays at the back, keyboard and mouse before them, papers beside."""
        surfaces, rng = self.furnisher.surfaces, self.furnisher.rng
        low_x, low_y, high_x, high_y = table.footprint
        middle = np.array([low_x + high_x, low_y + high_y]) / 2
        right = np.array([np.cos(table.yaw), np.sin(table.yaw)])
        back = np.array([-np.sin(table.yaw), np.cos(table.yaw)])
        half_width = float(np.abs(right) @ [high_x - low_x, high_y - low_y]) / 2
        half_depth = float(np.abs(back) @ [high_x - low_x, high_y - low_y]) / 2
        places = [0.0] if half_width < 0.65 else [-half_width / 2, half_width / 2]
        for across in places:
            across += float(rng.normal(0, 0.08))
            rear = half_depth - float(rng.uniform(0.12, 0.3))
            yaw = table.yaw + float(rng.normal(0, 0.2))
            setup = [
                (keyboard, across, rear - 0.3, "object"),
                (papers, across - 0.4, 0.0, "object"),
            ]
            setup.append((mouse, across + 0.32, rear - 0.3, "object"))
            main = laptop if rng.random() < 0.3 else monitor
            for maker, x, y, label in [(main, across, rear, "screen"), *setup]:
                spot = middle + right * x + back * y
                self._rest([Part(maker(surfaces, rng), label)], float(spot[0]), float(spot[1]), yaw)

    def _rest(
        self, parts: list[Part], x: float, y: float, yaw: float, support: Placed | None = None
    ) -> bool:
        """Put parts down at a place if rays over the footprint meet one level, free surface."""
        rng, room = self.furnisher.rng, self.furnisher.room
        piece = space_of(parts, (x, y, 0.0), yaw)
        if not self.furnisher.inside(piece.footprint):
            return False
        blocked = any(overlap(piece.footprint, zone) for zone in self.furnisher.keep_free)
        if blocked and rng.random() < 0.7:
            return False
        # from under the ceiling, or from between shelves, worktops and wall units
        layered = support is not None and support.label == "cabinet" and support.top > 1.2
        start = room.height - 0.02
        if rng.random() < (0.75 if layered else 0.15):
            start = float(rng.uniform(0.3, 1.5))
        below = self._cast(piece, start, -1.0)
        if (below < 0).any() or np.ptp(below) > LEVEL_METRES:
            return False
        height = start - float(below.min())
        top = height + piece.top
        above = self._cast(piece, height + 0.003, 1.0)
        if ((above >= 0) & (above < piece.top)).any() or top > room.height - 0.02:
            return False
        if any(
            overlap(piece.footprint, p.footprint) and p.bottom < top and height < p.top
            for p in self.rested
        ):
            return False
        self.rested.append(moved_piece(parts[0].label, parts, (x, y, height), yaw))
        return True

    def _cast(self, piece: Space, height: float, upward: float) -> np.ndarray:
        """Distances [16] (-1: nothing) of vertical rays from a grid over a footprint."""
        low_x, low_y, high_x, high_y = piece.footprint
        origins = np.empty((GRID, GRID, 3), np.float32)
        origins[..., 0] = low_x + (high_x - low_x) * GRID_SHARES
        origins[..., 1] = low_y + (high_y - low_y) * GRID_SHARES[:, None]
        origins[..., 2] = height
        directions = np.zeros((GRID * GRID, 3), np.float32)
        directions[:, 2] = upward
        hits = self.caster.hits(origins.reshape(-1, 3), directions)
        return np.where(hits.face < 0, -1.0, hits.distance)


def _coarse(part: Part) -> Part:
    """The part, or a box around it where it is fine and nothing would come to lie on it."""
    if part.label in BEARING or len(part.mesh.faces) < FINE_FACES:
        return part
    low, high = part.mesh.bounds
    x, y, _ = (low + high) / 2
    around = box(triple(*(high - low)), Material()).moved(triple(x, y, low[2]))
    return Part(around, part.label)


def _small_parts(furnisher: Furnisher) -> list[Part] | None:
    """A small catalogue model or a made-up thing."""
    rng = furnisher.rng
    if rng.random() < 0.5:
        return [Part(random_thing(furnisher.surfaces, rng), "object")]
    wanted = str(rng.choice(["object", "screen", "person"], p=[0.92, 0.06, 0.02]))
    small = [
        m
        for m in furnisher.models
        if m.label == wanted
        and m.place in ("small", "lamp")
        and m.size[2] < 0.9
        and m.elevation < 0.5
    ]
    model = small[int(rng.integers(len(small)))] if small else None
    mesh = furnisher.model_mesh(model)
    if mesh is None:
        return None
    low, high = part_bounds([Part(mesh, wanted)])
    return [Part(mesh, wanted)] if float((high - low).min()) > 0 else None
