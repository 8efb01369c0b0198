"""The operators behind gated computation: choose pixels, then convolve at these pixels only.

`select` and `sparse_conv2d` do that; `classify` and `enlarge_geometry` end a network. A network
that runs them again and again packs its weights once, as `Convolution`s, and joins those that
follow one another into a `Branch`. Gated blocks that follow one another are a `Trunk`, which
scores, selects and convolves in one call. C++ in `native/` computes; `reference` is the plain
definition and the oracle of every backend.

Pixels are numbered row by row (y * W + x), layout is channels-last, batch of one. The best
instruction set of the processor is used; the environment variable PAG_ROS_ISA names another one of
`instruction_sets()`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels import _native
from pag_ros.kernels._native import chosen_instruction_set, has_native_bf16, instruction_sets

__all__ = [
    "Activation",
    "Branch",
    "Convolution",
    "Precision",
    "QuantizedBranch",
    "QuantizedConvolution",
    "Trunk",
    "TrunkBlock",
    "Workspace",
    "available_cpus",
    "bf16_is_faster",
    "chosen_instruction_set",
    "classify",
    "enlarge_geometry",
    "enlarge_normals",
    "has_native_bf16",
    "instruction_sets",
    "peak_flops",
    "select",
    "sparse_conv2d",
]

Activation = Literal["none", "relu", "relu6"]
Precision = Literal["fp32", "bf16"]
"""What the factors of every product are rounded to; sums, biases and results are float32."""

_MAX_THREADS = 256
_CLAMPS = {"none": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}


class Workspace:
    """Threads and buffers that a sequence of calls shares; one call at a time may use it.

    The threads start here. A thread inherits the CPUs that its maker may use, so make the workspace
    before an inference runtime pins the calling thread to one of them. A forked process inherits
    the workspace without its threads: there a call computes with the calling thread alone.

    Args:
        threads: threads to compute with; 0 takes as many as this process may use CPUs, at most 256.

    Raises:
        ValueError: threads is negative or above 256.
        RuntimeError: the system gives no more threads.
    """

    def __init__(self, threads: int = 0) -> None:
        wanted = threads or min(available_cpus(), _MAX_THREADS)
        self._native: _native.Workspace | None = _native.Workspace(wanted)
        self.threads = self._native.threads

    @property
    def native(self) -> _native.Workspace:
        """The C++ object; RuntimeError once closed."""
        if self._native is None:
            raise RuntimeError("the workspace is closed")
        return self._native

    def close(self) -> None:
        """End the threads and free the buffers."""
        self._native = None


class Convolution:
    """A convolution whose weights are packed for the processor's instruction set.

    Args:
        weight: [N,k,k,C] float32, k = 1, 3 or 5; depthwise [C,k,k,1].
        bias: [N] float32.
        dilation: distance of the taps in pixels.
        by_map: take the distance at every pixel from the `dilation_map` of the call; at 0 the input
            takes the convolution's place (so N = C).
        depthwise: every output channel is computed from the input channel of its own number.
        activation: "none", "relu" or "relu6".

    Raises:
        ValueError: an argument has a wrong shape, type or value; PAG_ROS_ISA names an instruction
            set that the processor does not have.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        dilation: int = 1,
        by_map: bool = False,
        depthwise: bool = False,
        activation: Activation = "none",
    ) -> None:
        if activation not in _CLAMPS:
            raise ValueError(f"activation must be one of {[*_CLAMPS]}, got {activation!r}")
        lower, upper = _CLAMPS[activation]
        self.native = _native.Layer(
            weight,
            bias,
            dilation=dilation,
            by_map=by_map,
            depthwise=depthwise,
            lower=lower,
            upper=upper,
        )
        self.inputs = weight.shape[0 if depthwise else 3]
        """Channels C of its input."""
        self.outputs = weight.shape[0]
        """Channels N of its result."""


class Branch:
    """Convolutions one after another at the same listed pixels: the gated part of a residual block.

    What lies between two convolutions exists at the listed pixels only, in a compact buffer; a
    pixel that is not listed counts there as zero ("submanifold" convolution). The first convolution
    sees its input everywhere.

    In "bf16" every convolution rounds its input and its weights to bfloat16, to the nearest, of two
    to the even one; products are exact, sums, biases and `base` float32. `has_native_bf16` tells
    where that is faster; elsewhere it gives the same and is slower.

    Args:
        convolutions: in order of execution; each takes the channels that the one before gives.
        residual: the last one adds `base` before its activation.
        precision: "fp32" or "bf16".

    Raises:
        ValueError: there is no convolution, two of them do not fit together, or there is no such
            precision.
    """

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        residual: bool = False,
        precision: Precision = "fp32",
    ) -> None:
        layers = [each.native for each in convolutions]
        self.native = _native.Branch(layers, residual, precision)

    def __call__(
        self,
        x: NDArray[np.float32],
        index: NDArray[np.int32],
        count: int,
        *,
        base: NDArray[np.float32] | None = None,
        dilation_map: NDArray[np.int32] | None = None,
        out: NDArray[np.float32] | None = None,
        workspace: Workspace,
    ) -> NDArray[np.float32]:
        """y = base, and at the listed pixels the result of the convolutions.

        Args:
            x: [H,W,C] float32; beyond its borders everything is zero.
            index: [>= count] int32, the pixels to compute, each at most once.
            count: how many entries of `index` to use.
            base: [H,W,N] float32, what the other pixels get, or None for zeros.
            dilation_map: [H*W] int32, for convolutions with `by_map`.
            out: [H,W,N] float32 to write into, or None for a new array. It may be `x` or `base`
                itself: then pixels that are not listed are not touched.
            workspace: threads and buffers.

        Returns:
            y [H,W,N] float32.

        Raises:
            ValueError: an argument has a wrong shape, type, layout or value.
            RuntimeError: the workspace is closed, or at work in another thread.
        """
        return self.native.run(x, index, count, base, dilation_map, out, workspace.native)


class TrunkBlock:
    """y = x, and at the pixels with the highest scores what a branch makes of x.

    With a projection it is relu(projection of x at all pixels + the branch at those pixels).

    Args:
        gate: [C] float32, weighs the channels of a pixel into its score.
        gate_bias: what is added to every score.
        branch: of C channels to C, whose base is x; with a projection to N, and residual: the
            projection is its base.
        predictor: of a branch whose convolutions are `by_map`, and of no other: a branch of C
            channels to K, computed first at the same pixels. It chooses each one's dilation.
        dilations: [K], of which a pixel takes the one where its largest output is, of equal ones
            the first.
        projection: of C channels to N, or None.

    Raises:
        ValueError: an argument has a wrong shape, type or value, or they do not fit together.
    """

    def __init__(
        self,
        gate: NDArray[np.float32],
        gate_bias: float,
        branch: Branch | QuantizedBranch,
        predictor: Branch | QuantizedBranch | None = None,
        dilations: Sequence[int] = (),
        projection: Branch | QuantizedBranch | None = None,
    ) -> None:
        chooser, shortcut = (
            None if each is None else each.native for each in (predictor, projection)
        )
        self.native = _native.TrunkBlock(
            gate, gate_bias, branch.native, chooser, [*dilations], shortcut
        )


class Trunk:
    """Gated blocks one after another; the GIL is released once for all of them.

    A map stays in one place until a projection makes another one of it. If the blocks that read it
    are quantized, it is rounded to uint8 once, and follows the blocks' results.

    Raises:
        ValueError: there is no block; one takes other channels than the one before gives; of those
            that read one map some are quantized and some are not, in different units, or with one
            convolution only.
    """

    def __init__(self, blocks: Sequence[TrunkBlock]) -> None:
        self._native = _native.Trunk([block.native for block in blocks])

    def __call__(
        self,
        x: NDArray[np.float32],
        keep: NDArray[np.int32],
        plan: NDArray[np.float32],
        elapsed: float,
        *,
        index: Sequence[NDArray[np.int32]],
        out: NDArray[np.float32],
        workspace: Workspace,
    ) -> tuple[list[int], list[float]]:
        """Compute all blocks.

        Args:
            x: [H,W,C] float32, the map before the first block.
            keep: [L] int32, pixels that each block may compute.
            plan: [L,3] float32, see `pag_ros.runtime.frame_clock.limit_rows`: a block that begins
                late computes fewer pixels, and none whose score is not above its threshold.
            elapsed: seconds since the frame's start.
            index: for each block [H*W] int32 to write the pixels that it computed into; the entries
                behind its count mean nothing.
            out: [H,W,N] float32 to write the map behind the last block into. It may be `x` itself
                where no block has a projection.
            workspace: threads and buffers.

        Returns:
            The count of each block; and the seconds after the frame's start at which each block
            had its scores, with the end of the last one behind them.

        Raises:
            ValueError: an argument has a wrong shape, type, layout or value.
            RuntimeError: the workspace is closed, or at work in another thread.
        """
        return self._native.run(x, keep, plan, elapsed, [*index], out, workspace.native)


class QuantizedConvolution:
    """A convolution of 8-bit integers: scale * (bias + sum of weight * (input - zero_point)).

    Its input is uint8; its result is in units of the next convolution's input, or a float where it
    is the last one of a `QuantizedBranch`. The sum is exact.

    Args:
        weight: [N,k,k,C] int8, k = 1, 3 or 5.
        bias: [N] int32, in units of the sum.
        scale: [N] float32, what one unit of the sum of each output channel counts in the result:
            input scale * weight scale, divided by the next convolution's input scale if there is
            one.
        zero_point: the input that stands for zero, 0 to 255; 0 after a ReLU.
        dilation: distance of the taps in pixels.
        by_map: see `Convolution`.
        passed: of one `by_map`, [N] float32: what one unit of an input that takes the convolution's
            place counts in the result, which is `scale` without the weight scale.
        activation: "none" or "relu".

    Raises:
        ValueError: an argument has a wrong shape, type or value; a sum could leave 32 bits;
            PAG_ROS_ISA names an instruction set that the processor does not have.
    """

    def __init__(
        self,
        weight: NDArray[np.int8],
        bias: NDArray[np.int32],
        scale: NDArray[np.float32],
        *,
        zero_point: int = 0,
        dilation: int = 1,
        by_map: bool = False,
        passed: NDArray[np.float32] | None = None,
        activation: Literal["none", "relu"] = "none",
    ) -> None:
        if activation not in ("none", "relu"):
            raise ValueError(f"activation must be 'none' or 'relu', got {activation!r}")
        self.native = _native.QuantizedLayer(
            weight,
            bias,
            scale,
            zero_point=zero_point,
            dilation=dilation,
            by_map=by_map,
            passed=passed,
            relu=activation == "relu",
        )
        self.inputs = weight.shape[3]
        """Channels C of its input."""
        self.outputs = weight.shape[0]
        """Channels N of its result."""


class QuantizedBranch:
    """A `Branch` whose convolutions compute with 8-bit integers; its input and result are floats.

    The input is rounded to uint8 wherever the first convolution reads it. `base` is added in
    float32. All instruction sets give the same result to the last bit.

    Args:
        convolutions: in order of execution; each takes the channels that the one before gives.
        input_scale: what one unit of the first convolution's input counts, [C] float32 or for all
            channels alike. The weights of its channels are in proportion.
        residual: the last one adds `base` before its activation.

    Raises:
        ValueError: there is no convolution, two of them do not fit together, or the input scale is
            not of positive numbers.
    """

    def __init__(
        self,
        convolutions: Sequence[QuantizedConvolution],
        input_scale: float | NDArray[np.float32],
        residual: bool = False,
    ) -> None:
        layers = [each.native for each in convolutions]
        scales = np.float32(input_scale)
        if scales.ndim == 0 and convolutions:
            scales = np.full(convolutions[0].inputs, scales)
        self.native = _native.QuantizedBranch(layers, scales, residual)

    def __call__(
        self,
        x: NDArray[np.float32],
        index: NDArray[np.int32],
        count: int,
        *,
        base: NDArray[np.float32] | None = None,
        dilation_map: NDArray[np.int32] | None = None,
        stream: NDArray[np.uint8] | None = None,
        out: NDArray[np.float32] | None = None,
        workspace: Workspace,
    ) -> NDArray[np.float32]:
        """y = base, and at the listed pixels the result of the convolutions.

        NaN in `x` counts as the lowest value that uint8 can hold.

        Args:
            stream: [H,W,C] uint8, `x` as `quantize` gives it, or None. The first convolution reads
                it in place of `x`, and the result is rounded into it at the listed pixels. Blocks
                that follow one another with `base` and `out` equal to `x`, one input scale and one
                zero point round the whole map once. It takes two convolutions or more, and as many
                outputs as inputs.
            x, index, count, base, dilation_map, out, workspace: see `Branch.__call__`.

        Returns:
            y [H,W,N] float32.

        Raises:
            ValueError: an argument has a wrong shape, type, layout or value.
            RuntimeError: the workspace is closed, or at work in another thread.
        """
        return self.native.run(x, index, count, base, dilation_map, stream, out, workspace.native)

    def quantize(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        """All of `x` [H,W,C] in units of the first convolution's input: [H,W,C] uint8.

        Raises:
            ValueError: x has a wrong shape, type or layout.
        """
        return self.native.quantize(x)


def select(
    score: NDArray[np.float32], keep: int, out: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """The `keep` pixels with the highest scores, in ascending pixel order, ties to the lower index.

    Args:
        score: [H,W] float32; NaN counts as the lowest score.
        keep: how many pixels, 0 to H*W.
        out: [H*W] int32 to write into, or None for a new array.

    Returns:
        [H*W] int32; the first `keep` entries are the pixels, the others mean nothing.

    Raises:
        ValueError: an argument has a wrong shape, type, layout or value.
    """
    return _native.select(score, keep, out)


def sparse_conv2d(
    x: NDArray[np.float32],
    index: NDArray[np.int32],
    count: int,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    base: NDArray[np.float32] | None = None,
    dilation: int = 1,
    dilation_map: NDArray[np.int32] | None = None,
    depthwise: bool = False,
    activation: Activation = "none",
    residual: bool = False,
    precision: Precision = "fp32",
    out: NDArray[np.float32] | None = None,
    workspace: Workspace | None = None,
) -> NDArray[np.float32]:
    """One convolution at the listed pixels: y = base, and there act(conv(x) + bias [+ base]).

    It packs the weights on every call; a `Branch` of one `Convolution` packs them once.

    Args:
        dilation_map: [H*W] int32, a dilation for every pixel in place of `dilation`; at 0 the
            input takes the convolution's place.
        residual: add `base` at the listed pixels, before the activation.
        precision: see `Branch`.
        workspace: threads and buffers; without one, one thread.
        x, index, count, base, out: see `Branch.__call__`.
        weight, bias, dilation, depthwise, activation: see `Convolution`.

    Returns:
        y [H,W,N] float32.

    Raises:
        ValueError: an argument has a wrong shape, type, layout or value.
    """
    convolution = Convolution(
        weight,
        bias,
        dilation=dilation,
        by_map=dilation_map is not None,
        depthwise=depthwise,
        activation=activation,
    )
    return Branch([convolution], residual, precision)(
        x,
        index,
        count,
        base=base,
        dilation_map=dilation_map,
        out=out,
        workspace=workspace or Workspace(threads=1),
    )


def classify(
    logits: NDArray[np.float32],
    height: int,
    width: int,
    *,
    labels: NDArray[np.uint8] | None = None,
    confidence: NDArray[np.float32] | None = None,
    workspace: Workspace,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The best class at every pixel of a larger map, and its softmax probability.

    Logits are interpolated bilinearly, pixel centres at half, as `torch.nn.functional.interpolate`
    does; of equal ones the lower class wins. The large map of logits is never written.

    Args:
        logits: [K,h,w] float32, K up to 256.
        height, width: H and W of the result.
        labels, confidence: to write into, or None for new arrays.
        workspace: threads and buffers.

    Returns:
        labels [H,W] uint8 and confidence [H,W] float32, 0 to 1.

    Raises:
        ValueError: an argument has a wrong shape, type, layout or value.
    """
    return _native.classify(logits, height, width, labels, confidence, workspace.native)


def enlarge_geometry(
    maps: NDArray[np.float32],
    height: int,
    width: int,
    least: float,
    *,
    depth: NDArray[np.float32] | None = None,
    normals: NDArray[np.float32] | None = None,
    workspace: Workspace,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Depth and unit normals at every pixel of a larger map.

    Log depth and the components of the normals are interpolated as `classify` interpolates logits,
    then comes the exponential of the one, and the others are divided by their length.

    Args:
        maps: [4,h,w] float32: log depth, x, y, z.
        height, width: H and W of the result.
        least: shorter normals are divided by it in place of their length.
        depth, normals: to write into, or None for new arrays.
        workspace: threads and buffers.

    Returns:
        depth [H,W] and normals [H,W,3], float32.

    Raises:
        ValueError: an argument has a wrong shape, type, layout or value.
    """
    return _native.enlarge_geometry(maps, height, width, least, depth, normals, workspace.native)


def enlarge_normals(
    normals: NDArray[np.float32],
    height: int,
    width: int,
    *,
    least: float = 1e-12,
    out: NDArray[np.float32] | None = None,
    workspace: Workspace | None = None,
) -> NDArray[np.float32]:
    """Unit normals at every pixel of a map of another size.

    The components are interpolated as `classify` interpolates logits, and divided by their length.

    Args:
        normals: [h,w,3] float32; NaN spreads to the pixels that it counts for.
        height, width: H and W of the result.
        least: shorter normals are divided by it in place of their length.
        out: to write into, or None for a new array.
        workspace: threads and buffers; one thread if not given.

    Returns:
        [H,W,3] float32.

    Raises:
        ValueError: an argument has a wrong shape, type, layout or value.
    """
    taken = workspace or Workspace(threads=1)
    return _native.enlarge_normals(normals, height, width, least, out, taken.native)


def peak_flops(workspace: Workspace) -> float:
    """Floating-point operations per second of the workspace's threads, measured in registers only.

    No code can be faster with the same instruction set; takes about a millisecond.
    """
    return _native.peak_flops(workspace.native)


def bf16_is_faster() -> bool:
    """Whether a convolution in bf16 takes less time here than in float32.

    Not so on every processor with instructions for it: without AMX, Intel's take twice as long. It
    is measured once, in some milliseconds.
    """
    return has_native_bf16() and _bf16_is_faster(chosen_instruction_set())


@cache
def _bf16_is_faster(instruction_set: str) -> bool:
    channels, side, rounds = 64, 16, 5
    weight = np.ones((channels, 3, 3, channels), np.float32)
    convolution = Convolution(weight, np.zeros(channels, np.float32))
    x = np.ones((side, side, channels), np.float32)
    index = np.arange(side * side, dtype=np.int32)
    workspace = Workspace(threads=1)
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    branches = {precision: Branch([convolution], precision=precision) for precision in seconds}
    for _ in range(rounds):
        for precision, branch in branches.items():
            began = time.perf_counter()
            branch(x, index, len(index), workspace=workspace)
            seconds[precision].append(time.perf_counter() - began)
    workspace.close()
    return min(seconds["bf16"]) < min(seconds["fp32"])


def available_cpus() -> int:
    """CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
