"""Whatever a reader raises becomes one error of ours that names the file."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from pag_ros.errors import BackendError, DatasetError, ModelError, one_line
from pag_ros.reading import read_limited, reading

PATH = Path("some") / "file.json"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no number"), "no number"),
        (KeyError("name"), "it lacks 'name'"),
        (TypeError("'int' object is not iterable"), "'int' object is not iterable"),
        (AttributeError(), "AttributeError"),
        (IndexError("list index out of range"), "list index out of range"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (OverflowError("int too large to convert to float"), "int too large"),
        (MemoryError(), "more memory than there is"),
        (struct.error("unpack requires 4 bytes"), "unpack requires 4 bytes"),
        (zipfile.BadZipFile("File is not a zip file"), "File is not a zip file"),
        (ValueError("x" * 100_000), "x ... x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_becomes_ours_with_the_files_name(error: Exception, reason: str) -> None:
    with (
        pytest.raises(ModelError, match=r"^some/file\.json: not a manifest \(") as said,
        reading(PATH, "a manifest", ModelError),
    ):
        raise error
    assert reason in str(said.value)
    assert len(str(said.value)) < 500
    assert said.value.__cause__ is error


def test_the_remedy_comes_last() -> None:
    with (
        pytest.raises(ModelError, match=r"\(x\); fetch it again$"),
        reading(PATH, "a manifest", ModelError, "fetch it again"),
    ):
        raise ValueError("x")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    with (
        pytest.raises(DatasetError, match=r"nowhere: cannot be read \(No such file"),
        reading(path, "a dataset", DatasetError),
    ):
        path.read_bytes()


def test_an_error_that_names_the_file_passes_and_another_gets_the_name() -> None:
    with (
        pytest.raises(BackendError, match=r"^some/file\.json: no GPU$"),
        reading(PATH, "a model", ModelError),
    ):
        raise BackendError(f"{PATH}: no GPU")
    with (
        pytest.raises(ModelError, match=r"^some/file\.json: blocks: too many$"),
        reading(PATH, "a model", ModelError),
    ):
        raise DatasetError("blocks: too many")


def test_a_missing_package_is_no_fault_of_the_file() -> None:
    with pytest.raises(ImportError), reading(PATH, "a model", ModelError):
        raise ImportError("no scipy")


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt), reading(PATH, "a model", ModelError):
        raise KeyboardInterrupt


def test_no_more_is_read_than_is_allowed() -> None:
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        read_limited(Path("/dev/zero"), 1000)


def test_one_line_escapes_what_cannot_be_printed_and_joins_lines() -> None:
    assert one_line("a\n  b\tc\x1b[31m\u2028d \ud83d é") == r"a b\tc\x1b[31m d \ud83d é"
    assert one_line("a" * 50 + "b" * 50, max_chars=10) == "aaaaa ... bbbbb"
