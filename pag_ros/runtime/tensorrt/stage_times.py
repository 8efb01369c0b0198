"""Durations of a frame's stages from the GPU's own clock, so that nothing has to wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FrameTimes:
    """When things happened in one frame.

    Attributes:
        marks: [L+2] int64 nanoseconds of the GPU's clock: the frame's start, every Select's start,
            the end of the heads.
        host_s: from the call until everything was back.
        waited_s: of that, until the GPU began: preparing the inputs, the launch, and whatever other
            work of the GPU was in front.
    """

    marks: NDArray[np.int64]
    host_s: float
    waited_s: float


def marks_of(
    start: NDArray[np.int32], stamps: NDArray[np.int32], end: NDArray[np.int32]
) -> NDArray[np.int64]:
    """`FrameTimes.marks` from low and high words: start [2], stamps [L,2], end [2]."""
    words = np.concatenate([start.reshape(1, 2), stamps, end.reshape(1, 2)]).view(np.uint32)
    return words[:, 0].astype(np.int64) | words[:, 1].astype(np.int64) << 32


def words_of(nanoseconds: int) -> NDArray[np.int32]:
    """[2] int32: low and high word of a moment on the GPU's clock."""
    return np.array([nanoseconds], np.int64).view(np.int32)


class StageTimes:
    """Divides frames into "encoder", every gated block, and "heads".

    No Select follows the last block, so no time stamp says where the heads begin. They are the same
    work in every frame: their time is what is left of frames whose last block computed nothing,
    and it grows and shrinks with the encoder's, which is the same work as well.

    Args:
        idle_last: frames in which the last gated block computed no pixel.
    """

    def __init__(self, idle_last: Sequence[FrameTimes]) -> None:
        steps = np.array([_steps(times) for times in idle_last])
        self._heads_s = float(np.median(steps[:, -1]))
        self._encoder_s = float(np.median(steps[:, 0]))

    def stage_seconds(self, times: FrameTimes) -> tuple[float, ...]:
        """Durations of all stages; their sum is `host_s`."""
        encoder, *blocks, tail = _steps(times).tolist()
        pace = encoder / self._encoder_s if self._encoder_s > 0.0 else 1.0
        heads = min(tail, self._heads_s * pace)
        if blocks or tail > heads:
            blocks.append(tail - heads)
        on_gpu = encoder + tail + sum(blocks[:-1])
        beside = max(0.0, times.host_s - on_gpu)
        before = min(beside, max(0.0, times.waited_s))
        return (encoder + before, *blocks, heads + beside - before)


def _steps(times: FrameTimes) -> NDArray[np.float64]:
    """[L+1] seconds between marks; a coarse clock may say 0."""
    return np.maximum(np.diff(times.marks), 0) * 1e-9
