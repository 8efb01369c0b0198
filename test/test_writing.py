"""A file is there whole, as it was before or anew, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pag_ros.writing import (
    LEFTOVER_AGE_S,
    empty_of_leftovers,
    is_writable,
    remove_leftovers,
    replacing,
    write_bytes,
    write_text,
)

NOBODY = 65534

PACKAGE = Path(__file__).parents[1] / "pag_ros"

OWN_WAY = re.compile(
    r"""\.open\("[wxa]|\.write_(text|bytes)\(|\.savefig\(|NamedTemporaryFile|mkstemp|\.rename\("""
)
ALLOWED = {
    "writing.py": "it is the way",
    "budget/decision_log.py": "a log that grows",
    "cli/guard.py": "a new name each time",
    "evaluation/charts.py": "into memory",
    "evaluation/plot_file.py": "within `replacing`",
    "lab/bench/dense.py": "in a temporary folder",
    "lab/gpu_check/main.py": "a log that grows",
    "lab/kernel_compiler/compiler.py": "in a temporary folder",
    "lab/kernel_compiler/machine_code.py": "a temporary file",
    "lab/scenes/writer.py": "an index that grows",
    "lab/training/trainer.py": "a log that grows",
    "replay/load_plots.py": "into memory",
    "replay/node_process.py": "a log that grows",
}
"""Module -> why it may write otherwise."""

HANGING = """
import sys, time
from pathlib import Path
from pag_ros.writing import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / "report.json"
    path.write_text("old")
    return path


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def make_leftover(path: Path, age_s: float = 0.0) -> Path:
    """What a killed process leaves of `path`."""
    part = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
    part.write_text("half")
    then = time.time() - age_s
    os.utime(part, (then, then))
    return part


def test_a_text_takes_the_place_of_the_old_one(path: Path) -> None:
    write_text(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert names(path.parent) == ["report.json"]


def test_the_old_file_is_there_until_the_new_one_is_complete(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_the_content_is_on_the_disk_before_it_takes_the_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def sync(number: int) -> None:
        assert path.read_text() == "old"
        synced.append(os.fstat(number).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    write_bytes(path, b"12345")
    assert synced == [5]


def test_a_killed_process_leaves_the_old_file_whole_and_its_own_goes_at_the_next_write(
    path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    (part,) = (each for each in path.parent.iterdir() if each != path)
    long_ago = time.time() - LEFTOVER_AGE_S - 1.0
    os.utime(part, (long_ago, long_ago))
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["report.json"]


def test_what_another_process_may_be_writing_stays(path: Path) -> None:
    part = make_leftover(path, age_s=LEFTOVER_AGE_S - 60.0)
    write_text(path, "new")
    assert part.read_text() == "half"


def test_a_leftover_from_a_clock_that_went_wrong_goes(path: Path) -> None:
    part = make_leftover(path, age_s=-10.0 * LEFTOVER_AGE_S)
    write_text(path, "new")
    assert not part.exists()


def test_leftovers_of_other_files_stay(path: Path) -> None:
    others = [path.with_name(name) for name in ("report.json.gz", "reportxjson", "my.report.json")]
    parts = [make_leftover(other, 2.0 * LEFTOVER_AGE_S) for other in others]
    parts += [path.with_name(f".{path.name}.part"), path.with_name(f"{path.name}.part")]
    for part in parts[3:]:
        part.touch()
        os.utime(part, (0, 0))
    write_text(path, "new")
    assert all(part.exists() for part in parts)


def test_a_folder_can_be_tidied_once_for_all(path: Path) -> None:
    path.write_text("old")
    others = path, path.with_name("other.png")
    parts = [make_leftover(other, 2.0 * LEFTOVER_AGE_S) for other in others]
    parts.append(make_leftover(path))
    write_bytes(path, b"new", tidy=False)
    assert all(part.exists() for part in parts)
    empty_of_leftovers(path.parent)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"new"


def test_who_holds_a_lock_removes_leftovers_at_once(path: Path) -> None:
    part = make_leftover(path)
    remove_leftovers(path, min_age_s=0.0)
    assert not part.exists()
    assert path.exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
@pytest.mark.parametrize("name", ["report.json", "another.json"])
def test_the_mode_is_that_of_a_new_file(path: Path, umask: int, mode: int, name: str) -> None:
    before = os.umask(umask)
    try:
        write_text(path.with_name(name), "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.with_name(name).stat().st_mode) == mode


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_who_fails_while_writing_changes_nothing(path: Path, kind: type[BaseException]) -> None:
    def fail() -> bytes:
        assert len(names(path.parent)) == 2
        raise kind

    with pytest.raises(kind), replacing(path) as file:
        file.write(fail())
    assert path.read_text() == "old"
    assert names(path.parent) == ["report.json"]


@contextmanager
def limited_files(size_bytes: int) -> Iterator[None]:
    """No file may become larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_by_name_and_leaves_nothing(path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as caught, limited_files(1 << 16):
        write_bytes(path, bytes(1 << 17))
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert names(path.parent) == ["report.json"]


def test_a_disk_that_fails_at_the_end_is_told_by_name_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert names(path.parent) == ["report.json"]


@contextmanager
def without_rights() -> Iterator[None]:
    """Not as root, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_without_permission_is_told_by_name_and_stays_as_it_is() -> None:
    with tempfile.TemporaryDirectory() as name:  # nobody may enter pytest's own folders
        folder = Path(name)
        folder.chmod(0o555)
        try:
            with without_rights(), pytest.raises(PermissionError) as caught:
                write_text(folder / "x", "new")
            assert caught.value.filename == str(folder / "x")
            assert names(folder) == []
        finally:
            folder.chmod(0o755)


def test_two_writers_at_once_leave_one_whole_file(path: Path) -> None:
    with replacing(path) as one:
        one.write(b"1" * 10)
        with replacing(path) as other:
            other.write(b"2" * 30)
        assert path.read_bytes() == b"2" * 30
        one.write(b"1" * 10)
    assert path.read_bytes() == b"1" * 20
    assert names(path.parent) == ["report.json"]


def test_a_link_stays_and_what_it_leads_to_is_replaced(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "links" / "latest.json"
    link.parent.mkdir()
    link.symlink_to(Path("..") / path.name)
    old = make_leftover(path, 2.0 * LEFTOVER_AGE_S)
    write_text(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert not path.is_symlink()
    assert not old.exists()
    assert names(link.parent) == ["latest.json"]


def test_a_link_to_nothing_gets_its_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("file")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        write_text(link, "new")
    assert link.is_symlink()


def test_a_pipe_stays_one_and_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert is_writable(pipe)
    write_text(pipe, "new")
    reader.join(10.0)
    assert read == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_of_a_pipe_its_own_rights_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(os, "access", lambda path, mode: path == pipe)
    assert is_writable(pipe)
    assert not is_writable(tmp_path / "file")


def test_a_device_stays_one() -> None:
    write_text(Path(os.devnull), "new")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    assert is_writable(Path(os.devnull))


def test_a_full_device_is_told_by_name() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(Path("/dev/full"), "new")
    assert caught.value.filename == "/dev/full"


@pytest.mark.parametrize("redirected", [True, False])
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_standard_output_gets_the_content_in_its_turn(
    tmp_path: Path, redirected: bool, name: str
) -> None:
    code = (
        "from pathlib import Path; from pag_ros.writing import is_writable, write_text\n"
        f"print('before'); assert is_writable(Path({name!r}))\n"
        f"write_text(Path({name!r}), 'content\\n'); print('after')"
    )
    out = tmp_path / "out.txt"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with out.open("wb") as file:
        process = subprocess.run(
            [sys.executable, "-c", code],
            stdout=file if redirected else subprocess.PIPE,
            env=environment,
            check=True,
        )
    said = out.read_bytes() if redirected else process.stdout
    assert names(tmp_path) == ["out.txt"]
    assert said == b"before\ncontent\nafter\n"


def test_the_folder_is_made_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    with pytest.raises(FileNotFoundError) as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert names(tmp_path) == []
    assert not is_writable(path)
    write_text(path, "new", make_folder=True)
    assert is_writable(path)
    assert path.read_text() == "new"


def test_a_folder_that_cannot_be_made_names_the_file(path: Path) -> None:
    inner = path / "a" / "b.json"
    with pytest.raises(NotADirectoryError) as caught:
        write_text(inner, "new", make_folder=True)
    assert caught.value.filename == str(inner)


def test_a_folder_in_the_files_place_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught, replacing(tmp_path):
        pytest.fail("nothing can be written there")
    assert caught.value.filename == str(tmp_path)
    assert names(tmp_path) == []


def test_an_error_of_what_is_read_meanwhile_keeps_its_name(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(path):
        (tmp_path / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "missing")
    assert path.read_text() == "old"


def test_an_error_without_a_number_passes_as_it_is(path: Path) -> None:
    with pytest.raises(OSError, match=r"^no picture$"), replacing(path):
        raise OSError("no picture")


def test_no_other_module_writes_files_in_a_way_of_its_own() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if OWN_WAY.search(path.read_text(encoding="utf-8"))
    }
    assert found == ALLOWED.keys()
