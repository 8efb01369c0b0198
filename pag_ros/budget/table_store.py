"""Latency tables on disk, in the user's cache: one file for a model on a device.

A table that is damaged or belongs to something else counts as missing; it is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pag_ros.budget.latency import LatencyTable, StageLatency

FORMAT = 1
_MAX_FILE_BYTES = 1 << 20
_DAMAGE = (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError)
"""What reading a file with arbitrary contents can end in."""


def table_path(key: str) -> Path:
    """Where the table for `key` lies: under $XDG_CACHE_HOME, else ~/.cache.

    Args:
        key: everything that latency depends on: model checksum, device, CPU, threads.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return Path(cache) / "pag_ros" / "latency" / f"{name}.json"


def save_table(table: LatencyTable, key: str) -> Path:
    """Write a table, whole or not at all; returns where.

    Raises:
        OSError: the cache cannot be written.
    """
    path = table_path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "key": key, **asdict(table)}, indent=1)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
        file.write(text)
    Path(file.name).replace(path)
    return path


def load_table(key: str, stages: tuple[str, ...]) -> LatencyTable | None:
    """Read the table for `key`, or None where there is no sound one with these stages."""
    path = table_path(key)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
        table = _from_json(data)
        fits = data["key"] == key and tuple(stage.name for stage in table.stages) == stages
    except _DAMAGE:
        return None
    return table if fits else None


def _from_json(data: Any) -> LatencyTable:
    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r}, this version reads {FORMAT}")
    return LatencyTable(
        tuple(
            StageLatency(
                name=str(stage["name"]),
                keep=tuple(int(pixels) for pixels in stage["keep"]),
                seconds=tuple(float(value) for value in stage["seconds"]),
            )
            for stage in data["stages"]
        )
    )
