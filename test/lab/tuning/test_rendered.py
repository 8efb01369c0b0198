"""The rooms that ship are there, small, and readable."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from pag_ros.errors import DatasetError
from pag_ros.lab.datasets.rooms import RoomPictures
from pag_ros.lab.tuning import rendered
from pag_ros.manifest import load_manifest
from pag_ros.runtime.models import DEFAULT_MODEL, find_model, find_shipped


def test_both_sets_are_there_and_small(tmp_path: Path) -> None:
    rehearsal, forgetting = (RoomPictures([f]) for f in rendered.unpack(tmp_path))
    classes = tuple(c.name for c in load_manifest(find_model(DEFAULT_MODEL)).classes)
    assert len(rehearsal) == len(forgetting) == 60
    assert rehearsal.classes == forgetting.classes == classes
    assert rehearsal[59].depth is None
    sample = forgetting[59]
    assert 0.3 < np.nanmedian(sample.depth) < 10.0
    assert sample.labels.max() < len(classes)
    assert find_shipped(rendered.ARCHIVE).stat().st_size <= 4 << 20


def test_what_is_unpacked_stays(tmp_path: Path) -> None:
    first = rendered.unpack(tmp_path)
    (first[0] / "mark").touch()
    assert rendered.unpack(tmp_path) == first
    assert (first[0] / "mark").exists()


@pytest.mark.parametrize("content", [b"no archive", None])
def test_a_damaged_or_missing_archive_is_named(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / rendered.ARCHIVE
    if content is not None:
        archive.write_bytes(content)
    found = archive if content is not None else None
    monkeypatch.setattr(rendered, "find_shipped", lambda name: found)
    with pytest.raises(DatasetError, match=rendered.ARCHIVE):
        rendered.unpack(tmp_path / "out")


def test_an_archive_that_leads_out_of_its_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / rendered.ARCHIVE
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../evil", b"x")
    monkeypatch.setattr(rendered, "find_shipped", lambda name: archive)
    with pytest.raises(DatasetError, match="leads out of it"):
        rendered.unpack(tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_a_full_disk_is_no_fault_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(rendered, "write_bytes", full)
    with pytest.raises(DatasetError) as caught:
        rendered.unpack(tmp_path / "out")
    text = f"{tmp_path / 'out'}: cannot be written to (No space left on device)"
    assert str(caught.value) == text
    monkeypatch.undo()
    assert len(RoomPictures([rendered.unpack(tmp_path / "out")[0]])) == 60
