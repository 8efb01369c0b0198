"""The operators by gathering: rows of the listed pixels' taps, then one matrix product.

The arithmetic and the memory traffic fall with the number of pixels. Padding costs nothing: taps
beyond the border point to a row of zeros. Arguments are checked in `pag_ros.kernels`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from threading import Barrier

import numpy as np
from numpy.typing import NDArray

_ROWS_WORTH_A_THREAD = 96
"""Below this many pixels, handing work to another thread costs more than it saves."""


class Workspace:
    """Buffers and threads that a sequence of calls shares; one call at a time may use it.

    NumPy lets go of the interpreter's lock in both steps, so threads of ours scale, while a BLAS
    with a thread pool of its own would fight with the inference runtime's: keep BLAS at one thread.

    Args:
        threads: threads to compute with; 0 takes all that this process may use.
    """

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads or available_cpus()
        self._buffers: dict[str, NDArray[np.float32]] = {}
        self._pool = _started_pool(self.threads - 1) if self.threads > 1 else None

    def buffer(self, name: str, *shape: int) -> NDArray[np.float32]:
        """A float32 array of this shape with undefined contents, the same memory every time."""
        size = int(np.prod(shape))
        held = self._buffers.get(name)
        if held is None or held.size < size:
            held = self._buffers[name] = np.empty(size, np.float32)
        return held[:size].reshape(shape)

    def split(self, rows: int, work: Callable[[int, int], None]) -> None:
        """Call `work(start, stop)` for parts of 0..rows, on several threads if that is worth it."""
        parts = min(self.threads, rows // _ROWS_WORTH_A_THREAD)
        if self._pool is None or parts < 2:
            work(0, rows)
            return
        bounds = [rows * part // parts for part in range(parts + 1)]
        others = [self._pool.submit(work, *part) for part in pairwise(bounds[1:])]
        work(0, bounds[1])
        for other in others:
            other.result()

    def close(self) -> None:
        """End the threads and free the buffers."""
        if self._pool is not None:
            self._pool.shutdown()
        self._buffers.clear()


def _started_pool(threads: int) -> ThreadPoolExecutor:
    """A pool whose threads run already.

    A thread inherits the CPUs that its maker may use: one started in the middle of a frame, by a
    thread that an inference runtime has pinned, would share that thread's core for ever.
    """
    pool = ThreadPoolExecutor(threads, "pag")
    all_running = Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(all_running.wait)
    all_running.wait()
    return pool


def available_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def select(score: NDArray[np.float32], keep: int, out: NDArray[np.int32]) -> None:
    """Write the `keep` best pixels of `score` [H,W], ascending, to the front of `out`."""
    flat = score.ravel()
    if keep in (0, flat.size):
        out[:keep] = np.arange(keep)
        return
    if np.isnan(flat).any():
        flat = np.nan_to_num(flat, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    # A partition finds the keep-th best score without sorting; of the pixels that tie with it,
    # those with the lower index fill up what is left.
    least = np.partition(flat, flat.size - keep)[flat.size - keep]
    chosen = flat > least
    ties = np.flatnonzero(flat == least)
    chosen[ties[: keep - np.count_nonzero(chosen)]] = True
    out[:keep] = np.flatnonzero(chosen)


def sparse_conv2d(
    x: NDArray[np.float32],
    pixels: NDArray[np.int32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    base: NDArray[np.float32] | None,
    dilations: int | NDArray[np.int32],
    relu: bool,
    residual: bool,
    out: NDArray[np.float32],
    workspace: Workspace,
) -> NDArray[np.float32]:
    """`pag_ros.kernels.sparse_conv2d` at `pixels`; `dilations` is one, or a map [H*W]."""
    height, width, channels = x.shape
    outputs, kernel = weight.shape[:2]
    if base is None:
        out.fill(0.0)
    elif base is not out:
        np.copyto(out, base)
    if len(pixels) == 0:
        return out

    flat_x, flat_out = x.reshape(-1, channels), out.reshape(-1, outputs)
    rows = flat_x if kernel == 1 else _with_zero_row(flat_x, workspace)
    taps = _taps(pixels, kernel, dilations, height, width)
    matrix = weight.reshape(outputs, -1).T
    gathered = workspace.buffer("gathered", len(pixels), taps.shape[1], channels)
    values = workspace.buffer("values", len(pixels), outputs)
    copied = None if isinstance(dilations, int) else dilations[pixels] == 0

    def compute(start: int, stop: int) -> None:
        part, here = values[start:stop], pixels[start:stop]
        # mode="clip" spares the copy that take() makes to leave `out` whole on an error.
        rows.take(taps[start:stop], axis=0, out=gathered[start:stop], mode="clip")
        np.matmul(gathered[start:stop].reshape(stop - start, -1), matrix, out=part)
        part += bias
        if copied is not None:
            identity = copied[start:stop]
            part[identity] = flat_x[here[identity]]
        if residual:
            part += flat_out[here]
        if relu:
            np.maximum(part, 0.0, out=part)
        flat_out[here] = part

    workspace.split(len(pixels), compute)
    return out


def _with_zero_row(rows: NDArray[np.float32], workspace: Workspace) -> NDArray[np.float32]:
    """A copy of `rows` [P,C] with a row of zeros behind, which stands for everything outside."""
    padded = workspace.buffer("padded", len(rows) + 1, rows.shape[1])
    padded[:-1] = rows
    padded[-1] = 0.0
    return padded


def _taps(
    pixels: NDArray[np.int32],
    kernel: int,
    dilations: int | NDArray[np.int32],
    height: int,
    width: int,
) -> NDArray[np.intp]:
    """For each pixel the rows its taps read: [len(pixels), kernel * kernel]."""
    if kernel == 1:
        return pixels[:, None].astype(np.intp)
    if isinstance(dilations, int):
        return _tap_table(height, width, dilations).take(pixels, axis=0)
    return _neighbours(pixels, dilations[pixels][:, None], height, width)


@lru_cache(maxsize=64)
def _tap_table(height: int, width: int, dilation: int) -> NDArray[np.intp]:
    """The 3x3 taps of every pixel of a grid: [H*W, 9]."""
    pixels = np.arange(height * width, dtype=np.int32)
    return _neighbours(pixels, np.full((len(pixels), 1), dilation), height, width)


def _neighbours(
    pixels: NDArray[np.int32], dilation: NDArray[np.integer], height: int, width: int
) -> NDArray[np.intp]:
    """Rows of the nine taps around each pixel; H * W (the zero row) beyond the border."""
    row, column = np.divmod(np.arange(9), 3)
    y = pixels[:, None] // width + (row - 1) * dilation
    x = pixels[:, None] % width + (column - 1) * dilation
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    return np.where(inside, y * width + x, height * width).astype(np.intp)
