"""Keeps the stack on which a thread's signal handlers run.

OpenVINO's CPU plugin gives the thread that loads it another one, and frees that with the plugin.
Of two plugins at a time one leaves it in use when it is gone, and the next signal, a Ctrl+C for
one, ends the process (seen with OpenVINO 2026.4).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """stack_t of <signal.h>."""

    _fields_ = (
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    )


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Whatever happens inside, this thread has its own signal stack again at the end (Linux)."""
    if not sys.platform.startswith("linux"):
        yield
        return
    library = ctypes.CDLL(None)
    before = _Stack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)
