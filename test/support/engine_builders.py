"""Processes that build an engine: slowly, or until somebody kills them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pag_ros.runtime.tensorrt.engine_cache import EngineCache, EngineKey

KEY = EngineKey(
    model="tiny",
    model_sha256="ab" * 32,
    tensorrt="10.13.2",
    gpu="NVIDIA Orin",
    capability=87,
    precision="fp16",
    size="64x48",
    kernels="aot 1 " + "cd" * 8,
    multiprocessors=16,
    pag_ros="0.1.0",
)


def build_slowly(folder: Path, log: Path) -> None:
    def build() -> tuple[bytes, dict[str, Any]]:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return str(os.getpid()).encode(), {}

    engine = EngineCache(folder).obtain(KEY, build)
    with log.with_suffix(".results").open("ab") as file:
        file.write(engine.content + b"\n")


def hang_while(phase: str, folder: Path, ready: Path) -> None:
    """Stop for ever in the middle of a build, or between the engine and its note."""

    def stop() -> None:
        ready.touch()
        time.sleep(600)

    def build() -> tuple[bytes, dict[str, Any]]:
        if phase == "building":
            stop()
        return b"half" * 1000, {}

    def sync(number: int) -> None:
        name = Path(f"/proc/self/fd/{number}").readlink().name
        if (phase == "writing" and ".engine." in name) or (phase == "noting" and ".json." in name):
            stop()

    os.fsync = sync  # in this process of its own
    EngineCache(folder).obtain(KEY, build)
