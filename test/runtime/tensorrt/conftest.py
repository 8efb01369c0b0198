"""A transformer as `pag_ros adopt` leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a small model 112x84 with eight blocks of 48 patches; its graph lies beside it."""
    pytest.importorskip("torch")
    from small_transformer import SIZE, small_transformer

    from pag_ros.lab.transformers.adopt import export_depth_anything, export_standard
    from pag_ros.runtime.tensorrt.standard_graph import standard_path

    network, path = (
        small_transformer(labels=True),
        tmp_path_factory.mktemp("adopted") / "small.onnx",
    )
    network.tilt = -0.6  # blocks have shares of their own, as taught ones do
    manifest = export_depth_anything(network, "small", SIZE, path)
    export_standard(network, SIZE, standard_path(path), manifest.sha256)
    return path
