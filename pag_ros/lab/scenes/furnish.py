"""Putting furniture into rooms: against walls, chairs to tables, pictures and shelves on walls."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from pag_ros.lab.scenes import fittings
from pag_ros.lab.scenes.catalog import MeshLibrary, Model
from pag_ros.lab.scenes.mesh import Material, Mesh, Triple, box, extent, joined, triple, turned
from pag_ros.lab.scenes.shell import Part, Room
from pag_ros.lab.scenes.surfaces import Surfaces, any_color

Generator = np.random.Generator
Area = tuple[float, float, float, float]
FACE_BUDGET = 120_000
# of the pictures, those without a frame: nothing but their print tells them from the wall
POSTER_SHARE = 0.4
# shares by which size and proportions of things vary: 15 % in all
RESIZED, STRETCHED = 0.1, 0.045


@dataclass(frozen=True)
class Wish:
    """How many models of a kind a theme wants. name matches "category/name", lower case."""

    label: str
    name: str
    low: int
    high: int


ANYTHING = Wish("", "", 1, 1)
PERSON = Wish("person", "^characters/(?!lying)", 1, 1)
CHAIRS = Wish("chair", "^(?!exterior)", 1, 3)
PLANTS = Wish("object", "plant|ficus|yucca|bamboo|cactus|tree", 0, 2)
THEME_WISHES: dict[str, tuple[Wish, ...]] = {
    "living": (
        Wish("sofa", "", 1, 3),
        Wish("table", "coffee|glass|living", 1, 2),
        Wish("cabinet", "living|office", 1, 3),
        Wish("chair", "living", 0, 3),
        Wish("object", "piano|guitar|fan|speaker", 0, 1),
        PLANTS,
    ),
    "bedroom": (
        Wish("bed", "", 1, 2),
        Wish("cabinet", "bedroom|living", 1, 4),
        Wish("chair", "living|office", 0, 2),
        Wish("table", "desk|dressing|office", 0, 1),
        Wish("object", "bedroom", 0, 3),
        PLANTS,
    ),
    "kitchen": (
        Wish("cabinet", "kitchen", 2, 5),
        Wish("fixture", "kitchen", 2, 5),
        Wish("table", "living|kitchen|office", 0, 1),
        Wish("chair", "kitchen|living", 1, 4),
        Wish("object", "bin|trash|broom", 0, 2),
    ),
    "bathroom": (
        Wish("fixture", "bathroom|washing|radiator", 2, 5),
        Wish("cabinet", "", 0, 1),
        Wish("object", "bathroom|basket", 0, 2),
    ),
    "office": (
        Wish("table", "desk|office", 1, 4),
        Wish("chair", "office|living", 1, 4),
        Wish("cabinet", "office|bookcase|shelves|filing", 1, 4),
        Wish("object", "white board|dustbin|suitcase|backpack", 0, 2),
        Wish("fixture", "cooler|radiator", 0, 1),
        PLANTS,
    ),
    "corridor": (
        Wish("cabinet", "", 0, 2),
        Wish("fixture", "radiator|cooler", 0, 1),
        Wish("chair", "", 0, 2),
        Wish("object", "bike|stroller|umbrella|ladder|vase|box", 0, 3),
    ),
    "lab": (
        Wish("table", "table|desk|bench", 1, 4),
        Wish("chair", "", 1, 4),
        Wish("cabinet", "", 0, 3),
        Wish("object", "ladder|box|crate|pallet|fan|bike|cone", 1, 4),
    ),
    "dining": (
        Wish("table", "(living|office).*table", 1, 2),
        Wish("chair", "living|kitchen", 3, 8),
        Wish("cabinet", "living", 1, 2),
        PLANTS,
    ),
    "hall": (
        Wish("chair", "", 2, 10),
        Wish("table", "", 0, 4),
        Wish("sofa", "", 0, 3),
        Wish("cabinet", "", 0, 3),
        Wish("object", "plant|trash|vase|bike|white board|tree", 0, 4),
    ),
    "store": (
        Wish("cabinet", "", 1, 5),
        Wish("object", "box|bike|ladder|pallet|crate|suitcase|trash|cone", 2, 7),
        Wish("fixture", "", 0, 2),
    ),
}


# Made-up pieces per theme: maker and the most of them in a room.
THEME_FITTINGS: dict[str, tuple[tuple[str, int], ...]] = {
    "living": (("bookshelf", 2), ("simple_table", 1)),
    "bedroom": (("bookshelf", 1), ("simple_table", 1)),
    "kitchen": (("simple_table", 1), ("kitchen_row", 2)),
    "bathroom": (),
    "office": (("simple_table", 3), ("bookshelf", 3)),
    "corridor": (("bookshelf", 1), ("pile", 2)),
    "lab": (("simple_table", 3), ("pile", 2), ("bookshelf", 1)),
    "dining": (("simple_table", 1), ("kitchen_row", 1)),
    "hall": (("column", 3), ("simple_table", 4)),
    "store": (("bookshelf", 4), ("pile", 4)),
}


@dataclass(frozen=True)
class Placed:
    """A piece in the room. footprint: low x, low y, high x, high y; bottom, top; metres."""

    label: str
    parts: tuple[Part, ...]
    footprint: Area
    bottom: float
    top: float
    yaw: float


def resized(mesh: Mesh, rng: Generator) -> Mesh:
    """The mesh in another size: a little in each direction, RESIZED at most in all."""
    size = rng.uniform(1 - RESIZED, 1 + RESIZED)
    return mesh.scaled(triple(*(size * rng.uniform(1 - STRETCHED, 1 + STRETCHED, 3))))


@dataclass(frozen=True)
class Space:
    """What a piece takes up. footprint: low x, low y, high x, high y; bottom, top; metres."""

    footprint: Area
    bottom: float
    top: float


def space_of(parts: list[Part], position: Triple, yaw: float) -> Space:
    """What parts would take up somewhere: much cheaper than to move them there."""
    bounds = np.stack([extent(turned(p.mesh.vertices, yaw)) for p in parts])
    low, high = bounds[:, 0].min(0) + position, bounds[:, 1].max(0) + position
    area = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Space(area, float(low[2]), float(high[2]))


def moved_piece(label: str, parts: list[Part], position: Triple, yaw: float) -> Placed:
    """Parts put somewhere as one piece."""
    moved = tuple(replace(p, mesh=p.mesh.moved(position, yaw)) for p in parts)
    space = space_of(parts, position, yaw)
    return Placed(label, moved, space.footprint, space.bottom, space.top, yaw)


def part_bounds(parts: list[Part] | tuple[Part, ...]) -> np.ndarray:
    """[2,3]: lowest and highest corner of several parts."""
    bounds = np.stack([p.mesh.bounds for p in parts])
    return np.stack([bounds[:, 0].min(0), bounds[:, 1].max(0)])


def overlap(a: Area, b: Area) -> bool:
    """Whether two footprints share some floor."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@dataclass
class Furnisher:
    """Fills one room; keeps what it placed."""

    room: Room
    models: list[Model]
    library: MeshLibrary
    surfaces: Surfaces
    rng: Generator
    face_budget: int = FACE_BUDGET
    placed: list[Placed] = field(default_factory=list)
    keep_free: list[Area] = field(default_factory=list)

    def furnish(self, density: float = 1.0) -> list[Placed]:
        """Furniture of the room's theme, then persons and what hangs on walls."""
        self._keep_doors_free()
        if self.room.theme in ("kitchen", "dining") and self.rng.random() < 0.8:
            self._fit("kitchen_row")
        for wish in THEME_WISHES[self.room.theme]:
            for _ in range(round(float(self.rng.uniform(wish.low, wish.high)) * density)):
                self._grant(wish)
        for name, most in THEME_FITTINGS[self.room.theme]:
            for _ in range(round(float(self.rng.uniform(0, most)) * density)):
                self._fit(name)
        for _ in range(int(self.rng.integers(0, 3))):
            self._grant(CHAIRS if self.rng.random() < 0.5 else ANYTHING)
        if self.rng.random() < 0.4:
            self._lay_rug()
        for _ in range(int(self.rng.choice([0, 1, 2, 3], p=[0.6, 0.25, 0.1, 0.05]))):
            self._grant(PERSON)
        self._hang_curtains()
        for _ in range(int(self.rng.integers(0, 6))):
            self._hang_picture()
        for _ in range(int(self.rng.integers(0, 4))):
            self._hang_model()
        for _ in range(int(self.rng.integers(0, 3))):
            self._hang_shelf()
        return self.placed

    # ---- large pieces ----

    def _keep_doors_free(self) -> None:
        """Nothing stands in the 0.8 m before a door."""
        for opening in self.room.openings:
            if opening.bottom < 0.1 and opening.kind != "window":
                origin, along, normal, _ = self.room.edge(opening.edge)
                sides = (opening.start, opening.end)
                points = np.array(
                    [origin + along * s + normal * d for s in sides for d in (-0.1, 0.8)]
                )
                (low_x, low_y), (high_x, high_y) = points.min(0), points.max(0)
                self.keep_free.append((float(low_x), float(low_y), float(high_x), float(high_y)))

    def _grant(self, wish: Wish) -> None:
        """Place one model that answers a wish, if there is one and a place for it."""
        model = self._choose(wish)
        mesh = self.model_mesh(model)
        if model is None or mesh is None:
            return
        if model.label == "table":
            mesh = self._raised(mesh)
        parts = [Part(mesh, model.label)]
        if model.place == "seated":
            self._seat_person(parts)
        elif model.label == "chair" and self._seat_at_table(parts):
            return
        elif self.rng.random() < self._wall_share(model):
            self._against_wall(model.label, parts)
        else:
            self._anywhere(model.label, parts)

    def _raised(self, table: Mesh) -> Mesh:
        """A table, now and then on longer or shorter legs."""
        tall = float(table.bounds[1, 2])
        wanted = fittings.surface_height(self.rng, (tall, tall))
        return table.scaled((1.0, 1.0, wanted / tall))

    def _wall_share(self, model: Model) -> float:
        """How often a model stands with its back to a wall."""
        if model.place == "wall":
            return 0.93
        return 0.6 if model.label == "table" and self.room.theme == "office" else 0.3

    def _fit(self, name: str) -> None:
        """Place one made-up piece."""
        surfaces, rng = self.surfaces, self.rng
        if name == "column":
            self._anywhere("wall", fittings.column(surfaces, rng, self.room.height))
        elif name == "kitchen_row":
            low_x, low_y, high_x, high_y = self.room.bounds
            longest = min(max(high_x - low_x, high_y - low_y) - 0.3, 4.5)
            row = fittings.kitchen_row(surfaces, rng, float(rng.uniform(1.2, max(longest, 1.3))))
            self._against_wall("cabinet", row)
        elif name == "simple_table":
            parts = fittings.simple_table(surfaces, rng)
            if rng.random() < 0.5:
                self._against_wall("table", parts)
            else:
                self._anywhere("table", parts)
        else:
            label = "cabinet" if name == "bookshelf" else "object"
            makers: dict[str, Callable[[Surfaces, Generator], list[Part]]] = {
                "bookshelf": fittings.bookshelf,
                "pile": fittings.pile,
            }
            self._against_wall(label, makers[name](surfaces, rng))

    def _choose(self, wish: Wish) -> Model | None:
        fitting = [
            m
            for m in self.models
            if (m.label == wish.label or not wish.label)
            and m.place in ("wall", "free", "seated")
            and (wish.label == "person" or m.label != "person")
            and re.search(wish.name, f"{m.category}/{m.name}".lower())
        ]
        return fitting[int(self.rng.integers(len(fitting)))] if fitting else None

    def model_mesh(self, model: Model | None) -> Mesh | None:
        """The model's mesh, a little resized and recoloured, if the budget of faces allows it."""
        mesh = self.library.mesh(model) if model is not None else None
        if model is None or mesh is None or len(mesh.faces) > self.face_budget:
            return None
        self.face_budget -= len(mesh.faces)
        if model.label == "person":
            return mesh
        return self._recoloured(resized(mesh, self.rng))

    def _recoloured(self, mesh: Mesh) -> Mesh:
        """The mesh in other colours: tinted as a whole, or some materials replaced."""
        kind = self.rng.random()
        if kind < 0.4:
            return mesh
        if kind < 0.75:
            light = self.rng.uniform(0.6, 1.3)
            return mesh.tinted(triple(*light * self.rng.uniform(0.8, 1.15, 3)))
        materials = list(mesh.materials)
        for index, old in enumerate(materials):
            chance = self.rng.random()
            if chance < 0.3:
                materials[index] = replace(old, color=any_color(self.rng), texture=None)
            elif chance < 0.5:
                # model uv has no scale of its own: let the texture span it once
                materials[index] = replace(self.surfaces.plain(), tile=1.0)
        return replace(mesh, materials=tuple(materials))

    def _against_wall(self, label: str, parts: list[Part]) -> bool:
        """Try places with the piece's back to a wall."""
        low, high = part_bounds(parts)
        width, depth = float(high[0] - low[0]), float(high[1] - low[1])
        for _ in range(14):
            index = int(self.rng.integers(len(self.room.corners)))
            length = self.room.edge(index)[3]
            if length < width + 0.1:
                continue
            offset = float(self.rng.uniform(width / 2, length - width / 2))
            if self.rng.random() < 0.3:
                offset = width / 2 + 0.02
            gap = depth / 2 + float(self.rng.uniform(0.015, 0.06))
            if not self._hides_opening(index, offset, width, 0.0, float(high[2])):
                centre, yaw = self._at_wall(index, offset, gap)
                if self._settle(label, parts, centre, yaw):
                    return True
        return False

    def _at_wall(self, edge: int, offset: float, gap: float) -> tuple[np.ndarray, float]:
        """The place [2] `offset` along a wall and `gap` before it, and the yaw that faces it."""
        origin, along, normal, _ = self.room.edge(edge)
        yaw = float(np.arctan2(normal[0], -normal[1]))
        return origin + along * offset + normal * gap, yaw

    def _hides_opening(
        self, edge: int, offset: float, width: float, bottom: float, top: float
    ) -> bool:
        """Whether something at a wall would stand before a door or a good part of a window."""
        start, end = offset - width / 2, offset + width / 2
        return any(
            o.edge == edge
            and o.start < end
            and start < o.end
            and top > o.bottom + 0.3
            and bottom < o.top
            for o in self.room.openings
        )

    def _anywhere(self, label: str, parts: list[Part]) -> bool:
        """Try places all over the room, mostly in line with the walls."""
        low_x, low_y, high_x, high_y = self.room.bounds
        for _ in range(14):
            centre = np.array([self.rng.uniform(low_x, high_x), self.rng.uniform(low_y, high_y)])
            yaw = float(self.rng.integers(4)) * np.pi / 2
            if label not in ("bed", "cabinet", "table", "wall") or self.rng.random() < 0.2:
                yaw += float(self.rng.normal(0, 0.5))
            if self._settle(label, parts, centre, yaw):
                return True
        return False

    def _seat_person(self, parts: list[Part]) -> None:
        """Sit a person down on a chair that is there, or leave it out."""
        chairs = [p for p in self.placed if p.label in ("chair", "sofa") and p.top > 0.6]
        if not chairs:
            return
        chair = chairs[int(self.rng.integers(len(chairs)))]
        low_x, low_y, high_x, high_y = chair.footprint
        front = np.array([np.sin(chair.yaw), -np.cos(chair.yaw)])
        centre = np.array([low_x + high_x, low_y + high_y]) / 2 + front * 0.12
        self.placed.append(moved_piece("person", parts, triple(*centre, 0.0), chair.yaw))

    def _seat_at_table(self, parts: list[Part]) -> bool:
        """Push a chair to a free side of a table, facing it."""
        tables = [p for p in self.placed if p.label == "table" and p.top > 0.55]
        if not tables or self.rng.random() < 0.15:
            return False
        low, high = part_bounds(parts)
        depth = float(high[1] - low[1])
        for _ in range(8):
            table = tables[int(self.rng.integers(len(tables)))]
            low_x, low_y, high_x, high_y = table.footprint
            side = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)][int(self.rng.integers(4))])
            middle = np.array([(low_x + high_x) / 2, (low_y + high_y) / 2])
            half = np.array([(high_x - low_x) / 2, (high_y - low_y) / 2])
            slide = np.array([-side[1], side[0]]) * half * self.rng.uniform(-0.7, 0.7)
            centre = middle + side * (half + depth * self.rng.uniform(0.05, 0.6)) + slide
            # the front of the chair looks against `side`
            yaw = float(np.arctan2(-side[0], side[1]) + self.rng.normal(0, 0.3))
            if self._settle("chair", parts, centre, yaw, ignore=table):
                return True
        return False

    def _settle(
        self,
        label: str,
        parts: list[Part],
        centre: np.ndarray,
        yaw: float,
        height: float = 0.0,
        ignore: Placed | None = None,
    ) -> bool:
        """Put a piece there unless it leaves the room or runs into something."""
        position = triple(*centre, height)
        space = space_of(parts, position, yaw)
        if not self.inside(space.footprint) or space.top > self.room.height - 0.02:
            return False
        if height < 2.0 and any(overlap(space.footprint, zone) for zone in self.keep_free):
            return False
        for other in self.placed:
            apart = other.top < space.bottom + 1e-3 or other.bottom > space.top - 1e-3
            if other is not ignore and not apart and overlap(space.footprint, other.footprint):
                return False
        self.placed.append(moved_piece(label, parts, position, yaw))
        return True

    def inside(self, area: Area) -> bool:
        """Whether a footprint lies in the room, also where the room has a notch."""
        low_x, low_y, high_x, high_y = area
        corners = [(low_x, low_y), (high_x, low_y), (high_x, high_y), (low_x, high_y)]
        if not all(self.room.contains(x, y) for x, y in corners):
            return False
        return not any(low_x < x < high_x and low_y < y < high_y for x, y in self.room.corners)

    # ---- flat and hanging things ----

    def _lay_rug(self) -> None:
        """A carpet of 4-12 mm somewhere on the floor; furniture may stand on it."""
        width, depth, thick = self.rng.uniform([0.7, 0.7, 0.004], [2.4, 2.4, 0.012])
        low_x, low_y, high_x, high_y = self.room.bounds
        x, y = self.rng.uniform([low_x, low_y], [high_x, high_y])
        turn = float(self.rng.choice([0.0, 0.0, self.rng.uniform(0, 3)]))
        cloth = self.surfaces.cloth() if self.rng.random() < 0.6 else self.surfaces.plain()
        rug = [Part(box(triple(width, depth, thick), cloth), "object")]
        piece = moved_piece("object", rug, triple(x, y, 0.0), turn)
        if self.inside(piece.footprint):
            # no height of its own, so that nothing runs into it
            self.placed.append(replace(piece, top=0.0005))

    def _hang_curtains(self) -> None:
        """One or two lengths of cloth beside some windows."""
        for opening in self.room.openings:
            if opening.kind != "window" or self.rng.random() < 0.55:
                continue
            top = min(opening.top + 0.15, self.room.height - 0.05)
            bottom = float(self.rng.choice([0.03, max(opening.bottom - 0.2, 0.03)]))
            for side in (opening.start, opening.end):
                width = float(self.rng.uniform(0.2, 0.6))
                cloth = fittings.curtain(self.surfaces, self.rng, width, top - bottom)
                centre, yaw = self._at_wall(opening.edge, side, 0.09)
                self._settle("object", cloth, centre, yaw, bottom)

    def _hang_picture(self) -> None:
        """A poster, a framed picture or a mirror (matt: a real one has no depth of its own)."""
        width, height = (float(v) for v in self.rng.uniform(0.2, 1.2, 2))
        if self.rng.random() < POSTER_SHARE:
            sheet = box((width, 0.002, height), self.surfaces.picture(), True)
            self._hang([Part(sheet, "object")], "object", float(self.rng.uniform(0.6, 1.6)))
            return
        thick = float(self.rng.uniform(0.008, 0.04))
        bottom = float(self.rng.uniform(0.9, 1.6))
        face = Material((0.35, 0.37, 0.38), gloss=0.3)
        if self.rng.random() > 0.1:
            face = self.surfaces.picture()
        picture = box((width, thick, height), face, True).moved((0.0, 0.0, 0.02))
        rim = box((width + 0.04, thick * 0.8, height + 0.04), self.surfaces.plain())
        self._hang([Part(joined([picture, rim]), "object")], "object", bottom)

    def _hang_model(self) -> None:
        """A hung model of the catalogue at its own elevation."""
        hung = [m for m in self.models if m.place == "hung"]
        model = hung[int(self.rng.integers(len(hung)))] if hung else None
        mesh = self.model_mesh(model)
        if model is not None and mesh is not None:
            self._hang([Part(mesh, model.label)], model.label, max(model.elevation, 0.6))

    def _hang_shelf(self) -> None:
        height = float(self.rng.uniform(0.9, 1.9))
        self._hang(fittings.wall_shelf(self.surfaces, self.rng), "cabinet", height)

    def _hang(self, parts: list[Part], label: str, bottom: float) -> None:
        """Fix a piece to a random wall where it hides neither door nor window."""
        low, high = part_bounds(parts)
        width, depth = float(high[0] - low[0]), float(high[1] - low[1])
        top = bottom + float(high[2])
        for _ in range(4):
            index = int(self.rng.integers(len(self.room.corners)))
            length = self.room.edge(index)[3]
            if length < width + 0.2:
                continue
            offset = float(self.rng.uniform(width / 2 + 0.05, length - width / 2 - 0.05))
            if not self._hides_opening(index, offset, width + 0.2, bottom, top):
                centre, yaw = self._at_wall(index, offset, depth / 2 + 0.003)
                if self._settle(label, parts, centre, yaw, bottom):
                    return
