"""Kernels come back as they were stored, and a file that is not right says so.

That a driver loads what comes back, only a GPU machine shows.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import pytest

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import SelectSpec, StampSpec
from pag_ros.kernels.gpu.store import (
    CompiledKernel,
    kernels_path,
    load_kernels,
    save_kernels,
    stored_targets,
)

STAMP, SELECT = StampSpec(), SelectSpec(3, 4)


def kernel(spec, capability: int, suffix: str = "", multiprocessors: int = 16) -> CompiledKernel:
    return CompiledKernel(
        name=spec.name,
        capability=capability,
        multiprocessors=multiprocessors,
        ptx=f".version 8.4\n.target sm_{capability}{suffix}\n.entry {spec.name}()",
        cubin=b"\x7fELF" + bytes([capability]) * 100,
        grid=(3, 2, 1),
        threads=128,
        shared_bytes=1024,
        registers=40,
        spills=0,
        tensor_core=True,
    )


@pytest.fixture
def path(tmp_path):
    file = kernels_path(tmp_path / "new" / "model.onnx")
    assert file.name == "model.kernels.zip"
    targets = [(80, ""), (87, ""), (90, "a")]
    save_kernels(file, [kernel(s, cc, suffix) for s in (STAMP, SELECT) for cc, suffix in targets])
    return file


def test_a_kernel_comes_back_as_it_was(path):
    loaded = load_kernels(path, [STAMP, SELECT], 87)
    assert loaded == {spec.name: kernel(spec, 87) for spec in (STAMP, SELECT)}
    assert stored_targets(path) == (80, 87, 90)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(("capability", "nearest"), [(86, 80), (89, 87), (100, 87), (120, 87)])
def test_another_gpu_gets_portable_ptx_of_the_nearest_lower_one(path, capability, nearest):
    loaded = load_kernels(path, [STAMP], capability)[STAMP.name]
    assert loaded == replace(kernel(STAMP, nearest), cubin=b"")


def test_of_several_sizes_of_chip_the_nearest_is_taken(tmp_path):
    file = tmp_path / "m.kernels.zip"
    sizes = [(80, 100), (87, 8), (87, 16)]
    save_kernels(file, [kernel(STAMP, cc, multiprocessors=size) for cc, size in sizes])

    def size_for(capability, multiprocessors):
        found = load_kernels(file, [STAMP], capability, multiprocessors)[STAMP.name]
        return found.capability, found.multiprocessors

    assert [size_for(87, n) for n in (4, 8, 11, 12, 14, 16, 200)] == [
        (87, size) for size in (8, 8, 8, 16, 16, 16, 16)
    ]
    # The capability comes first, then the size; without one it is a large chip.
    assert size_for(89, 9) == (87, 8)
    assert size_for(80, 9) == (80, 100)
    assert size_for(87, None) == (87, 16)


def test_code_for_one_architecture_alone_is_not_portable():
    assert kernel(STAMP, 87).is_portable
    assert not kernel(STAMP, 90, "a").is_portable


def test_what_is_missing_is_named_with_the_way_out(path, tmp_path):
    with pytest.raises(BackendError, match=r"no GPU kernels there; .*pag_ros build kernels"):
        load_kernels(tmp_path / "none.zip", [STAMP], 87)
    with pytest.raises(BackendError, match=r"no kernel pag_select_h9_w9 .* 8\.7 \(stored: none\)"):
        load_kernels(path, [SelectSpec(9, 9)], 87)
    with pytest.raises(BackendError, match=r"7\.5 \(stored: 80, 87, 90\)"):
        load_kernels(path, [STAMP], 75)


@pytest.mark.parametrize("length", [0, 10, 500, -30])
def test_a_truncated_file_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(BackendError, match=r"not a file of GPU kernels .*pag_ros build kernels"):
        load_kernels(path, [STAMP], 87)


def test_every_flipped_byte_is_found_or_harmless(path):
    """A flip may hit what is not read (dates, say); it never gives other code."""
    good = path.read_bytes()
    wanted = load_kernels(path, [STAMP], 87)
    refused = 0
    for place in range(0, len(good), 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            assert load_kernels(path, [STAMP], 87) == wanted
        except BackendError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    "change",
    [
        {"threads": -1},
        {"threads": "128"},
        {"multiprocessors": 0},
        {"shared_bytes": 2**40},
        {"grid": [1, 2]},
        {"grid": [0, 1, 1]},
        {"grid": [float("inf"), 1, 1]},
        {"name": "../../etc"},
        {"sha256": {}},
        {"sha256": {"ptx": "0", "cubin": "0"}},
    ],
)
def test_a_foreign_index_is_refused(path, change):
    _rewrite(path, lambda index: index["kernels"][1].update(change))
    with pytest.raises(BackendError, match="not a file of GPU kernels"):
        load_kernels(path, [STAMP], 87)


def test_another_format_is_named(path):
    _rewrite(path, lambda index: index.update(format=9))
    with pytest.raises(BackendError, match="format 9, this version reads 2"):
        stored_targets(path)


def test_a_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _fail)
    with pytest.raises(BackendError, match="cannot be written: disk full"):
        save_kernels(path, [kernel(STAMP, 80)])
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="cannot be written"):
        save_kernels(tmp_path / "file" / "x.kernels.zip", [kernel(STAMP, 80)])


def _fail(_: int) -> None:
    raise OSError("disk full")


def _rewrite(path, change) -> None:
    """The archive again with another index."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    index = json.loads(parts["index.json"])
    change(index)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**parts, "index.json": json.dumps(index)}.items():
            archive.writestr(name, content)
