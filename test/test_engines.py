"""Every file in engines/ is what it claims to be: whole, of finite numbers, fitting the others."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from pag_ros.manifest import load_manifest, sha256_of
from pag_ros.runtime import open_session

ENGINES = Path(__file__).parents[1] / "engines"
MODELS = sorted(ENGINES.glob("*.onnx"))
KINDS = {".onnx", ".json", ".int8.json", ".yaml", ".safetensors", ".kernels.zip", ".reference.npz"}


def files(suffix: str) -> list[Path]:
    found = sorted(ENGINES.glob(f"*{suffix}"))
    assert found, f"engines/ has no {suffix}"
    return found


def test_every_file_belongs_to_a_model_and_is_of_a_kind_that_is_checked_here() -> None:
    expected = {f"{model.stem}{kind}" for model in MODELS for kind in KINDS}
    assert MODELS
    # The rooms are checked where they are used, in test/lab/tuning/test_rendered.py.
    others = {"README.md", "rendered_rooms.zip"}
    assert {path.name for path in ENGINES.iterdir()} == expected | others


@pytest.mark.parametrize("path", files(".onnx"), ids=lambda path: path.name)
def test_constants_of_a_network_are_finite(path: Path) -> None:
    for constant in onnx.load(path).graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        assert np.isfinite(values).all(), constant.name


MANIFESTS = [path for path in files(".json") if path.suffixes == [".json"]]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_fits_its_network_and_has_finite_numbers(path: Path) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{path.name} holds {constant}")

    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    manifest = load_manifest(path.with_suffix(".onnx"))
    assert manifest.sha256 == sha256_of(path.with_suffix(".onnx"))


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_a_network_runs_in_8_bits(model: Path) -> None:
    session = open_session(model, "cpu", 1, precision="int8")
    manifest = session.manifest
    image = np.full((manifest.height, manifest.width, 3), 99, np.uint8)
    prediction = session.infer(image, 0.875 * manifest.width, manifest.keep_for(0.5))
    session.close()
    assert np.isfinite(prediction.depth).all()


@pytest.mark.parametrize("path", files(".reference.npz"), ids=lambda path: path.name)
def test_reference_outputs_are_finite(path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        for name, values in arrays.items():
            if values.dtype.kind == "f":
                assert np.isfinite(values).all(), name


@pytest.mark.parametrize("path", files(".kernels.zip"), ids=lambda path: path.name)
def test_an_archive_of_kernels_is_whole(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("path", files(".safetensors"), ids=lambda path: path.name)
def test_weights_to_fine_tune_are_those_of_the_network_that_runs(path: Path) -> None:
    torch = pytest.importorskip("torch")
    from pag_ros.lab.export.graph import DenseNetwork
    from pag_ros.lab.training.checkpoint import load_weights

    network = DenseNetwork(load_weights(path))
    session = open_session(path.with_suffix(".onnx"), "cpu", 1)
    manifest = session.manifest
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (manifest.height // 8, manifest.width // 8, 3), np.uint8)
    image = picture.repeat(8, axis=0).repeat(8, axis=1)
    fx = 0.875 * manifest.width
    ours = session.infer(image, fx, tuple(block.pixels for block in manifest.blocks))
    session.close()
    with torch.no_grad():
        values = network(torch.from_numpy(image)[None], torch.tensor([fx]))
    theirs = {
        name: value[0].numpy() for name, value in zip(network.output_names(), values, strict=True)
    }
    # Weights are rounded to 16 bits after folding: a few thousandths.
    np.testing.assert_allclose(ours.depth, theirs["depth"], rtol=5e-3)
    np.testing.assert_allclose(ours.normals, theirs["normals"], atol=1e-2)
    np.testing.assert_allclose(ours.confidence, theirs["confidence"], atol=1e-2)
    assert (ours.labels != theirs["labels"]).mean() < 1e-2
