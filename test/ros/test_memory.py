"""Freed blocks of a message's size stay with the process, and old objects need no collection."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

from pag_ros.ros.memory import freeze_garbage_collector, unfreeze_garbage_collector

CODE = """
import resource, sys
from pag_ros.ros.memory import keep_freed_memory

def frame():
    return [bytearray(b"x") * (4 << 20) for _ in range(6)]

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    frame()
before = page_faults()
for _ in range(5):
    frame()
print(page_faults() - before)
"""


def page_faults(mode: str) -> int:
    command = [sys.executable, "-c", CODE, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_freed_blocks_are_used_again_without_page_faults() -> None:
    kept, by_default = page_faults("keep"), page_faults("default")
    assert kept < 0.1 * by_default


class Link:
    """Part of a ring, which only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_loaded_is_spared_by_collections_until_it_is_let_go() -> None:
    ring = Link()
    gone = weakref.ref(ring)
    try:
        freeze_garbage_collector()
        del ring
        gc.collect()
        assert gone() is not None
    finally:
        unfreeze_garbage_collector()
    gc.collect()
    assert gone() is None
