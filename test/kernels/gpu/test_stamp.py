"""The kernel that starts a frame's clock.

The interpreter has no clock: the value is fed. What a GPU's clock says, and how finely it ticks, is
not seen.
"""

from __future__ import annotations

import numpy as np

from pag_ros.kernels.gpu.programs import StampSpec


def test_both_words_are_written(interpreter):
    now = 0x1234_5678_9ABC_DEF0
    clock = interpreter.run(StampSpec(), {}, now)["clock"]
    assert clock.view(np.int64)[0] == now
