"""What lights a scene: ceiling lamps, windows by day, the sun."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pag_ros.lab.scenes.mesh import Material, Triple, box, cylinder, triple
from pag_ros.lab.scenes.scene import Light, Lighting, Sun
from pag_ros.lab.scenes.shell import Part, Room

Generator = np.random.Generator
MAX_LIGHTS = 3
LAMPS_ON_SHARE = 0.65
# of the scenes whose lamps are on; by day all have light from the windows
NIGHT_SHARE = 0.2
SUNNY_SHARE = 0.45
# of the sunny ones, those with a hard patch that outshines all else; irradiance over pi
STRONG_SUN_SHARE = 0.4
SUN_POWER, STRONG_SUN_POWER = (1.5, 6.0), (8.0, 25.0)


@dataclass(frozen=True)
class Lamp:
    """A ceiling lamp. light: None where it is off; its power is that of an average evening."""

    parts: tuple[Part, ...]
    light: Light | None


def hang_lamps(rooms: list[Room], rng: Generator) -> list[Lamp]:
    """A lamp for each room, all on or all off."""
    warmth = rng.uniform(0, 1)
    tone = triple(1.0, 1.0 - 0.2 * warmth, 1.0 - 0.5 * warmth)
    lit = bool(rng.random() < LAMPS_ON_SHARE)
    return [_ceiling_lamp(room, tone, lit, rng) for room in rooms]


def random_lighting(room: Room, lamps: list[Lamp], rng: Generator) -> Lighting:
    """The lamps, light from the windows of a room, and what is left everywhere."""
    lights = [_dimmed(lamp.light, float(rng.uniform(0.5, 1.5))) for lamp in lamps if lamp.light]
    is_day = not lights or bool(rng.random() >= NIGHT_SHARE)
    sun = None
    if is_day:
        lights += _window_lights(room, float(rng.uniform(0.3, 2.0)))
        sun = _sun(room, rng) if rng.random() < SUNNY_SHARE else None
    tone = np.array(lamps[0].light.power if lamps[0].light else (1.0, 1.0, 1.0))
    level = rng.uniform(0.1, 0.5) * (0.5 + 0.5 * tone / tone.max())
    return Lighting(tuple(lights[:MAX_LIGHTS]), triple(*level), sun)


def _dimmed(light: Light, share: float) -> Light:
    return Light(
        light.position, light.spread, triple(*np.multiply(light.power, share)), light.facing
    )


def _ceiling_lamp(room: Room, tone: Triple, lit: bool, rng: Generator) -> Lamp:
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
    if not lit:
        return Lamp(tuple(parts), None)
    power = np.array(tone) * 0.8 * (0.6 + 0.15 * (high_x - low_x) * (high_y - low_y))
    place = triple(x, y, room.height - 0.14 - drop)
    return Lamp(tuple(parts), Light(place, (size / 2, size / 2, 0.02), triple(*power)))


def _window_lights(room: Room, day: float) -> list[Light]:
    """A flat light before every window."""
    lights = []
    for opening in room.openings:
        if opening.kind != "window":
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
    strong = rng.random() < STRONG_SUN_SHARE
    power = float(rng.uniform(*(STRONG_SUN_POWER if strong else SUN_POWER)))
    return Sun(triple(*towards), (power, power * 0.93, power * 0.8))
