"""A figure of matplotlib as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pag_ros.writing import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_plot(
    figure: Figure, path: Path, dpi: int, metadata: dict[str, str | None] | None = None
) -> None:
    """Write a figure, whole or not at all; makes its folder.

    Args:
        path: .png, .svg, .pdf or another suffix that matplotlib knows; none is PNG.
        dpi: dots an inch.
        metadata: entries of the file; a value of None leaves out what matplotlib would write.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path, make_folder=True) as file:
        figure.savefig(file, format=path.suffix.lstrip(".") or "png", dpi=dpi, metadata=metadata)
