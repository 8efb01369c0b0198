"""What rendering needs, small enough to be carried to another machine.

A quarter of a gigabyte of meshes becomes ten megabytes: fewer faces, half precision, JPEG for
pictures, normals left to be computed anew.

DIR/furniture/NAME.sh3f     the catalogues, of whose members the names alone are left
DIR/meshes/ID.npz           meshes by the name that `MeshLibrary` knows them by
DIR/textures/NAME.jpg       pictures of surfaces
DIR/pictures/               a dataset of `pag_ros data label`
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.rooms import HEADER, INDEX, read_frame, read_index
from pag_ros.lab.scenes.catalog import (
    PROPERTIES,
    MeshLibrary,
    read_catalogue,
    read_picture,
    save_mesh,
)
from pag_ros.lab.scenes.mesh import Image, Material, Mesh, simplified, smooth_normals, triple
from pag_ros.lab.scenes.surfaces import read_textures
from pag_ros.reading import reading
from pag_ros.writing import replacing, write_bytes, write_text

FURNITURE, MESHES, TEXTURES, PICTURES = "furniture", "meshes", "textures", "pictures"
FACES = 3000
MODEL_PIXELS, SURFACE_PIXELS, LABELLED_PIXELS = 128, 256, 448
QUALITY, LABELLED_QUALITY = 75, 84
SHARE_STEP = 32
"""Of a runner-up's share in 255ths: how sure a teacher is need not be known better."""
_MAX_VERTICES = 1 << 16
_MAX_HALF = float(np.finfo(np.float16).max)


def pack(
    furniture: Path, textures: tuple[Path, ...], cache: Path, out: Path, hold_out: tuple[str, ...]
) -> int:
    """Make the folder `out` of what the train split is rendered from; its size in bytes.

    Args:
        furniture, textures, cache, hold_out: as of `render_dataset`.

    Raises:
        DatasetError: a catalogue or a picture cannot be read, or there are none.
    """
    for name in (FURNITURE, MESHES, TEXTURES):
        (out / name).mkdir(parents=True, exist_ok=True)
    archives = [path for path in sorted(furniture.rglob("*.sh3f")) if path.stem not in hold_out]
    if not archives:
        raise DatasetError(f"no .sh3f furniture catalogue to train on below {furniture}")
    library = MeshLibrary(cache)
    for archive in archives:
        _pack_catalogue(archive, out / FURNITURE / archive.name)
        for model in read_catalogue(archive):
            mesh = library.mesh(model)
            with replacing(out / MESHES / library.path(model).name) as file:
                np.savez_compressed(file, **_packed(mesh))
    for texture in read_textures(textures, test=False):
        path = out / TEXTURES / f"{texture.name}.jpg"
        if not path.exists():
            write_bytes(path, _shrunk(texture.pixels, SURFACE_PIXELS), tidy=False)
    return size_of(out)


def pack_pictures(labelled: Path, out: Path) -> int:
    """Make a dataset of labelled pictures small; its size in bytes.

    Raises:
        DatasetError: a file of it cannot be read.
    """
    (out / "frames").mkdir(parents=True, exist_ok=True)
    lines = []
    for frame in read_index(labelled):
        sample = read_frame(frame)
        stem = out / "frames" / frame.id
        color = _shrunk(sample.color, LABELLED_PIXELS, LABELLED_QUALITY)
        write_bytes(Path(f"{stem}.color.jpg"), color, tidy=False)
        height, width = sample.color.shape[:2]
        scale = min(1.0, LABELLED_PIXELS / max(height, width))
        size = round(width * scale), round(height * scale)
        if sample.labels is not None:
            _write_png(Path(f"{stem}.label.png"), sample.labels, size)
        if sample.runner_up is not None:
            coarse = sample.runner_up.copy()
            coarse[..., 1] -= coarse[..., 1] % SHARE_STEP
            empty = np.zeros_like(coarse[..., :1])
            _write_png(Path(f"{stem}.second.png"), np.dstack([empty, coarse[..., ::-1]]), size)
        entry = {"id": frame.id, "fx": frame.focal_px * scale, "truths": list(frame.truths)}
        lines.append(json.dumps(entry) + "\n")
    write_text(out / HEADER, (labelled / HEADER).read_text(encoding="utf-8"))
    write_text(out / INDEX, "".join(lines))
    return size_of(out)


def size_of(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def unpack(packed: Path, cache: Path, workers: int) -> int:
    """Fill a cache of meshes from a packed folder; the number of models.

    Raises:
        DatasetError: a mesh cannot be read.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = sorted((packed / MESHES).glob("*.npz"))
    with get_context("spawn").Pool(workers) as pool:
        pool.starmap(_unpack_mesh, [(path, cache) for path in paths])
    return len(paths)


def _pack_catalogue(archive: Path, out: Path) -> None:
    """The properties and the names of the members: the meshes come from the cache."""
    with (
        reading(archive, "a furniture catalogue (.sh3f, a zip archive)", DatasetError),
        zipfile.ZipFile(archive) as package,
        replacing(out) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        members = {model.member for model in read_catalogue(archive)}
        for name in sorted(members & set(package.namelist())):
            packed.writestr(name, b"")
        packed.writestr(PROPERTIES, package.read(PROPERTIES))


def _packed(mesh: Mesh | None) -> dict[str, Any]:
    """Arrays of a mesh; none where there is no mesh, or one of too many corners."""
    if mesh is None:
        return {}
    mesh = simplified(mesh, FACES)
    if len(mesh.vertices) > _MAX_VERTICES:
        return {}
    textured = any(material.texture is not None for material in mesh.materials)
    arrays: dict[str, Any] = {
        "vertices": mesh.vertices.astype(np.float16),
        "faces": mesh.faces.astype(np.uint16),
        "material": mesh.material.astype(np.uint8),
        "colors": np.array([m.color for m in mesh.materials], np.float16),
        "gloss": np.array([m.gloss for m in mesh.materials], np.float16),
    }
    if textured:
        arrays["uv"] = mesh.uv.clip(-_MAX_HALF, _MAX_HALF).astype(np.float16)
    for number, material in enumerate(mesh.materials):
        if material.texture is not None:
            picture = _shrunk(material.texture, MODEL_PIXELS)
            arrays[f"texture{number}"] = np.frombuffer(picture, np.uint8)
    return arrays


def _unpack_mesh(path: Path, cache: Path) -> None:
    with (
        reading(path, "a packed mesh", DatasetError),
        np.load(path, allow_pickle=False) as stored,
    ):
        mesh = _opened(stored) if "faces" in stored else None
    save_mesh(cache / path.name, mesh)


def _opened(stored: Mapping[str, NDArray[Any]]) -> Mesh:
    colors, gloss = stored["colors"].astype(float), stored["gloss"].astype(float)
    materials = [
        Material(triple(*color), gloss=float(each))
        for color, each in zip(colors, gloss, strict=True)
    ]
    for number, material in enumerate(materials):
        if f"texture{number}" in stored:
            texture = read_picture(stored[f"texture{number}"].tobytes())
            materials[number] = replace(material, texture=texture)
    vertices = stored["vertices"].astype(np.float32)
    faces = stored["faces"].astype(np.int32)
    uv = stored["uv"] if "uv" in stored else np.zeros((len(faces), 3, 2))
    return Mesh(
        vertices=vertices,
        faces=faces,
        uv=uv.astype(np.float32),
        normals=smooth_normals(vertices, faces),
        material=stored["material"].astype(np.int32),
        materials=tuple(materials),
    )


def _write_png(path: Path, truth: NDArray[np.uint8], size: tuple[int, int]) -> None:
    small = cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST)
    _, data = cv2.imencode(".png", small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    write_bytes(path, data.tobytes(), tidy=False)


def _shrunk(picture: Image, largest: int, quality: int = QUALITY) -> bytes:
    """A picture of at most `largest` pixels a side as JPEG."""
    height, width = picture.shape[:2]
    scale = min(1.0, largest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()
