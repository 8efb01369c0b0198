"""Whether an engine computes what its model computes, by outputs that the CPU session has stored.

An engine may be built without an error and give wrong numbers. So, after it was built, it runs once
on a fixed picture at two budgets, and what comes out is compared with MODEL.reference.npz beside
the model, which `pag_ros build reference` writes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.checks import number, shown
from pag_ros.errors import BackendError, ModelError
from pag_ros.manifest import Manifest
from pag_ros.reading import reading
from pag_ros.runtime.frame_io import MAX_FOCAL_PX
from pag_ros.runtime.model_layout import Layout
from pag_ros.runtime.outputs import OUTPUTS, maps_of
from pag_ros.runtime.session import Session
from pag_ros.writing import replacing

FORMAT = 1
BUDGETS = (1.0, 0.5)

_MAX_FILE_BYTES = 1_000_000
_MAX_UNPACKED_BYTES = 8_000_000
_SAMPLES_A_ROW = 80
_REMEDY = "write it anew with `pag_ros build reference MODEL`"


@dataclass(frozen=True)
class Tolerance:
    """How far an engine in half precision may be off.

    Attributes:
        typical: deviation allowed for the median pixel.
        rare: deviation allowed for the pixel that 90 % are better than.
    """

    typical: float
    rare: float


# The graph in half precision, evaluated in NumPy, is eight or more times better than each of these.
DEPTH = Tolerance(typical=0.01, rare=0.03)
"""As a share of the depth."""
NORMALS_DEGREES = Tolerance(typical=1.0, rare=3.0)
PROBABILITY = Tolerance(typical=0.01, rare=0.03)
"""Absolute, for confidence and boundary."""
OTHER_LABELS = 0.03
"""Share of pixels that may have another label."""
OTHER_PIXELS = 0.05
"""Share of the computed pixels that may be others, at budget .5: scores that half precision cannot
tell apart may swap places, and what follows then differs around there."""


Outputs = dict[str, NDArray[Any]]
"""The maps of a `Prediction` that the model has: every n-th pixel of every n-th row."""


def reference_path(model: Path) -> Path:
    """engines/foo.onnx -> engines/foo.reference.npz."""
    return model.with_suffix(".reference.npz")


def check_engine(session: Session, model: Path) -> str:
    """Compare an engine's numbers with the stored ones.

    Args:
        session: that runs the engine.
        model: path of the ONNX file.

    Returns:
        A sentence on how well they agree.

    Raises:
        BackendError: they differ by more than half precision explains; the text names the output.
        ModelError: the reference is missing or damaged, or belongs to another model.
    """
    worst = 0.0
    for name, deviation, allowed in compared(session, model):
        # Written so that NaN fails.
        if not deviation <= allowed:
            raise BackendError(
                f"the engine computes something else than the model: {name} deviates by "
                f"{deviation:.3g}, {allowed:g} is allowed; it is not used. Try another TensorRT "
                "version (JetPack), or device cpu"
            )
        worst = max(worst, deviation / allowed)
    return f"the engine's numbers are the model's (at most {worst:.0%} of the allowed deviation)"


def compared(
    session: Session, model: Path, budgets: Sequence[float] = BUDGETS
) -> Iterator[tuple[str, float, float]]:
    """Yield (budget, output and statistic; deviation; what is allowed) for all that is stored.

    Args:
        budgets: some of `BUDGETS`.

    Raises:
        BackendError: other counts of pixels were computed than were asked for.
        ModelError: the reference is missing or damaged, or belongs to another model.
    """
    image, focal_px, references = read_reference(reference_path(model), session.manifest)
    stored = dict(zip(BUDGETS, references, strict=True))
    for budget in budgets:
        found, reference = _outputs(session, image, focal_px, budget), stored[budget]
        for name, deviation, allowed in deviations(found, reference):
            yield f"at budget {budget:.2f} {name}", deviation, allowed


def write_reference(session: Session, model: Path) -> Path:
    """Store what a model gives, beside it.

    Args:
        session: of the model, on the CPU: in single precision.
        model: path of the ONNX file.

    Raises:
        OSError: the folder cannot be written.
    """
    manifest = session.manifest
    image, focal_px = drawn_room(manifest), float(sum(manifest.focal_range)) / 2.0
    arrays: dict[str, Any] = {
        "format": np.int64(FORMAT),
        "model_sha256": np.frombuffer(bytes.fromhex(manifest.sha256), np.uint8),
        "image": image,
        "focal_px": np.float64(focal_px),
    }
    for slot, budget in enumerate(BUDGETS):
        outputs = _outputs(session, image, focal_px, budget)
        arrays.update({f"{name}{slot}": values for name, values in outputs.items()})
    path = reference_path(model)
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)
    return path


def read_reference(
    path: Path, manifest: Manifest
) -> tuple[NDArray[np.uint8], float, tuple[Outputs, ...]]:
    """The picture, its focal length in pixels, and the outputs at each of `BUDGETS`.

    Raises:
        ModelError: the file is damaged, too large, or belongs to another model.
    """
    with reading(path, "a sound reference", ModelError, _REMEDY):
        arrays = _read_arrays(path)
        if int(arrays["format"]) != FORMAT:
            raise ValueError(f"format {shown(arrays['format'])}, this version reads {FORMAT}")
        owner = arrays["model_sha256"].tobytes().hex()
    if owner != manifest.sha256:
        raise ModelError(
            f"{path}: the reference of another model (sha256 {owner[:12]}..., this one has "
            f"{manifest.sha256[:12]}...); {_REMEDY}"
        )
    with reading(path, "a sound reference", ModelError, _REMEDY):
        image = _checked(arrays, "image", np.uint8, (manifest.height, manifest.width, 3))
        outputs = tuple(_read_outputs(arrays, slot, manifest) for slot in range(len(BUDGETS)))
        focal_px = number(float(arrays["focal_px"]), "focal_px", 1e-3, MAX_FOCAL_PX)
        return image, focal_px, outputs


def deviations(found: Outputs, reference: Outputs) -> Iterator[tuple[str, float, float]]:
    """(output and statistic, deviation, what is allowed) for everything that is compared."""
    for name, expected in reference.items():
        actual = found[name]
        if name == "labels":
            different = float(np.mean(actual != expected))
            yield "labels (share of pixels)", different, OTHER_LABELS
        elif name == "computed":
            swapped = np.abs(actual.astype(int) - expected.astype(int)).sum() / 2.0
            yield "the choice of pixels (share)", swapped / max(1, expected.sum()), OTHER_PIXELS
        else:
            error, allowed = _error(name, actual, expected)
            yield f"{name} (median)", float(np.median(error)), allowed.typical
            yield f"{name} (90 % of pixels)", float(np.percentile(error, 90)), allowed.rare


def drawn_room(manifest: Manifest) -> NDArray[np.uint8]:
    """[H,W,3] uint8: a drawn room with a floor, walls, a window and boxes; the same everywhere."""
    width, height = manifest.width, manifest.height
    picture = np.zeros((height, width, 3), np.uint8)

    def fill(corners: list[tuple[float, float]], color: tuple[int, int, int]) -> None:
        points = [(round(x * (width - 1)), round(y * (height - 1))) for x, y in corners]
        cv2.fillPoly(picture, [np.array(points, np.int32)], color)

    fill([(0, 0), (1, 0), (0.75, 0.25), (0.25, 0.25)], (228, 224, 214))  # ceiling
    fill([(0, 0), (0.25, 0.25), (0.25, 0.65), (0, 1)], (170, 178, 190))  # walls
    fill([(1, 0), (0.75, 0.25), (0.75, 0.65), (1, 1)], (150, 160, 176))
    fill([(0.25, 0.25), (0.75, 0.25), (0.75, 0.65), (0.25, 0.65)], (196, 200, 204))
    fill([(0, 1), (0.25, 0.65), (0.75, 0.65), (1, 1)], (122, 96, 70))  # floor
    fill([(0.4, 0.3), (0.55, 0.3), (0.55, 0.48), (0.4, 0.48)], (140, 200, 235))  # window
    fill([(0.08, 0.55), (0.3, 0.52), (0.3, 0.85), (0.08, 0.95)], (90, 60, 40))  # boxes
    fill([(0.3, 0.52), (0.38, 0.56), (0.38, 0.76), (0.3, 0.85)], (70, 46, 30))
    fill([(0.6, 0.62), (0.86, 0.62), (0.9, 0.7), (0.56, 0.7)], (176, 70, 60))
    fill([(0.56, 0.7), (0.9, 0.7), (0.9, 0.88), (0.56, 0.88)], (140, 50, 44))
    # Flat areas are rounded alike at every pixel, and means over them keep the error: grain, as
    # every camera has it, brings half precision ten times as near.
    grain = np.random.default_rng(0).integers(-6, 7, (height // 2 + 1, width // 2 + 1, 1))
    rough = np.kron(grain, np.ones((2, 2, 1), np.int64))[:height, :width]
    return np.clip(picture + rough, 0, 255).astype(np.uint8)


def _outputs(session: Session, image: NDArray[np.uint8], focal_px: float, budget: float) -> Outputs:
    manifest = session.manifest
    keep = manifest.keep_for(budget)
    prediction = session.infer(image, focal_px, keep)
    if prediction.keep_used != keep:
        raise BackendError(
            f"{prediction.keep_used} pixels were computed where {keep} were asked for"
        )
    step = _step(manifest)
    return {
        name: np.ascontiguousarray(getattr(prediction, name)[::step, ::step])
        for name in _layout(manifest)
    }


def _step(manifest: Manifest) -> int:
    return max(1, round(manifest.width / _SAMPLES_A_ROW))


def _layout(manifest: Manifest) -> Layout:
    """Names, types and shapes of `Outputs`."""
    step = _step(manifest)
    size = (-(-manifest.height // step), -(-manifest.width // step))
    maps = maps_of(manifest)
    return {o.name: (o.dtype, o.shape(*size)) for o in OUTPUTS if o.name in maps}


def _error(
    name: str, actual: NDArray[Any], expected: NDArray[Any]
) -> tuple[NDArray[np.float64], Tolerance]:
    """How far every pixel is off, and how far it may be."""
    if name == "depth":
        return np.abs(actual / expected.astype(np.float64) - 1.0), DEPTH
    if name == "normals":
        # The chord keeps the digits that the cosine of a small angle lacks.
        chord = np.linalg.norm(actual - expected.astype(np.float64), axis=-1)
        return np.degrees(2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))), NORMALS_DEGREES
    return np.abs(actual - expected.astype(np.float64)), PROBABILITY


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of the file; NumPy raises many kinds of errors where it is damaged."""
    size = path.stat().st_size
    if size > _MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes, at most {_MAX_FILE_BYTES}")
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(part.file_size for part in archive.infolist())
    if unpacked > _MAX_UNPACKED_BYTES:
        raise ValueError(f"{unpacked} bytes once unpacked, at most {_MAX_UNPACKED_BYTES}")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_outputs(arrays: dict[str, NDArray[Any]], slot: int, manifest: Manifest) -> Outputs:
    layout = _layout(manifest)
    return {
        name: _checked(arrays, f"{name}{slot}", dtype, shape)
        for name, (dtype, shape) in layout.items()
    }


def _checked(
    arrays: dict[str, NDArray[Any]], name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[Any]:
    array = arrays[name]
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}")
    return array
