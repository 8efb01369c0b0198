"""Latency tables on disk, in the user's cache: one file for a model on a device.

A table that is damaged or belongs to something else counts as missing, and it is said why; it is
measured anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pag_ros import checks
from pag_ros.budget.latency import MAX_KEEP, MAX_STAGE_SECONDS, LatencyTable, StageLatency
from pag_ros.errors import ModelError
from pag_ros.folders import cache_folder
from pag_ros.reading import read_limited, reading
from pag_ros.writing import write_text

FORMAT = 1
_MAX_FILE_BYTES = 1 << 20
_MAX_STAGES, _MAX_POINTS = 1000, 100_000


def table_path(key: str) -> Path:
    """Where the table for `key` lies, in the user's cache.

    Args:
        key: everything that latency depends on: model checksum, device, CPU, threads.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "latency" / f"{name}.json"


def save_table(table: LatencyTable, key: str) -> Path:
    """Write a table, whole or not at all; returns where.

    Raises:
        OSError: the cache cannot be written.
    """
    path = table_path(key)
    text = json.dumps({"format": FORMAT, "key": key, **asdict(table)}, indent=1)
    write_text(path, text, make_folder=True)
    return path


def load_table(
    key: str, stages: tuple[str, ...], say: Callable[[str], None] = lambda sentence: None
) -> LatencyTable | None:
    """Read the table for `key`, or None where there is no sound one with these stages.

    Args:
        stages: names of the session's stages.
        say: told in a sentence why a file that is there is not used.
    """
    path = table_path(key)
    if not path.exists():
        return None
    try:
        with reading(path, "a latency table", ModelError):
            return _from_json(json.loads(read_limited(path, _MAX_FILE_BYTES)), key, stages)
    except ModelError as error:
        say(f"the stored latency table is not used, it counts as missing: {error}")
        return None


def table_from_json(data: Any) -> LatencyTable:
    """The table in a mapping with "stages", as parsed from JSON.

    Raises:
        ValueError, KeyError: a value is missing or outside what it may be.
    """
    stages = checks.items(checks.entries(data, "table")["stages"], "stages", 2, _MAX_STAGES)
    return LatencyTable(tuple(_stage_from_json(stage) for stage in stages))


def _from_json(data: Any, key: str, stages: tuple[str, ...]) -> LatencyTable:
    data = checks.entries(data, "table")
    if data["format"] != FORMAT:
        raise ValueError(f"format {checks.shown(data['format'])}, this version reads {FORMAT}")
    if data["key"] != key:
        raise ValueError("it belongs to another model, device or processor")
    table = table_from_json(data)
    if tuple(stage.name for stage in table.stages) != stages:
        raise ValueError("stages: they are not those of the model")
    return table


def _stage_from_json(data: Any) -> StageLatency:
    data = checks.entries(data, "stages")
    name = checks.name_of(data["name"], "stages: name")
    keep = checks.items(data["keep"], f"{name}: keep", 1, _MAX_POINTS)
    seconds = checks.items(data["seconds"], f"{name}: seconds", len(keep), len(keep))
    return StageLatency(
        name,
        tuple(checks.whole(pixels, f"{name}: keep", 0, MAX_KEEP) for pixels in keep),
        tuple(checks.number(s, f"{name}: seconds", 0.0, MAX_STAGE_SECONDS) for s in seconds),
    )
