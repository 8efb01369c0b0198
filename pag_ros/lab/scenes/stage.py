"""One complete scene: rooms, furniture, small things and light, from a seed and a number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pag_ros.errors import DatasetError
from pag_ros.lab.scenes.catalog import MeshLibrary, Model, read_catalogues
from pag_ros.lab.scenes.dropping import Dropper
from pag_ros.lab.scenes.furnish import Furnisher, Placed
from pag_ros.lab.scenes.mesh import Material, box, cylinder, triple
from pag_ros.lab.scenes.rooms import random_rooms
from pag_ros.lab.scenes.scene import Light, Scene, Sun, flatten
from pag_ros.lab.scenes.shell import Part, Room, build_shell
from pag_ros.lab.scenes.surfaces import Surfaces, Texture, read_textures
from pag_ros.lab.scenes.tracing import Tracer

Generator = np.random.Generator
MAX_LIGHTS = 4
SECOND_ROOM_FACES = 80_000


@dataclass(frozen=True)
class RawMaterial:
    """The models and pictures of one split."""

    models: list[Model]
    textures: list[Texture]
    library: MeshLibrary


@dataclass(frozen=True)
class Stage:
    """A furnished scene, ready to be looked at."""

    rooms: list[Room]
    placed: list[Placed]
    tracer: Tracer


@lru_cache(maxsize=2)
def load_material(
    furniture: Path,
    textures: tuple[Path, ...],
    cache: Path,
    split: str,
    hold_out: tuple[str, ...],
) -> RawMaterial:
    """The test split has the held-out furniture groups, the train split all others."""
    test = split == "test"
    models = [m for m in read_catalogues(furniture) if (m.group in hold_out) == test]
    if not models:
        raise DatasetError(f"no furniture for split {split!r}: is --hold-out {hold_out} right?")
    return RawMaterial(models, read_textures(textures, test), MeshLibrary(cache))


def describe_material(material: RawMaterial) -> dict[str, object]:
    """Whose work the frames show: groups, licences and creators, names of pictures."""
    groups = {m.group: m.licence for m in material.models}
    furniture = [
        {
            "group": group,
            "licence": licence,
            "creators": sorted({m.creator for m in material.models if m.group == group}),
        }
        for group, licence in sorted(groups.items())
    ]
    return {"furniture": furniture, "textures": sorted({t.name for t in material.textures})}


def build_stage(
    material: RawMaterial, seed: int, scene: int, split: str, theme: str | None = None
) -> Stage:
    """Scene number `scene`: depends on nothing but the material, the seed and the number."""
    rng = np.random.default_rng([seed, scene, int(split == "test")])
    surfaces = Surfaces(material.textures, rng)
    rooms = random_rooms(rng, theme)
    parts: list[Part] = []
    placed: list[Placed] = []
    for number, room in enumerate(rooms):
        shell = build_shell(room, surfaces, rng)
        furnisher = Furnisher(room, material.models, material.library, surfaces, rng)
        if number:
            furnisher.face_budget = SECOND_ROOM_FACES
        furnisher.furnish(1.0 if number == 0 else 0.6)
        Dropper.over(furnisher, shell).scatter(int(rng.integers(6, 60 if number == 0 else 15)))
        parts += shell + [part for piece in furnisher.placed for part in piece.parts]
        placed += furnisher.placed
    return Stage(rooms, placed, Tracer(_lit(rooms, parts, rng)))


def _lit(rooms: list[Room], parts: list[Part], rng: Generator) -> Scene:
    """The scene with lamps at the ceilings, light from windows and what is left everywhere."""
    warmth = rng.uniform(0, 1)
    tone = np.array([1.0, 1.0 - 0.2 * warmth, 1.0 - 0.5 * warmth])
    lamps_on = bool(rng.random() < 0.65)
    lights: list[Light] = []
    lamps: list[Part] = []
    for room in rooms:
        light, body = _ceiling_lamp(room, tone, lamps_on, rng)
        lights += [light] if lamps_on else []
        lamps += body
    day = float(rng.choice([0.0, 1.0], p=[0.2 if lamps_on else 0.0, 0.8 if lamps_on else 1.0]))
    lights += _window_lights(rooms[0], day * float(rng.uniform(0.3, 2.0)))
    sun = _sun(rooms[0], rng) if day and rng.random() < 0.35 else None
    level = rng.uniform(0.1, 0.5) * (0.5 + 0.5 * tone)
    return flatten(parts + lamps, lights[:MAX_LIGHTS], triple(*level), sun)


def _ceiling_lamp(
    room: Room, tone: np.ndarray, lit: bool, rng: Generator
) -> tuple[Light, list[Part]]:
    """A panel or a round lamp, at the ceiling or on a cord."""
    low_x, low_y, high_x, high_y = room.bounds
    x, y = rng.uniform(low_x + 0.6, high_x - 0.6), rng.uniform(low_y + 0.6, high_y - 0.6)
    if not room.contains(x, y):
        x, y = (low_x + high_x) / 3, (low_y + high_y) / 3
    size = float(rng.uniform(0.15, 0.6))
    drop = float(rng.choice([0.0, rng.uniform(0.2, 0.7)]))
    look = Material((1.0, 1.0, 1.0), emission=6.0 if lit else 0.2)
    panel = rng.random() < 0.5
    body = box((size, size, 0.05), look) if panel else cylinder(size / 2, 0.08, look)
    parts = [Part(body.moved(triple(x, y, room.height - 0.08 - drop)), "object")]
    if drop:
        cord = cylinder(0.006, drop, Material((0.05, 0.05, 0.05)), 6)
        parts.append(Part(cord.moved(triple(x, y, room.height - drop)), "object"))
    area = (high_x - low_x) * (high_y - low_y)
    power = tone * rng.uniform(0.4, 1.2) * (0.6 + 0.15 * area)
    light = Light(
        triple(x, y, room.height - 0.14 - drop), (size / 2, size / 2, 0.02), triple(*power)
    )
    return light, parts


def _window_lights(room: Room, day: float) -> list[Light]:
    """A flat light before every window."""
    lights = []
    for opening in room.openings:
        if opening.kind != "window" or day == 0:
            continue
        origin, along, normal, _ = room.edge(opening.edge)
        middle = origin + along * (opening.start + opening.end) / 2 + normal * 0.02
        span = np.abs(along) * opening.width / 2
        height = opening.top - opening.bottom
        power = day * opening.width * height
        lights.append(
            Light(
                triple(*middle, (opening.bottom + opening.top) / 2),
                triple(*span, height / 2),
                (0.9 * power, 0.97 * power, 1.05 * power),
                triple(*normal, 0.0),
            )
        )
    return lights


def _sun(room: Room, rng: Generator) -> Sun | None:
    """A sun that shines in through one of the windows."""
    windows = [o for o in room.openings if o.kind == "window"]
    if not windows:
        return None
    _, along, normal, _ = room.edge(windows[int(rng.integers(len(windows)))].edge)
    flat = -normal + along * rng.uniform(-1.2, 1.2)
    towards = np.array([*(flat / np.linalg.norm(flat)), np.tan(np.radians(rng.uniform(15, 55)))])
    towards /= np.linalg.norm(towards)
    power = float(rng.uniform(1.5, 6.0))
    return Sun(triple(*towards), (power, power * 0.93, power * 0.8))
