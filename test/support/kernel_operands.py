"""Random operands for the kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-5
"""Of the largest value: sums of some thousand float32 products, in any order."""


@dataclass
class Operands:
    """Arguments of a sparse convolution."""

    x: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    base: NDArray[np.float32]

    @classmethod
    def random(
        cls, size: tuple[int, int], inputs: int, outputs: int, kernel: int, seed: int = 0
    ) -> Operands:
        rng = np.random.default_rng(seed)

        def normal(*shape: int) -> NDArray[np.float32]:
            return rng.normal(size=shape).astype(np.float32)

        return cls(
            x=normal(*size, inputs),
            weight=normal(outputs, kernel, kernel, inputs),
            bias=normal(outputs),
            base=normal(*size, outputs),
        )

    @classmethod
    def exact(
        cls, size: tuple[int, int], inputs: int, outputs: int, kernel: int, seed: int = 0
    ) -> Operands:
        """Operands that bf16 rounds to integers, whose sums float32 holds in any order."""
        rng = np.random.default_rng(seed)

        def integers(*shape: int) -> NDArray[np.float32]:
            return rng.integers(-700, 701, shape).astype(np.float32)

        # 257/256 becomes 1: weights that are not rounded show.
        weight = rng.choice([-1, 0, 1], (outputs, kernel, kernel, inputs), p=[0.2, 0.6, 0.2])
        return cls(
            x=integers(*size, inputs),
            weight=(weight * 257 / 256).astype(np.float32),
            bias=integers(outputs),
            base=integers(*size, outputs),
        )


def listed(pixels: int, count: int, seed: int = 0) -> NDArray[np.int32]:
    """`count` random pixels in ascending order, then entries that must not be read."""
    chosen = np.sort(np.random.default_rng(seed).permutation(pixels)[:count])
    return np.concatenate([chosen, np.full(pixels - count, -1)]).astype(np.int32)


def assert_close(y: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(y / scale, expected / scale, atol=TOLERANCE, rtol=0)
