"""Reading files that may be damaged or hold anything: every failure ends in one error of ours.

A reader wraps its work in `reading` and need not list what a parser can raise:

    with reading(path, "a model card", ParameterError):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = text(values["name"], "name")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pag_ros.errors import PagError, one_line

_MAX_REASON_CHARS = 300


@contextmanager
def reading(path: Path, what: str, error: type[PagError], remedy: str = "") -> Iterator[None]:
    """Turn whatever reading a file raises into `error`, whose one line names the file.

    A `PagError` that names the file already passes as it is.

    Args:
        path: of the file.
        what: it ought to be, with its article: "a model card".
        error: the kind to raise.
        remedy: what to do about it, appended to the text.

    Raises:
        PagError: of the kind `error`, for everything but an import that fails, which is no fault of
            the file's.
    """
    end = f"; {remedy}" if remedy else ""
    try:
        yield
    except ImportError:
        raise
    except PagError as refusal:
        if str(path) in str(refusal):
            raise
        raise error(f"{path}: {refusal}{end}") from refusal
    except OSError as failure:
        raise error(f"{path}: cannot be read ({reason_of(failure)}){end}") from failure
    except Exception as damage:  # parsers raise whatever they stumble over
        raise error(f"{path}: not {what} ({reason_of(damage)}){end}") from damage


def read_limited(path: Path, max_bytes: int) -> str:
    """The whole of a text file in UTF-8.

    Raises:
        ValueError: it is larger than `max_bytes`, endless perhaps, or in another encoding.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes} bytes")
    return content.decode("utf-8")


def reason_of(error: BaseException) -> str:
    """What an exception says, in a few words and one line."""
    if isinstance(error, KeyError) and error.args:
        return f"it lacks {_shortened(repr(error.args[0]))}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and problem:  # PyYAML's, which would take four lines to say it
        return _shortened(f"line {mark.line + 1}, column {mark.column + 1}: {problem}")
    lines = [line for line in str(error).splitlines() if line.strip()]
    return _shortened("\n".join(lines[:2])) if lines else type(error).__name__


def _shortened(text: str) -> str:
    return one_line(text, _MAX_REASON_CHARS)
