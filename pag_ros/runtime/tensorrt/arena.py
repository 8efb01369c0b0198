"""Tensors one after another in one piece of memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.runtime.model_layout import Layout

_ALIGNMENT = 256
"""Bytes that every tensor is aligned to, as TensorRT asks for it."""


class Arena:
    """Tensors one after another in one piece of memory, so that one copy moves them all.

    Attributes:
        size: of the memory in bytes.
        first: name of the tensor at its beginning.
    """

    def __init__(self, layout: Layout) -> None:
        self._places: dict[str, tuple[int, int, type[np.generic], tuple[int, ...]]] = {}
        self.size = 0
        self.first = next(iter(layout))
        for name, (dtype, shape) in layout.items():
            bytes_needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
            self._places[name] = (self.size, bytes_needed, dtype, shape)
            self.size += -(-bytes_needed // _ALIGNMENT) * _ALIGNMENT

    def arrays(self, memory: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The tensors as views of memory of the host."""
        return {
            name: memory[start : start + size].view(dtype).reshape(shape)
            for name, (start, size, dtype, shape) in self._places.items()
        }

    def addresses(self, base: int) -> dict[str, int]:
        """Where the tensors lie if the memory begins at `base`."""
        return {name: base + start for name, (start, *_) in self._places.items()}
