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
from pag_ros.lab.scenes.lamps import Lamp, hang_lamps, random_lighting
from pag_ros.lab.scenes.rooms import random_rooms
from pag_ros.lab.scenes.scene import flatten
from pag_ros.lab.scenes.shell import Part, Room, build_shell
from pag_ros.lab.scenes.surfaces import Surfaces, Texture, read_textures
from pag_ros.lab.scenes.tracing import Tracer

Generator = np.random.Generator
SECOND_ROOM_FACES = 40_000


@dataclass(frozen=True)
class RawMaterial:
    """The models and pictures of one split."""

    models: list[Model]
    textures: list[Texture]
    library: MeshLibrary


@dataclass(frozen=True)
class Stage:
    """A furnished scene, ready to be looked at in any light."""

    rooms: list[Room]
    placed: list[Placed]
    lamps: list[Lamp]
    tracer: Tracer

    def relit(self, rng: Generator) -> Tracer:
        """The scene at another time of day."""
        return self.tracer.relit(random_lighting(self.rooms[0], self.lamps, rng))


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
    lamps = hang_lamps(rooms, rng)
    parts += [part for lamp in lamps for part in lamp.parts]
    lighting = random_lighting(rooms[0], lamps, rng)
    return Stage(rooms, placed, lamps, Tracer(flatten(parts, lighting)))
