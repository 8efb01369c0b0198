"""Memory without surprises: large messages use the same blocks again, garbage stops no frame.

A frame's outputs are megabytes, anew for every frame.
"""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 32 << 20
"""The most that glibc accepts; malloc/malloc.c, DEFAULT_MMAP_THRESHOLD_MAX."""
_TRIM_THRESHOLD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed, for the next frame.

    By default glibc gives large blocks back to the system at once, and the next message pays for
    every page of it again: several milliseconds a frame at 640x480.

    Returns:
        Whether the C library has these settings (glibc); elsewhere nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    accepted = mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    return bool(accepted and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES))


def freeze_garbage_collector() -> None:
    """Have the garbage collector leave alone what exists now: all that a node has loaded.

    A full collection goes through every object of every module: 28 to 38 ms in the middle of some
    frame, once or twice a minute. What frames make afterwards is little.
    """
    gc.collect()
    gc.freeze()


def unfreeze_garbage_collector() -> None:
    """Undo `freeze_garbage_collector`, so that what is let go of is found again."""
    gc.unfreeze()
