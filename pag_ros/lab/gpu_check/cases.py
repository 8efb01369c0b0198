"""The cases of a part, one after another: one that fails is named and takes no other along."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pag_ros.errors import PagError, one_line
from pag_ros.lab.gpu_check.report import Row


class StoppedError(BaseException):
    """SIGTERM came. No `Exception`, so that nobody takes it for a failure of his own."""


class Waiting(Protocol):
    """A device, as far as it is asked here."""

    def synchronize(self) -> object:
        """Wait for the device; it fails where earlier work has spoiled its context."""
        ...


@dataclass(frozen=True)
class CheckCase:
    """One of the things that a part measures.

    Attributes:
        name: for people.
        measure: gives its rows; whatever it raises is its failure.
    """

    name: str
    measure: Callable[[], Iterable[Row]]


def each(cases: Sequence[CheckCase], end: float, device: Waiting | None = None) -> Iterator[Row]:
    """The rows of all cases; of one that fails what it gave before, and a row with its name.

    What time does not allow is counted, as is what a spoiled context of the GPU does not.

    Args:
        end: `time.monotonic()` after which no case begins.
        device: that the cases run on.
    """
    for number, case in enumerate(cases):
        left = len(cases) - number
        if time.monotonic() > end:
            text = f"{left} of {len(cases)} cases, for want of time"
            yield {"outcome": "skipped", "text": text}
            return
        try:
            yield from case.measure()
        except StoppedError:
            text = f"case {number + 1} of {len(cases)}, for want of time"
            yield {"outcome": "stopped", "case": case.name, "text": text}
            return
        except Exception as error:  # A GPU, its driver and torch fail in many ways.
            yield failure(case.name, error)
            if device is not None and left > 1 and not _is_usable(device):
                text = f"{left - 1} of {len(cases)} cases: the GPU takes no more work from here on"
                yield {"outcome": "skipped", "text": text}
                return


def failure(case: str, error: BaseException) -> Row:
    """The row of a case that failed; what we did not foresee leaves its traceback on stderr."""
    if not isinstance(error, PagError):
        traceback.print_exception(error)
    return {"outcome": "failed", "case": case, "text": reason(error)}


def reason(error: BaseException) -> str:
    """What an error says, in a line."""
    return one_line(str(error)) or type(error).__name__


def _is_usable(device: Waiting) -> bool:
    try:
        device.synchronize()
    except Exception:  # torch's, of several kinds
        return False
    return True
