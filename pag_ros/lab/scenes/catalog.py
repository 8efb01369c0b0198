"""Furniture catalogues (.sh3f) as lists of metric, classified models, and a cache of meshes.

An .sh3f file is a zip with a properties file, OBJ models, their materials and pictures. It is
read as data only: nothing is unpacked to disk, member sizes are limited, names are checked.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from pag_ros.checks import is_number
from pag_ros.errors import DatasetError, ImageError
from pag_ros.image.compressed import load_picture, open_picture
from pag_ros.lab.scenes.furniture_classes import classify
from pag_ros.lab.scenes.mesh import (
    MIN_AREA,
    Image,
    Material,
    Mesh,
    simplified,
    smooth_normals,
    triangle_areas,
    triple,
    unit,
)
from pag_ros.lab.scenes.obj import MtlMaterial, parse_mtl, parse_obj
from pag_ros.reading import reading
from pag_ros.runtime.tensorrt.options import say_on_stderr
from pag_ros.writing import replacing

PROPERTIES = "PluginFurnitureCatalog.properties"
MAX_MEMBER_BYTES = 32 << 20
MAX_PICTURE_PIXELS = 4096 * 4096
PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "GIF")
"""What Sweet Home 3D, whose catalogues these are, can show."""
MAX_FACES = 60_000
KEPT_FACES = 6_000
"""A pixel of a picture of 320x240 does not tell a teapot of 30,000 faces from one of 6,000."""
TEXTURE_PIXELS = 256
LARGEST_METRES = 4.0
CACHE_VERSION = 3
MESHES_IN_MEMORY = 1024
"""More than the catalogues hold; a model takes half a megabyte on average."""
_CATALOGUE = "a furniture catalogue (.sh3f, a zip archive)"


@dataclass(frozen=True)
class Model:
    """One catalogue entry. size and elevation in metres; rotation is [9] row-major, y up."""

    group: str
    key: str
    name: str
    category: str
    label: str
    place: str
    size: tuple[float, float, float]
    elevation: float
    rotation: tuple[float, ...]
    member: str
    creator: str
    licence: str
    archive: Path


def read_catalogues(folder: Path) -> list[Model]:
    """All usable models of the .sh3f files in `folder`, in a stable order.

    Raises:
        DatasetError: the folder holds no catalogue, or one that cannot be trusted.
    """
    archives = sorted(folder.rglob("*.sh3f"))
    if not archives:
        raise DatasetError(f"no .sh3f furniture catalogue below {folder}")
    return [model for archive in archives for model in read_catalogue(archive)]


def read_catalogue(archive: Path) -> list[Model]:
    """The models of one .sh3f file that have a class."""
    with reading(archive, _CATALOGUE, DatasetError):
        with _opened(archive) as package:
            text = _read_member(package, PROPERTIES).decode("latin-1")
            members = set(package.namelist())
        properties = _parse_properties(text)
        licence = properties.get("license", "not stated")
        numbers = {int(k.split("#")[1]) for k in properties if re.match(r"name#\d{1,9}$", k)}
        models = (_model(properties, number, archive, licence) for number in sorted(numbers))
        return [model for model in models if model is not None and model.member in members]


def _opened(archive: Path) -> zipfile.ZipFile:
    with reading(archive, _CATALOGUE, DatasetError):
        package = zipfile.ZipFile(archive)
    for info in package.infolist():
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or info.filename.startswith("/"):
            package.close()
            raise DatasetError(f"{archive} holds a member with an unsafe name: {info.filename!r}")
    return package


def _read_member(package: zipfile.ZipFile, member: str) -> bytes:
    """One member's bytes; the size is limited while reading, whatever the header says."""
    what = f"an archive with a readable member {member}"
    archive = Path(str(package.filename))
    with reading(archive, what, DatasetError), package.open(member) as stream:
        data = stream.read(MAX_MEMBER_BYTES + 1)
    if len(data) > MAX_MEMBER_BYTES:
        raise DatasetError(
            f"{package.filename}: {member} is larger than {MAX_MEMBER_BYTES >> 20} MB"
        )
    return data


def _parse_properties(text: str) -> dict[str, str]:
    """A Java properties file (ISO-8859-1, \\uXXXX escapes, # comments) as a dictionary."""
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m.group(1), 16)), text)
    properties = {}
    for line in unescaped.splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.lstrip().startswith(("#", "!")):
            properties[key.strip()] = value.strip().replace("\\", "")
    return properties


def _model(properties: dict[str, str], number: int, archive: Path, licence: str) -> Model | None:
    """Entry `number` of a catalogue, or None where it has no class or no sensible size."""

    def value(field: str, default: str) -> str:
        return properties.get(f"{field}#{number}", default)

    try:
        width, depth, height = (float(value(k, "")) / 100 for k in ("width", "depth", "height"))
        elevation = float(value("elevation", "0")) / 100
        rotation = tuple(float(w) for w in value("modelRotation", "1 0 0 0 1 0 0 0 1").split())
    except ValueError:
        return None
    if not all(map(is_number, (width, depth, height, elevation, *rotation))):
        return None
    label, place = classify(value("category", ""), value("name", ""), (width, depth, height))
    if label is None or len(rotation) != 9:
        return None
    if not 0.0 < min(width, depth, height) <= max(width, depth, height) <= LARGEST_METRES:
        return None
    return Model(
        group=archive.stem,
        key=value("id", f"{archive.stem}#{number}"),
        name=value("name", ""),
        category=value("category", ""),
        label=label,
        place=place,
        size=(width, depth, height),
        elevation=elevation,
        rotation=rotation,
        member=value("model", "").lstrip("/"),
        creator=value("creator", "not stated"),
        licence=licence,
        archive=archive,
    )


# ---- meshes ---------------------------------------------------------------------------------


class MeshLibrary:
    """Meshes of catalogue models, processed once and kept as .npz in a cache folder."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"{cache}: cannot be made ({error.strerror})") from error
        self.mesh = lru_cache(maxsize=MESHES_IN_MEMORY)(self._mesh)

    def _mesh(self, model: Model) -> Mesh | None:
        """The model's mesh, standing centred on z = 0; None if it is empty or too large."""
        path = self.path(model)
        if path.exists():
            try:
                with reading(path, "a stored mesh", DatasetError):
                    return _load(path)
            except DatasetError as error:
                say_on_stderr(f"the stored mesh is not used, it counts as missing: {error}")
        mesh = load_model(model)
        save_mesh(path, mesh)
        return mesh

    def path(self, model: Model) -> Path:
        """Where the model's mesh is kept."""
        text = f"{CACHE_VERSION}|{model.archive.stem}|{model.member}|{model.size}|{model.rotation}"
        return self._cache / (hashlib.sha256(text.encode()).hexdigest()[:24] + ".npz")


def load_model(model: Model) -> Mesh | None:
    """Read, orient and scale a model from its catalogue; None if it is empty or too large."""
    with reading(model.archive, _CATALOGUE, DatasetError), _opened(model.archive) as package:
        text = _read_member(package, model.member).decode("latin-1")
        try:
            parsed = parse_obj(text)
        except ValueError:
            return None
        materials = _materials(package, model.member, parsed.libraries, parsed.material_names)
    visible = np.array([m is not None for m in materials])
    keep = visible[parsed.material] if len(parsed.material) else np.zeros(0, bool)
    if not 0 < keep.sum() <= MAX_FACES:
        return None
    vertices = _metric(parsed.vertices, parsed.faces, model)
    if not np.isfinite(vertices).all():
        return None
    faces, uv, material = parsed.faces[keep], parsed.uv[keep], parsed.material[keep]
    solid = triangle_areas(vertices, faces) > MIN_AREA
    faces, uv, material = faces[solid], uv[solid], material[solid]
    if not len(faces):
        return None
    used, compact = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], compact.reshape(-1, 3).astype(np.int32)
    mesh = Mesh(
        vertices=vertices,
        faces=faces,
        uv=np.nan_to_num(uv),
        normals=smooth_normals(vertices, faces),
        material=material,
        materials=tuple(m or Material() for m in materials),
    )
    return simplified(mesh, KEPT_FACES)


def _metric(vertices: np.ndarray, faces: np.ndarray, model: Model) -> np.ndarray:
    """OBJ coordinates (y up, any unit) to ours (z up, metres), filling the catalogue's size."""
    with np.errstate(all="ignore"):  # numbers beyond all sizes; the result tells
        turned = vertices @ np.array(model.rotation, np.float32).reshape(3, 3).T
        upright = np.stack([turned[:, 0], -turned[:, 2], turned[:, 1]], 1)
        used = upright[np.unique(faces)]
        low, high = used.min(0), used.max(0)
        extent = np.maximum(high - low, 1e-6)
        origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        return np.asarray((upright - origin) * (np.array(model.size) / extent), np.float32)


def _materials(
    package: zipfile.ZipFile, member: str, libraries: list[str], names: list[str]
) -> list[Material | None]:
    """The materials that a model names, None for those that cannot be seen."""
    folder = posixpath.dirname(member)
    members = {name.lower(): name for name in package.namelist()}
    known: dict[str, MtlMaterial] = {}
    for library in libraries:
        path = members.get(posixpath.normpath(posixpath.join(folder, library)).lower())
        if path:
            known.update(parse_mtl(_read_member(package, path).decode("latin-1")))
    return [_material(package, members, folder, known.get(name, _unnamed(name))) for name in names]


def _unnamed(name: str) -> MtlMaterial:
    """A stand-in for a material that no library defines: a grey of its own."""
    grey = 0.35 + hashlib.sha256(name.encode()).digest()[0] / 255 * 0.5
    return MtlMaterial(diffuse=(grey, grey, grey))


def _material(
    package: zipfile.ZipFile, members: dict[str, str], folder: str, source: MtlMaterial
) -> Material | None:
    if source.opacity < 0.05:
        return None
    texture = None
    if source.picture:
        path = members.get(posixpath.normpath(posixpath.join(folder, source.picture)).lower())
        texture = read_picture(_read_member(package, path)) if path else None
    color = np.clip(source.diffuse, 0, 1) ** 2.2
    if texture is not None:
        # exporters leave any value beside a picture: only the picture counts
        color = np.ones(3)
    # glass becomes an opaque pale pane, so that every pixel has one depth
    color = color * source.opacity + np.array([0.42, 0.5, 0.5]) * (1 - source.opacity)
    gloss = float(np.clip(source.specular, 0, 1)) * 0.5 + (0.4 if source.opacity < 0.7 else 0.0)
    return Material(triple(*np.clip(color, 0.02, 0.95)), texture, gloss=gloss)


def read_picture(data: bytes, largest: int = TEXTURE_PIXELS) -> Image | None:
    """Decode a picture to [H,W,3] sRGB of at most `largest` pixels a side; None if it is bad."""
    try:
        opened = load_picture(open_picture(data, PICTURE_FORMATS, MAX_PICTURE_PIXELS))
        ground = PillowImage.new("RGBA", opened.size, (200, 200, 200, 255))
        picture = PillowImage.alpha_composite(ground, opened.convert("RGBA")).convert("RGB")
    except (ImageError, ValueError):  # ValueError: of a kind that has no RGBA
        return None
    picture.thumbnail((largest, largest), PillowImage.Resampling.BOX)
    return np.asarray(picture, np.uint8)


def save_mesh(path: Path, mesh: Mesh | None) -> None:
    """Write a mesh, or the fact that there is none."""
    arrays: dict[str, Any] = {}
    if mesh is not None:
        arrays = {
            "vertices": mesh.vertices,
            "faces": mesh.faces,
            "uv": mesh.uv.astype(np.float32),
            "normals": np.round(mesh.normals * 32767).astype(np.int16),
            "material": mesh.material.astype(np.int16),
            "colors": np.array([m.color for m in mesh.materials], np.float32),
            "gloss": np.array([m.gloss for m in mesh.materials], np.float32),
        }
        for number, material in enumerate(mesh.materials):
            if material.texture is not None:
                arrays[f"texture{number}"] = material.texture
    with replacing(path) as file:
        np.savez(file, **arrays)  # compressed, it would take three times as long to read


def _load(path: Path) -> Mesh | None:
    with np.load(path, allow_pickle=False) as stored:
        if "faces" not in stored:
            return None
        materials = tuple(
            Material(
                color=triple(*color),
                texture=stored.get(f"texture{k}"),
                gloss=float(gloss),
            )
            for k, (color, gloss) in enumerate(zip(stored["colors"], stored["gloss"], strict=True))
        )
        vertices, faces = stored["vertices"], stored["faces"]
        if faces.min(initial=0) < 0 or faces.max(initial=0) >= len(vertices):
            raise ValueError("a face of vertices that it has not")
        return Mesh(
            vertices=vertices,
            faces=faces,
            uv=stored["uv"],
            normals=unit(stored["normals"].astype(np.float32)),
            material=stored["material"].astype(np.int32),
            materials=materials,
        )
