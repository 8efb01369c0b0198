"""A transformer as `pag_ros adopt` leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pag_ros.lab.transformers.depth_anything import GatedDepthAnything


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small model 112x84 with eight blocks of 48 patches; its graph lies beside it."""
    pytest.importorskip("torch")
    from small_transformer import SIZE, small_transformer

    network = small_transformer(labels=True)
    network.tilt = -0.6  # blocks have shares of their own, as taught ones do
    return _adopted(network, SIZE, tmp_path_factory.mktemp("adopted") / "small.onnx")


@pytest.fixture(scope="session")
def turning_transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of Depth Anything 3, with six blocks, four of which turn queries and keys."""
    pytest.importorskip("torch")
    from small_v3 import SIZE, known_sizes, small_v3

    from pag_ros.lab.transformers.metres import Factor
    from pag_ros.lab.transformers.scale_fit import ScaleFit

    with known_sizes():
        network = small_v3()
        network.give_metres(ScaleFit(Factor(2.5, 100.0), "", (0.8, 0.9), 0.0))
        return _adopted(network, SIZE, tmp_path_factory.mktemp("adopted") / "turning.onnx")


def _adopted(network: GatedDepthAnything, size: tuple[int, int], path: Path) -> Path:
    from pag_ros.lab.transformers.adopt import export_depth_anything, export_standard
    from pag_ros.runtime.tensorrt.standard_graph import standard_path

    manifest = export_depth_anything(network, path.stem, size, path)
    export_standard(network, size, standard_path(path), manifest.sha256)
    return path
