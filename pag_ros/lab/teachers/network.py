"""Runs a teacher's network by OpenVINO, which reads ONNX and TensorFlow Lite as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ModelError
from pag_ros.lab.teachers.spec import TeacherSpec


class TeacherNetwork:
    """A teacher's network, ready to run.

    Raises:
        ModelError: the file holds no network of one picture that OpenVINO can run.
    """

    def __init__(self, spec: TeacherSpec) -> None:
        import openvino as ov

        self.spec = spec
        core = ov.Core()
        try:
            graph = core.read_model(spec.path)
            (port,) = graph.inputs
            self._channels_last, self._size = _layout(port.partial_shape, spec)
            width, height = self._size
            shape = [1, height, width, 3] if self._channels_last else [1, 3, height, width]
            graph.reshape({port: ov.PartialShape(shape)})
            self._dtype = np.dtype(port.element_type.to_dtype())
            self._compiled = core.compile_model(graph, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
            self._output = self._compiled.outputs[spec.output]
        except ModelError:
            raise
        except Exception as error:  # OpenVINO's errors have no common base
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(
                f"{spec.path}: not a network of one picture that can be run ({reason})"
            ) from error

    def run(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """What it gives for a picture.

        Args:
            image: [h,w,3] uint8 RGB.

        Returns:
            At the picture's size: [h,w] float32, or of labels [h,w] uint8, its own ids.

        Raises:
            ModelError: it gives something else than one map.
        """
        given = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        if self.spec.bgr:
            given = given[..., ::-1]
        values = given.astype(np.float32)
        if self._dtype.kind == "f":
            values -= np.asarray(self.spec.mean, np.float32)
            values /= np.asarray(self.spec.std, np.float32)
        batch = values[None] if self._channels_last else values.transpose(2, 0, 1)[None]
        result = self._compiled(np.ascontiguousarray(batch, self._dtype))[self._output]
        size = (image.shape[1], image.shape[0])
        if self.spec.kind == "labels":
            ids = _ids_of(np.asarray(result), self.spec)
            return np.asarray(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT))
        plane = _plane_of(np.asarray(result), self.spec)
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _layout(shape: Any, spec: TeacherSpec) -> tuple[bool, tuple[int, int]]:
    """Whether channels come last, and (width, height) of the input."""
    sides = [side.get_length() if side.is_static else None for side in shape]
    if len(sides) != 4 or 3 not in (sides[1], sides[3]):
        raise ModelError(f"{spec.path}: its input is {shape}, not a picture of three channels")
    channels_last = sides[3] == 3
    height, width = sides[1:3] if channels_last else sides[2:4]
    if height is None or width is None:
        if spec.size is None:
            raise ModelError(
                f"{spec.path}: leaves the size of its input open; give `size: [width, height]` in "
                f"{spec.path.name}.yaml"
            )
        return channels_last, spec.size
    return channels_last, (width, height)


def _plane_of(result: NDArray[Any], spec: TeacherSpec) -> NDArray[np.float32]:
    squeezed = result.squeeze()
    if squeezed.ndim != 2:
        raise ModelError(f"{spec.path}: gives {_text(result.shape)}, not one map of depth")
    return squeezed.astype(np.float32)


def _ids_of(result: NDArray[Any], spec: TeacherSpec) -> NDArray[np.uint8]:
    """Of a map of ids, or of scores of which the highest counts."""
    squeezed = result.squeeze()
    if squeezed.ndim == 3:
        # Scores: the classes' axis is the first or the last, whichever is shorter than both sides.
        last = squeezed.shape[2] < min(squeezed.shape[:2])
        squeezed = squeezed.argmax(2 if last else 0)
    if squeezed.ndim != 2:
        raise ModelError(f"{spec.path}: gives {_text(result.shape)}, not one map of classes")
    return squeezed.clip(0, 255).astype(np.uint8)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
