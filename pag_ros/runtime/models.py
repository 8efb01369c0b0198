"""Find a model by its name or path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pag_ros.errors import ModelError

DEFAULT_MODEL = "pag_lite0_indoor"


def find_model(name_or_path: str | Path = DEFAULT_MODEL) -> Path:
    """The ONNX file of a shipped model, by name, or of any model, by path.

    Args:
        name_or_path: "pag_lite0_indoor", or a path that ends in .onnx.

    Raises:
        ModelError: no such file or name; the message lists the names there are.
    """
    text = str(name_or_path)
    if text.endswith(".onnx"):
        path = Path(text).expanduser()
        if not path.is_file():
            raise ModelError(f"{path}: no such file; give an ONNX model or a shipped model's name")
        return path
    shipped = shipped_models()
    if text not in shipped:
        names = ", ".join(sorted(shipped)) or "none found"
        raise ModelError(f"no model named {text!r}; shipped: {names}; or give a path to .onnx")
    return shipped[text]


def shipped_models() -> dict[str, Path]:
    """Names of the models that came with this package, and where they are."""
    found: dict[str, Path] = {}
    for folder in _engine_folders():
        for path in sorted(folder.glob("*.onnx")):
            found.setdefault(path.stem, path)
    return found


def find_shipped(name: str) -> Path | None:
    """A file that lies beside the shipped models; None if it is nowhere."""
    paths = (folder / name for folder in _engine_folders())
    return next((path for path in paths if path.is_file()), None)


def _engine_folders() -> Iterator[Path]:
    """Where engines/ may be: the source tree, the ROS workspace, the Python environment."""
    yield Path(__file__).resolve().parents[2] / "engines"
    try:
        from ament_index_python.packages import get_package_share_directory

        yield Path(get_package_share_directory("pag_ros")) / "engines"
    except (ImportError, LookupError, OSError):
        pass  # no ROS environment here (OSError: none is sourced), or not installed into it
    yield Path(sys.prefix) / "share" / "pag_ros" / "engines"
