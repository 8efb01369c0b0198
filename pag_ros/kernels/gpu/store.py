"""Compiled kernels of a model in one file beside it. Reading needs no Triton, only Python.

The file is a zip archive: `index.json` lists the kernels, and for each of them there are
NAME.smCC.mpN.ptx and NAME.smCC.mpN.cubin, made for a chip of N multiprocessors. Nothing in it is
executed on reading.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import Spec
from pag_ros.kernels.gpu.tiles import nearest_chip
from pag_ros.reading import reading
from pag_ros.writing import replacing

FORMAT = 2
"""It changes whenever the arguments or the meaning of a kernel change under the same name."""

_INDEX = "index.json"
_MAX_PART_BYTES = 16_000_000
_MAX_NUMBER = 2**31 - 1
_NUMBERS = ("capability", "multiprocessors", "threads", "shared_bytes", "registers", "spills")
_REMEDY = "make them with `pag_ros build kernels MODEL`, on any machine with Triton"


@dataclass(frozen=True)
class CompiledKernel:
    """A program's code for one compute capability.

    Attributes:
        name: of the program and of the entry point in both codes.
        capability: that it was compiled for, times ten.
        multiprocessors: of the chip that it was compiled for; on others it computes the same.
        ptx: portable code, takes the program's arguments only.
        cubin: machine code, or empty where only the driver can make it from the PTX.
        grid: programs along x, y, z.
        threads: of each program.
        shared_bytes: dynamic shared memory to launch it with.
        registers: of each thread.
        spills: bytes that a thread stores and loads for want of registers.
        tensor_core: whether it has tensor-core instructions.
    """

    name: str
    capability: int
    multiprocessors: int
    ptx: str
    cubin: bytes
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    registers: int
    spills: int
    tensor_core: bool

    @property
    def code(self) -> bytes:
        """What a driver loads: machine code, else the PTX with the zero byte that ends it."""
        return self.cubin or self.ptx.encode() + b"\0"

    @property
    def is_portable(self) -> bool:
        """Whether later GPUs can run the PTX: not if it is for one architecture (sm_90a)."""
        return re.search(r"^\.target sm_\d+\s*$", self.ptx, re.MULTILINE) is not None


def kernels_path(model: Path) -> Path:
    """Where the kernels of a model lie: model.onnx -> model.kernels.zip."""
    return model.with_suffix(".kernels.zip")


def save_kernels(path: Path, kernels: Iterable[CompiledKernel]) -> None:
    """Write kernels into one file, which is there completely or as it was before.

    Raises:
        BackendError: the file cannot be written.
    """
    chosen = list(kernels)
    try:
        with replacing(path, make_folder=True) as file:
            _write(file, chosen)
    except OSError as error:
        raise BackendError(f"{path} cannot be written: {error}") from error


def load_kernels(
    path: Path, specs: Iterable[Spec], capability: int, multiprocessors: int | None = None
) -> dict[str, CompiledKernel]:
    """The kernels of some programs for one GPU.

    Where the file has none for its compute capability, the portable PTX of the nearest lower one
    takes its place: with an empty `cubin`, since the driver has to compile it. Of those for several
    sizes of chip it is the one for the nearest size.

    Args:
        capability: of the GPU, times ten.
        multiprocessors: of the GPU; None is the largest that there is a kernel for.

    Returns:
        Program's name -> its kernel.

    Raises:
        BackendError: the file is missing, damaged, or lacks a program; the message says what to do.
    """
    with _archive(path) as archive:
        index = _read_index(archive)
        return {
            spec.name: _read_kernel(
                archive, _choose(index, spec, capability, multiprocessors), capability
            )
            for spec in specs
        }


def stored_targets(path: Path) -> tuple[int, ...]:
    """Compute capabilities times ten that a file has kernels for, ascending.

    Raises:
        BackendError: the file is missing or damaged.
    """
    with _archive(path) as archive:
        return tuple(sorted({int(entry["capability"]) for entry in _read_index(archive)}))


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A file of kernels; whatever reading it raises becomes a `BackendError`."""
    if not path.exists():
        raise BackendError(f"{path}: no GPU kernels there; {_REMEDY}")
    with (
        reading(path, "a file of GPU kernels", BackendError, _REMEDY),
        zipfile.ZipFile(path) as archive,
    ):
        yield archive


def _write(file: IO[bytes], kernels: Iterable[CompiledKernel]) -> None:
    entries = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for kernel in kernels:
            parts = {"ptx": kernel.ptx.encode(), "cubin": kernel.cubin}
            facts = {name: getattr(kernel, name) for name in ("name", *_NUMBERS)}
            for suffix, content in parts.items():
                archive.writestr(_part(facts, suffix), content)
            more = {"grid": kernel.grid, "tensor_core": kernel.tensor_core}
            hashes = {suffix: _hash(content) for suffix, content in parts.items()}
            portable = {"is_portable": kernel.is_portable}
            entries.append({**facts, **more, **portable, "sha256": hashes})
        index = {"format": FORMAT, "kernels": entries}
        archive.writestr(_INDEX, json.dumps(index, indent=1))


def _read_index(archive: zipfile.ZipFile) -> list[dict[str, Any]]:
    """The entries, checked as far as the choice among them needs it."""
    index = json.loads(_read_part(archive, _INDEX))
    if index["format"] != FORMAT:
        raise ValueError(f"format {index['format']}, this version reads {FORMAT}")
    entries: list[dict[str, Any]] = index["kernels"]
    for entry in entries:
        for name in _NUMBERS:
            least = 1 if name == "multiprocessors" else 0
            if type(entry[name]) is not int or not least <= entry[name] <= _MAX_NUMBER:
                raise ValueError(f"{name} is {entry[name]!r}")
        if not re.fullmatch(r"[A-Za-z_]\w*", entry["name"]):
            raise ValueError(f"name {entry['name']!r}")
    return entries


def _choose(
    entries: list[dict[str, Any]], spec: Spec, capability: int, multiprocessors: int | None
) -> dict[str, Any]:
    """The entry of a program for this capability, else the nearest that its PTX comes from; of
    those the one for the nearest size of chip."""
    same_name = [entry for entry in entries if entry["name"] == spec.name]
    usable = [
        entry
        for entry in same_name
        if entry["capability"] == capability
        or (entry["capability"] < capability and entry["is_portable"])
    ]
    if not usable:
        found = ", ".join(map(str, sorted({entry["capability"] for entry in same_name}))) or "none"
        raise BackendError(
            f"no kernel {spec.name} for compute capability {capability / 10} (stored: {found}); "
            f"{_REMEDY}"
        )
    nearest = max(entry["capability"] for entry in usable)
    by_size = {e["multiprocessors"]: e for e in usable if e["capability"] == nearest}
    return by_size[nearest_chip(by_size, multiprocessors or max(by_size))]


def _read_kernel(
    archive: zipfile.ZipFile, entry: dict[str, Any], capability: int
) -> CompiledKernel:
    name, stored = entry["name"], entry["capability"]
    parts = {}
    for suffix, expected in entry["sha256"].items():
        parts[suffix] = _read_part(archive, _part(entry, suffix))
        if _hash(parts[suffix]) != expected:
            raise ValueError(f"{name}: the {suffix} is not the one that was stored")
    x, y, z = (int(size) for size in entry["grid"])
    if not all(1 <= size <= _MAX_NUMBER for size in (x, y, z)):
        raise ValueError(f"{name}: the grid is {entry['grid']}")
    return CompiledKernel(
        **{each: entry[each] for each in ("name", *_NUMBERS)},
        ptx=parts["ptx"].decode(),
        cubin=parts["cubin"] if stored == capability else b"",
        grid=(x, y, z),
        tensor_core=bool(entry["tensor_core"]),
    )


def _read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > _MAX_PART_BYTES:
        raise ValueError(f"{name} has {size} bytes")
    return archive.read(name)


def _part(facts: Mapping[str, Any], suffix: str) -> str:
    return "{name}.sm{capability}.mp{multiprocessors}.".format_map(facts) + suffix


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
