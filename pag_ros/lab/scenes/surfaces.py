"""Materials of walls, floors, ceilings and plain things: pictures from a folder or made up.

A made-up texture costs nothing to ship and never repeats; a folder of photographs adds realism.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pag_ros.lab.scenes.catalog import read_picture
from pag_ros.lab.scenes.film import GAMMA, TO_BYTES
from pag_ros.lab.scenes.mesh import Image, Material, Triple, triple

Generator = np.random.Generator
NOISE_FIELDS = 24
# doors and cupboards that hardly stand out from the wall, as in many real rooms
LIKE_WALL_SHARE = 0.3

# What a picture of the folder is good for, by its file name, with the metres it spans.
USES = (
    ("wall", r"plaster|drywall|stucco|wallpaper", 2.0),
    ("wall", r"brick", 1.2),
    ("wall", r"cinder|concrete|varnished", 2.0),
    ("floor", r"wood|plank|parquet", 1.6),
    ("floor", r"floor|tile|marble|concrete|felt", 1.2),
    ("ceiling", r"ceiling|white-plaster|white_1|drywall|stucco", 1.2),
    ("plain", r"wood|metal|steel|cardboard|ceramic|clay|marble|felt|brass|plaster|concrete", 0.6),
    ("parcel", r"cardboard|cereal|can|soda|bread|lemon", 0.3),
    ("door", r"^door_(steel|garage)", 1.0),
    ("picture", r"_.*1$|_.*2$", 1.0),
)
NOT_PICTURES = r"concrete|fence|cardboard|logo|slime|white|rock|water|stucco|wood|metal|lava|tiles"
NOT_PICTURES += r"|grass|airduct|ceiling|marble|asphalt|cinder|drywall|brick|door|ch_0x"


@dataclass(frozen=True)
class Texture:
    """One picture and what it may cover; tile is in metres."""

    name: str
    use: str
    tile: float
    pixels: Image


def read_textures(folders: tuple[Path, ...], test: bool) -> list[Texture]:
    """The pictures below some folders; every fifth name is kept for the test split."""
    textures: list[Texture] = []
    paths = [p for f in folders for e in ("png", "jpg") for p in f.rglob(f"*.{e}")]
    for path in sorted(paths, key=lambda p: p.name):
        if (sum(path.stem.encode()) % 5 == 0) != test:
            continue
        uses = [(use, tile) for use, pattern, tile in USES if re.search(pattern, path.stem)]
        if re.search(NOT_PICTURES, path.stem):
            uses = [(use, tile) for use, tile in uses if use != "picture"]
        pixels = read_picture(path.read_bytes(), 512) if uses else None
        if pixels is not None:
            textures.extend(Texture(path.stem, use, tile, pixels) for use, tile in uses)
    return textures


class Surfaces:
    """Draws materials for one scene."""

    def __init__(self, textures: list[Texture], rng: Generator) -> None:
        self._textures = textures
        self._rng = rng
        self._wall_color: Triple | None = None

    def wall(self) -> Material:
        """Paint (mostly pale), wallpaper or a photographed wall."""
        material = self._any_wall()
        self._wall_color = mean_color(material)
        return material

    def _any_wall(self) -> Material:
        kind = self._rng.random()
        if kind < 0.35:
            return self._made(plaster, paint(self._rng), 2.0)
        if kind < 0.5:
            return self._made(wallpaper, paint(self._rng), float(self._rng.uniform(0.5, 1.2)))
        if kind < 0.56:
            return self._made(tiles, paint(self._rng), float(self._rng.uniform(0.8, 1.6)), 0.15)
        return self._photographed("wall", paint(self._rng))

    def floor(self) -> Material:
        """Boards, tiles, carpet or a photographed floor."""
        kind, gloss = self._rng.random(), float(self._rng.choice([0, 0.1, 0.25]))
        if kind < 0.25:
            return self._made(boards, wood(self._rng), float(self._rng.uniform(1.0, 1.8)), gloss)
        if kind < 0.4:
            return self._made(tiles, grey(self._rng), float(self._rng.uniform(1.0, 2.4)), gloss)
        if kind < 0.58:
            return self._made(carpet, any_color(self._rng), 0.7)
        return self._photographed("floor", (1.0, 1.0, 1.0), gloss)

    def ceiling(self) -> Material:
        """White, sometimes tiled."""
        if self._rng.random() < 0.3:
            return self._photographed("ceiling", (1.0, 1.0, 1.0))
        shade = float(self._rng.uniform(0.6, 0.85))
        return self._made(plaster, (shade, shade, shade * 0.97), 2.5)

    def plain(self) -> Material:
        """Something for a box, a shelf or a skirting board."""
        kind, gloss = self._rng.random(), float(self._rng.choice([0, 0.1, 0.3]))
        if kind < 0.4:
            return Material(any_color(self._rng), gloss=gloss)
        if kind < 0.6:
            return self._made(boards, wood(self._rng), float(self._rng.uniform(0.4, 1.2)), gloss)
        if kind < 0.75:
            return self._made(stripes, any_color(self._rng), 0.3, gloss)
        return self._photographed("plain", (1.0, 1.0, 1.0), gloss)

    def cloth(self) -> Material:
        """Curtains, cushions, clothes."""
        maker = (carpet, stripes, wallpaper, plaster)[int(self._rng.integers(4))]
        return self._made(maker, any_color(self._rng), float(self._rng.uniform(0.2, 0.6)))

    def timber(self) -> Material:
        """Wood with a grain, for furniture."""
        gloss = float(self._rng.choice([0, 0.1, 0.2]))
        return self._made(boards, wood(self._rng), float(self._rng.uniform(0.8, 2.0)), gloss)

    def tiling(self) -> Material:
        """Wall tiles."""
        return self._made(tiles, paint(self._rng), float(self._rng.uniform(0.5, 1.2)), 0.2)

    def parcel(self) -> Material:
        """The print of a package or the cover of a book, to be fitted to its faces."""
        if self._rng.random() < 0.4:
            return self._photographed("parcel", (1.0, 1.0, 1.0))
        return Material((1.0, 1.0, 1.0), cover(self._rng, any_color(self._rng)))

    def picture(self) -> Material:
        """A painting, a poster or a made-up print."""
        if self._rng.random() < 0.25:
            return Material((1.0, 1.0, 1.0), cover(self._rng, any_color(self._rng)))
        return self._photographed("picture", (1.0, 1.0, 1.0))

    def screen(self) -> Material:
        """A display that is off (dark, glossy) or shows something."""
        if self._rng.random() < 0.4:
            return Material((0.02, 0.02, 0.025), gloss=0.5)
        picture = cover(self._rng, any_color(self._rng))
        return Material((1.0, 1.0, 1.0), picture, gloss=0.2, emission=0.6)

    def outdoors(self) -> Material:
        """What a window shows: sky above something darker, bright."""
        bright = float(self._rng.choice([0.05, 1.5, 4.0, 8.0], p=[0.1, 0.3, 0.4, 0.2]))
        return Material((1.0, 1.0, 1.0), view_outside(self._rng), gloss=0.1, emission=bright)

    def paint_color(self) -> Triple:
        """A colour for doors, frames and fronts: white, wood, or nearly that of the walls."""
        if self._wall_color is not None and self._rng.random() < LIKE_WALL_SHARE:
            near = self._rng.uniform(0.85, 1.15) * self._rng.uniform(0.97, 1.03, 3)
            return triple(*np.clip(np.multiply(self._wall_color, near), 0.02, 0.95))
        kind = self._rng.random()
        if kind < 0.5:
            shade = float(self._rng.uniform(0.6, 0.85))
            return (shade, shade, shade * float(self._rng.uniform(0.9, 1.0)))
        return wood(self._rng) if kind < 0.85 else any_color(self._rng)

    def _photographed(self, use: str, tint: Triple, gloss: float = 0.0) -> Material:
        choice = [t for t in self._textures if t.use == use]
        if not choice:
            return self._made(plaster, tint, 1.0, gloss)
        texture = choice[int(self._rng.integers(len(choice)))]
        wobble = self._rng.uniform(0.8, 1.05, 3) * self._rng.uniform(0.7, 1.1)
        mix = 0.5 if use == "wall" else 1.0
        color = triple(*(1 - mix + mix * np.array(tint)) * wobble)
        tile = texture.tile * float(self._rng.uniform(0.7, 1.5))
        return Material(color, texture.pixels, tile, gloss)

    def _made(
        self,
        maker: Callable[[Generator, Triple], Image],
        color: Triple,
        tile: float,
        gloss: float = 0.0,
    ) -> Material:
        return Material((1.0, 1.0, 1.0), maker(self._rng, color), tile, gloss)


def mean_color(material: Material) -> Triple:
    """The linear colour of a material, averaged over its texture."""
    if material.texture is None:
        return material.color
    texels = material.texture[::4, ::4].reshape(-1, 3) / 255
    return triple(*(texels**GAMMA).mean(0) * material.color)


# ---- colours (linear) and metals -------------------------------------------------------------


def paint(rng: Generator) -> Triple:
    """Wall paint: pale and warm as a rule, now and then strong."""
    if rng.random() < 0.2:
        return any_color(rng)
    base = rng.uniform(0.45, 0.85) * (1 - rng.uniform(0, 0.25, 3) * rng.random())
    return triple(*base)


def wood(rng: Generator) -> Triple:
    """From pale birch to dark walnut."""
    green, blue = rng.uniform(0.5, 0.75), rng.uniform(0.2, 0.5)
    return triple(*rng.uniform(0.05, 0.5) * np.array([1.0, green, blue]))


def grey(rng: Generator) -> Triple:
    """A nearly neutral stone."""
    value = rng.uniform(0.08, 0.75) * rng.uniform(0.88, 1.0, 3)
    return triple(*value)


def metal(rng: Generator) -> Material:
    """Polished steel, brass or copper."""
    tints = ((0.9, 0.92, 0.95), (0.9, 0.7, 0.35), (0.9, 0.5, 0.35))
    tint = np.array(tints[int(rng.choice(3, p=(0.8, 0.1, 0.1)))])
    return Material(triple(*tint * rng.uniform(0.25, 0.5)), gloss=float(rng.uniform(0.6, 1.0)))


def any_color(rng: Generator) -> Triple:
    """Any hue; dull colours are likelier than pure ones."""
    saturation, value = rng.random() ** 2, rng.uniform(0.04, 0.8)
    pure = rng.random(3)
    color = value * (1 - saturation + saturation * pure / pure.max())
    return triple(*color)


# ---- made-up textures: [H,W,3] sRGB ---------------------------------------------------------


def noise_field(rng: Generator, size: int, octaves: int = 5) -> np.ndarray:
    """[size,size] smooth noise that tiles, zero mean, about unit spread.

    One of a few fields, turned over and shifted: a Fourier transform for every picture of a scene
    takes longer than the pictures.
    """
    field = _noise_fields(size, octaves)[int(rng.integers(NOISE_FIELDS))]
    field = field[:: int(rng.choice([1, -1])), :: int(rng.choice([1, -1]))]
    return np.roll(field, rng.integers(size, size=2), (0, 1))


@lru_cache(maxsize=16)
def _noise_fields(size: int, octaves: int) -> np.ndarray:
    """[NOISE_FIELDS,size,size]: always the same ones."""
    rng = np.random.default_rng([size, octaves])
    return np.stack([_noise(rng, size, octaves) for _ in range(NOISE_FIELDS)]).astype(np.float32)


def _noise(rng: Generator, size: int, octaves: int) -> np.ndarray:
    frequency = np.fft.fftfreq(size) * size
    radius = np.hypot(frequency[:, None], frequency[None, :])
    falloff = np.where((radius > 0) & (radius < 2**octaves * 2), 1 / np.maximum(radius, 1), 0)
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) * falloff
    field = np.real(np.fft.ifft2(spectrum))
    return np.asarray(field / (field.std() + 1e-9))


def _image(color: Triple, modulation: np.ndarray) -> Image:
    """A linear colour times [H,W] or [H,W,3], as sRGB bytes."""
    if modulation.ndim == 2:
        modulation = modulation[..., None]
    linear = np.clip(np.asarray(color, np.float32) * modulation.astype(np.float32), 0, 1)
    return TO_BYTES.take((linear * 4095 + 0.5).astype(np.uint16))


def plaster(rng: Generator, color: Triple) -> Image:
    """Nearly plain, with faint stains and grain."""
    grain = rng.normal(0, rng.uniform(0, 0.05), (128, 128))
    return _image(color, 1 + noise_field(rng, 128) * rng.uniform(0.0, 0.06) + grain)


def carpet(rng: Generator, color: Triple) -> Image:
    """Strong fine grain."""
    return _image(
        color, 1 + rng.normal(0, rng.uniform(0.1, 0.3), (128, 128)) + noise_field(rng, 128) * 0.05
    )


def boards(rng: Generator, color: Triple) -> Image:
    """Eight boards with grain along them and dark joints."""
    size, count = 256, int(rng.choice([4, 6, 8]))
    rows = np.arange(size) * count // size
    shade = rng.uniform(0.7, 1.2, count)[rows][:, None] * np.ones((1, size))
    grain = np.repeat(noise_field(rng, size, 7)[:, ::8], 8, 1) * rng.uniform(0.05, 0.2)
    joint = np.where(np.diff(rows, append=rows[0]) != 0, rng.uniform(0.3, 0.8), 1.0)[:, None]
    for board in range(count):
        shade[rows == board, int(rng.integers(size))] *= 0.5
    return _image(color, np.maximum(shade + grain, 0.05) * joint)


def tiles(rng: Generator, color: Triple) -> Image:
    """A grid of tiles with joints; sometimes a chequerboard."""
    size, count = 256, int(rng.choice([2, 4, 6, 8]))
    count_x = count if rng.random() < 0.7 else max(2, count // 2)
    row, column = np.arange(size) * count // size, np.arange(size) * count_x // size
    shade = rng.uniform(0.88, 1.08, (count, count_x))[row][:, column]
    if rng.random() < 0.25:
        shade = shade * np.where((row[:, None] + column[None]) % 2, rng.uniform(0.2, 0.6), 1)
    joint_value = rng.uniform(0.5, 1.3)
    joints = (np.diff(row, append=row[0]) != 0)[:, None] | (np.diff(column, append=0) != 0)[None]
    return _image(color, np.where(joints, joint_value, shade + noise_field(rng, size) * 0.03))


def wallpaper(rng: Generator, color: Triple) -> Image:
    """Stripes, dots or damask-like blobs."""
    size = 128
    y, x = np.mgrid[:size, :size] * (2 * np.pi / size)
    waves = int(rng.choice([1, 2, 4, 6]))
    pattern = [np.sin(waves * x), np.sin(waves * x) * np.sin(waves * y), noise_field(rng, size, 3)]
    mask = pattern[int(rng.integers(3))] > rng.uniform(-0.3, 0.5)
    other = np.asarray(color) * rng.uniform(0.5, 1.3, 3)
    mixed = np.where(mask[..., None], other, np.asarray(color))
    return _image((1, 1, 1), mixed * (1 + rng.normal(0, 0.02, (size, size, 1))))


def stripes(rng: Generator, color: Triple) -> Image:
    """Cloth-like bands of two colours."""
    band = np.repeat(rng.random(16) < 0.5, 8)
    other = np.asarray(any_color(rng))
    rows = np.where(band[:, None], np.asarray(color), other)
    return _image((1, 1, 1), np.broadcast_to(rows[:, None], (128, 128, 3)))


def cover(rng: Generator, color: Triple) -> Image:
    """A book cover, a poster, a desktop: rectangles and lines on a ground."""
    canvas = np.ones((128, 128, 3)) * color
    for _ in range(int(rng.integers(2, 9))):
        y, x = rng.integers(0, 110, 2)
        height, width = rng.integers(6, 70, 2)
        canvas[y : y + height, x : x + width] = any_color(rng)
    for _ in range(int(rng.integers(0, 8))):
        y, x = rng.integers(0, 120, 2)
        canvas[y : y + 3, x : x + int(rng.integers(10, 80))] = rng.choice([0.02, 0.9])
    return _image((1, 1, 1), canvas * (1 + 0.1 * noise_field(rng, 128)[..., None]))


def view_outside(rng: Generator) -> Image:
    """Sky over trees or houses, blurred and pale as windows are in pictures."""
    size, horizon = 128, int(rng.uniform(20, 110))
    sky = np.linspace(0.65, 1.0, size)[:, None, None] * np.array([0.85, 0.93, 1.0])
    canvas = np.broadcast_to(sky, (size, size, 3)).copy()
    skyline = horizon + np.cumsum(rng.normal(0, 2, size)) + 8 * (rng.random(size) < 0.02).cumsum()
    below = np.arange(size)[:, None] > skyline[None]
    ground = np.asarray(any_color(rng)) * (1 + 0.3 * noise_field(rng, size)[..., None])
    canvas = np.where(below[..., None], np.clip(ground + rng.uniform(0, 0.4), 0, 1), canvas)
    return _image((1, 1, 1), canvas)


def printed_page(rng: Generator) -> Image:
    """Lines of text on paper."""
    canvas = np.full((128, 96, 3), 0.85)
    for y in range(10, 118, int(rng.integers(4, 9))):
        if rng.random() < 0.85:
            canvas[y : y + 2, 10 : int(rng.integers(40, 88))] = 0.12
    if rng.random() < 0.3:
        y, x = rng.integers(10, 60, 2)
        canvas[y : y + 40, 10 : 10 + x] = any_color(rng)
    return _image((1, 1, 1), canvas)


def key_caps(rng: Generator) -> Image:
    """Rows of keys seen from above."""
    light, dark = (0.7, 0.35) if rng.random() < 0.35 else (0.06, 0.015)
    canvas = np.full((48, 128), dark)
    for row in range(5):
        x = 2 + int(rng.integers(0, 4))
        while x < 120:
            width = int(rng.choice([6, 6, 6, 6, 10]))
            canvas[3 + row * 9 : 10 + row * 9, x : x + width] = light
            x += width + 2
    return _image((1, 1, 1), canvas)
