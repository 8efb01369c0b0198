"""Runs a teacher's network by OpenVINO, which reads ONNX and TensorFlow Lite as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ModelError
from pag_ros.lab.teachers.spec import TeacherSpec
from pag_ros.manifest import MAX_CLASSES


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
            if spec.tensor:
                graph = _cut(graph, spec)
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

    def depth(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What it gives for a picture [h,w,3] uint8 RGB, [h,w] float32.

        Raises:
            ModelError: it gives something else than one map.
        """
        plane = _plane_of(self._run(image), self.spec)
        size = (image.shape[1], image.shape[0])
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def scores(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of its classes [C,h',w'], at the size of its output, for a picture [h,w,3] uint8 RGB.

        Of a network that gives ids the class has 1, the others 0.

        Raises:
            ModelError: it gives something else than one map.
        """
        return _scores_of(self._run(image), self.spec)

    def _run(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        given = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        if self.spec.bgr:
            given = given[..., ::-1]
        values = given.astype(np.float32)
        if self._dtype.kind == "f":
            values -= np.asarray(self.spec.mean, np.float32)
            values /= np.asarray(self.spec.std, np.float32)
        batch = values[None] if self._channels_last else values.transpose(2, 0, 1)[None]
        return np.asarray(self._compiled(np.ascontiguousarray(batch, self._dtype))[self._output])


def _cut(graph: Any, spec: TeacherSpec) -> Any:
    """The part of a network that leads up to its tensor that counts."""
    import openvino as ov

    outputs = (output for node in graph.get_ops() for output in node.outputs())
    found = next((output for output in outputs if spec.tensor in output.get_names()), None)
    if found is None:
        raise ModelError(f"{spec.path}: has no tensor {spec.tensor!r}; see `tensor` in its recipe")
    return ov.Model([found], graph.get_parameters())


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


def _scores_of(result: NDArray[Any], spec: TeacherSpec) -> NDArray[np.float32]:
    squeezed = result.squeeze()
    if squeezed.ndim == 2:
        ids = np.arange(MAX_CLASSES)[:, None, None]
        return np.asarray(squeezed[None] == ids, np.float32)
    if squeezed.ndim != 3:
        raise ModelError(f"{spec.path}: gives {_text(result.shape)}, not one map of classes")
    # The classes' axis is the first or the last, whichever is shorter than both sides.
    last = squeezed.shape[2] < min(squeezed.shape[:2])
    return np.asarray(squeezed.transpose(2, 0, 1) if last else squeezed, np.float32)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
