"""The errors a user can meet: every message says what is wrong, where, and what would be right."""

from __future__ import annotations

_MAX_LINE_CHARS = 1000


class PagError(Exception):
    """Base of all errors this package raises on purpose; the command line prints it in one line."""


class ModelError(PagError):
    """A model file or its manifest is missing, damaged, unsafe or does not fit."""


class RangesError(ModelError):
    """The ranges of a model in 8 bits are missing, damaged, or do not fit it."""


class BackendError(PagError):
    """An inference backend is not installed, or refuses the model on this machine."""


class ImageError(PagError):
    """An image or image message cannot be read: encoding, size or contents."""


class BagError(PagError):
    """A bag is missing, damaged, or lacks the topics asked for."""


class DatasetError(PagError):
    """A dataset or raw material is missing, damaged, or in another layout than documented."""


class TrainingError(PagError):
    """Training cannot go on: what it computes is no longer a number."""


class ParameterError(PagError):
    """A parameter or option has a value outside what it may be."""


class NodeError(PagError):
    """The ROS node, or ROS itself, is not there or does not answer."""


def one_line(text: str, max_chars: int = _MAX_LINE_CHARS) -> str:
    """A text as one line that is safe to print, whatever file its parts came from.

    Lines are joined by blanks. Control characters, which could command a terminal, and all others
    that cannot be printed are escaped. Of a long text the middle is left out, so that the file
    named at its beginning and the reason at its end both stay.

    Args:
        max_chars: of the text, before anything is escaped.
    """
    half = max_chars // 2
    if len(text) > max_chars:
        text = f"{text[:half]} ... {text[-half:]}"
    joined = " ".join(line.strip() for line in text.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)
