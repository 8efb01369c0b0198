"""A model of ours as a teacher: what is too slow for a robot teaches what runs on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import ParameterError
from pag_ros.evaluation.passes import perception_at
from pag_ros.lab.teachers.spec import TeacherSpec
from pag_ros.runtime import open_session


class OwnModel:
    """A model with its manifest that teaches depth, every patch of it computed.

    Raises:
        ParameterError: it is to teach something else.
        ModelError: the model or its manifest is missing, damaged or unfit.
    """

    def __init__(self, spec: TeacherSpec) -> None:
        require_depth(spec)
        self.spec = spec
        self._session = open_session(spec.path, "cpu")
        self._nearest_m, self._farthest_m = self._session.manifest.depth_range_m
        self._perception = perception_at(self._session, 1.0)

    def depth(self, image: NDArray[np.uint8], focal_px: float) -> NDArray[np.float32]:
        """[h,w] metres of a picture [h,w,3] uint8 RGB, NaN where it does not trust itself.

        Args:
            focal_px: of the picture.
        """
        result = self._perception.process(image, focal_px, None, frozenset({"depth"}))
        assert result is not None, "without a deadline no frame is skipped"
        assert result.depth is not None, "it was asked for"
        trusted = (result.depth >= self._nearest_m) & (result.depth <= self._farthest_m)
        return np.where(trusted, result.depth, np.float32(np.nan)).astype(np.float32)

    def close(self) -> None:
        """Free the session."""
        self._session.close()


def require_depth(spec: TeacherSpec) -> None:
    """Refuse a model of ours that is to teach something else than metric depth.

    Raises:
        ParameterError: it is.
    """
    if spec.kind != "depth":
        raise ParameterError(
            f"--teacher {spec.kind}:{spec.path}: a model of ours teaches its depth, which is in "
            f"metres: depth:{spec.path}"
        )
