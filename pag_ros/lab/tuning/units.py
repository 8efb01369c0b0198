"""Does the recorded depth have the unit that it is read in? The model's own depth tells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pag_ros.errors import DatasetError
from pag_ros.evaluation.passes import perception_at
from pag_ros.evaluation.samples import spread
from pag_ros.lab.datasets import Dataset
from pag_ros.runtime import Session

FRAMES = 12
PLAUSIBLE = (0.4, 2.5)
"""Recorded depth over the model's, median over frames. Untuned, the scale of a place is off by up
to a half; the units in use differ by two or more from their neighbours."""

UNITS_M = (1.0, 0.01, 0.001, 0.00025, 0.0002, 0.0001)
"""Metres per unit: metres, centimetres, millimetres, Intel's L515, TUM's benchmark, .1 mm."""


def depth_ratio(dataset: Dataset, session: Session) -> float:
    """Recorded depth over the model's: median over pixels, then over frames; NaN without depth."""
    perception = perception_at(session, 1.0)
    ratios = []
    for index in sorted(spread(len(dataset), FRAMES)):
        sample = dataset[index]
        if sample.depth is None:
            continue
        result = perception.process(sample.color, sample.focal_px, None, frozenset({"depth"}))
        assert result is not None, "without a deadline no frame is skipped"
        assert result.depth is not None, "it was asked for"
        known = np.isfinite(sample.depth) & np.isfinite(result.depth)
        if known.any():
            ratios.append(float(np.median(sample.depth[known] / result.depth[known])))
    return float(np.median(ratios)) if ratios else float("nan")


def require_plausible(ratio: float, scale: float | None, bags: Sequence[object]) -> None:
    """See that a ratio is that of a place, not of a unit.

    Args:
        ratio: of `depth_ratio`; NaN says nothing.
        scale: metres per unit that the user has named, which is believed; None if none was.
        bags: for the message.

    Raises:
        DatasetError: it is not; the text names the unit that would fit.
    """
    low, high = PLAUSIBLE
    if scale is not None or not np.isfinite(ratio) or low <= ratio <= high:
        return
    likely = min(UNITS_M, key=lambda unit: abs(np.log(unit / (0.001 / ratio))))
    names = ", ".join(map(str, bags))
    raise DatasetError(
        f"{names}: the recorded depth is {ratio:.3g} times what the model sees, so its unit is "
        f"hardly a millimetre: give --depth-scale {likely:g} (metres a unit), or --depth-scale "
        "0.001 if the millimetres are right"
    )
