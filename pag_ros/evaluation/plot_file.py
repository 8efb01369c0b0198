"""A figure of matplotlib as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pag_ros.writing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_plot(figure: Figure, path: Path, dpi: int, **options: Any) -> None:
    """Write a figure, whole or not at all; makes its folder.

    Args:
        path: .png, .svg, .pdf or another suffix that matplotlib knows; none is PNG.
        dpi: dots an inch.
        options: more for `Figure.savefig`.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, make_folder=True) as file:
        figure.savefig(file, format=path.suffix.lstrip(".") or "png", dpi=dpi, **options)
