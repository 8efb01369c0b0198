"""An engine's numbers against stored ones: what passes, what is refused, and damaged references.

The engines here are CPU sessions whose outputs are bent. How far a real engine in half precision is
off is not seen; the tolerances come from the graph evaluated in NumPy's float16.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pag_ros.errors import BackendError, ModelError
from pag_ros.manifest import load_manifest
from pag_ros.runtime import Session, open_session, shipped_models
from pag_ros.runtime.session import Prediction
from pag_ros.runtime.tensorrt.self_check import (
    check_engine,
    drawn_room,
    read_reference,
    reference_path,
    write_reference,
)


@pytest.fixture(scope="module")
def session(tiny_model: Path) -> Iterator[Session]:
    session = open_session(tiny_model, "cpu", 1)
    yield session
    session.close()


@pytest.fixture
def model(model: Path, session: Session) -> Path:
    write_reference(session, model)
    return model


class Bent:
    """A session with some of its results changed."""

    def __init__(self, session: Session, **changes: Any) -> None:
        self.manifest = session.manifest
        self._session, self._changes = session, changes

    def infer(self, *arguments: Any) -> Prediction:
        result = self._session.infer(*arguments)
        return replace(
            result, **{name: bend(getattr(result, name)) for name, bend in self._changes.items()}
        )


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


def test_the_same_numbers_pass(session: Session, model: Path) -> None:
    assert check_engine(session, model).startswith(
        "the engine's numbers are the model's (at most 0%"
    )


def test_rounding_to_half_precision_passes(session: Session, model: Path) -> None:
    check_engine(Bent(session, depth=half, normals=half, confidence=half), model)  # type: ignore[arg-type]


def patch(values: np.ndarray) -> np.ndarray:
    bent = values.copy()
    bent[: len(bent) // 4] *= 1.2
    return bent


def swap(values: np.ndarray) -> np.ndarray:
    return values[::-1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"depth": lambda v: v * 1.03}, r"budget 1\.00 depth \(median\) deviates by 0\.03, 0\.01"),
        ({"depth": patch}, r"depth \(90 % of pixels\) deviates by 0\.2, 0\.03 is allowed"),
        ({"depth": lambda v: v * np.nan}, "depth .* deviates by nan"),
        ({"depth": np.zeros_like}, "depth .* deviates by 1"),
        ({"normals": lambda v: v[..., [1, 0, 2]]}, r"normals \(median\)"),
        ({"labels": lambda v: v * 0 + 2}, r"labels \(share of pixels\)"),
        ({"confidence": lambda v: v * 0.9}, r"confidence \(median\)"),
        ({"keep_used": lambda v: (0, 0)}, r"\(0, 0\) pixels were computed where \(48, 48\)"),
        ({"computed": swap}, r"budget 0\.50 the choice of pixels"),
    ],
)
def test_other_numbers_are_refused_by_name(
    session: Session, model: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BackendError, match=sentence):
        check_engine(Bent(session, **changes), model)  # type: ignore[arg-type]


def test_a_reference_of_another_model_is_refused(session: Session, model: Path) -> None:
    other = replace(session.manifest, sha256="ab" * 32)
    with pytest.raises(ModelError, match=r"of another model .*build reference MODEL"):
        read_reference(reference_path(model), other)


def _saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _of_said_shape(shape: str) -> bytes:
    """A file whose array is larger by its own word than by its bytes."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("format.npy", array)
    return file.getvalue()


def test_damaged_references_are_refused(session: Session, model: Path) -> None:
    path = reference_path(model)
    sound = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)
    wrong_size = {**arrays, "depth1": arrays["depth1"][:-1]}
    wrong_type = {**arrays, "depth1": arrays["depth1"].astype(np.float64)}
    pickled = {**arrays, "depth1": np.array([{}], object)}
    missing = {name: values for name, values in arrays.items() if name != "labels0"}
    bomb = {**arrays, "image": np.zeros((4096, 4096, 3), np.uint8)}
    bombs = {**arrays, **{f"more{i}": np.zeros(4_000_000, np.uint8) for i in range(3)}}
    for damage in [
        b"",
        b"text",
        sound[: len(sound) // 2],
        sound + bytes(2_000_000),
        _saved(format=np.int64(2)),
        *(_saved(**each) for each in (wrong_size, wrong_type, pickled, missing, bomb, bombs)),
        _of_said_shape("(1099511627776, 1024)"),
    ]:
        path.write_bytes(damage)
        with pytest.raises(ModelError, match=r"not a sound reference .*build reference MODEL"):
            check_engine(session, model)
    path.unlink()
    with pytest.raises(ModelError, match=r"cannot be read .*build reference MODEL"):
        check_engine(session, model)


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_every_shipped_model_has_its_reference(name: str) -> None:
    """After a change of its weights: `pag_ros build reference NAME`."""
    model = shipped_models()[name]
    path, manifest = reference_path(model), load_manifest(model)
    assert path.stat().st_size < 1_000_000
    image, focal_px, references = read_reference(path, manifest)
    assert len(references) == 2
    low, high = manifest.focal_range
    assert low < focal_px < high
    np.testing.assert_array_equal(image, drawn_room(manifest))
    for outputs in references:
        assert (outputs["depth"] > 0).all()
        assert len(np.unique(outputs["labels"])) > 1


def test_a_shipped_models_reference_is_what_the_cpu_computes() -> None:
    model = shipped_models()["pag_lite0_indoor"]
    session = open_session(model, "cpu")
    assert "at most" in check_engine(session, model)
    session.close()
