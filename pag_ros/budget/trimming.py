"""How a frame that runs late saves itself: its remaining blocks compute fewer pixels.

The select kernel for GPUs does the same arithmetic on its own clock
(`pag_ros.lab.kernel_compiler.triton_select`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEVER_TRIMMED = (math.inf, 1.0)
"""(start, rest) of a block that never trims itself."""


def block_limits(until_aim_s: float, planned_seconds: Sequence[float]) -> NDArray[np.float64]:
    """When every gated block has to begin, so that what is planned from there on is in time.

    A frame with slack may use it up before anything is trimmed.

    Args:
        until_aim_s: from the frame's start until the network is to have ended.
        planned_seconds: of every stage: the encoder, each gated block, the heads.

    Returns:
        [L,2] seconds: the latest start of each block, after the frame's; and the gated work from
        there on, which trimming can shorten.
    """
    planned = np.asarray(planned_seconds, np.float64)
    gated, heads = planned[1:-1], planned[-1]
    rest = np.cumsum(gated[::-1])[::-1]
    return np.stack([until_aim_s - heads - rest, rest], axis=1)


def trimmed_keep(keep: int, late_s: float, rest_s: float) -> int:
    """The pixels that a block may still compute.

    Args:
        keep: pixels that it was planned to compute.
        late_s: how much later it begins than it had to; what is not positive trims nothing.
        rest_s: gated work from here on.
    """
    if not late_s > 0.0:
        return keep
    return math.floor(keep * (1.0 - late_s / rest_s)) if late_s < rest_s else 0
