"""Gated blocks on the GPU over density, beside the same blocks dense in cuDNN.

Both are captured in a CUDA graph and take turns. A batch is one dense call, while our kernels take
one image each: their launches for the images of a batch run on streams of their own, in one graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec
from pag_ros.lab.gpu_check.device import Device

CHANNELS = (64, 128, 256, 512)
SIZES = ((15, 20), (30, 40), (60, 80), (120, 160))
BATCHES = (1, 2, 4, 8)
DENSITIES = (0.1, 0.3, 0.5, 0.7, 1.0)
_REPEATS = 10
"""Blocks in one graph: a replay's own cost then hardly counts."""


@dataclass(frozen=True)
class BlockCase:
    """A basic block: relu(x + conv3x3(relu(conv3x3(x))))."""

    channels: int
    height: int
    width: int
    batch: int

    def __str__(self) -> str:
        return f"{self.channels} @ {self.height}x{self.width}, batch {self.batch}"


def cases(
    channels: Sequence[int] = CHANNELS,
    sizes: Sequence[tuple[int, int]] = SIZES,
    batches: Sequence[int] = BATCHES,
) -> list[BlockCase]:
    """All combinations, those that the goals are about first, then what a robot runs."""
    product = itertools.product(channels, sizes, batches)
    found = [BlockCase(c, height, width, batch) for c, (height, width), batch in product]
    return sorted(found, key=_rank)


def _rank(case: BlockCase) -> int:
    if case.batch == 8 and case.channels >= 256:
        return 0
    return 1 if case.batch == 1 else 2


def measure(
    device: Device, case: BlockCase, densities: Sequence[float], rounds: int
) -> Iterator[dict[str, Any]]:
    """A row per density: microseconds of our block, of its Select alone, and of cuDNN's block.

    Where ours fails, the last row has the time of cuDNN's alone, and its error is raised then.
    """
    dense = device.record(_dense_block(device, case), _REPEATS)
    for density in densities:
        about = {**asdict(case), "density": density}
        try:
            block, select = _our_block(device, case, density)
            graphs = [dense, *(device.record(work, _REPEATS) for work in (block, select))]
            medians = device.microseconds(graphs, rounds)
        except Exception:
            with suppress(Exception):  # The GPU may be gone for it as well.
                (dense_us,) = device.microseconds([dense], rounds)
                yield {**about, "dense_us": dense_us / _REPEATS}
            raise
        dense_us, ours_us, select_us = (median / _REPEATS for median in medians)
        yield {
            **about,
            "ours_us": ours_us,
            "select_us": select_us,
            "dense_us": dense_us,
            "speedup": dense_us / ours_us,
        }


def programs_of(case: BlockCase) -> tuple[SelectSpec, ConvSpec, ConvSpec]:
    """Select and the two convolutions of a block."""
    size = (case.height, case.width)
    wide = (case.channels, case.channels)
    return (
        SelectSpec(*size),
        ConvSpec(*size, *wide, out_rows=True, activation="relu"),
        ConvSpec(*size, *wide, x_rows=True, base=True, residual=True, activation="relu"),
    )


def launched_once(device: Device, case: BlockCase, density: float) -> None:
    """Launch a block's kernels, and wait for them."""
    block, _ = _our_block(device, case, density)
    block()
    device.synchronize()


def _our_block(
    device: Device, case: BlockCase, density: float
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Select and two sparse convolutions for every image of the batch, and the Select alone."""
    select, first, last = programs_of(case)
    kernels = [device.kernel(spec) for spec in (select, first, last)]
    weights = [_weights(device, spec) for spec in (first, last)]
    keep = round(density * select.pixels)
    images = [_image(device, (select, first, last), weights, keep) for _ in range(case.batch)]

    def launch(depth: int, arguments: list[dict[str, Any]]) -> None:
        for kernel, tensors in zip(kernels[:depth], arguments[:depth], strict=True):
            kernel.launch(tensors)

    block, chosen = (
        device.side_by_side([partial(launch, depth, arguments) for arguments in images])
        for depth in (len(kernels), 1)
    )
    return block, chosen


def _weights(device: Device, spec: ConvSpec) -> dict[str, Any]:
    """Weights, for all images, with which results are about as large as the inputs."""
    torch = device.torch
    size = (spec.taps, spec.channels, spec.features)
    scale = (spec.taps * spec.channels) ** -0.5
    return {
        "weight": (scale * torch.randn(size, device=device.name)).half(),
        "bias": torch.zeros(spec.features, device=device.name),
    }


def _image(
    device: Device,
    specs: tuple[SelectSpec, ConvSpec, ConvSpec],
    weights: Sequence[dict[str, Any]],
    keep: int,
) -> list[dict[str, Any]]:
    """The arguments of the three kernels for one image; each reads what the one before wrote.

    Scores and features are drawn on the GPU: on the host that would take seconds.
    """
    torch, (select, first, last) = device.torch, specs
    chosen = {
        "score": torch.randn(select.inputs[0].shape, device=device.name),
        "keep": device.upload(np.array(keep, np.int32)),
        "limits": device.upload(np.array([np.inf, 1.0, -np.inf], np.float32)),
        "clock": device.upload(np.zeros(2, np.int32)),
        **device.outputs(select),
    }
    lists = {name: chosen[name] for name in ("index", "slot", "count")}
    x = torch.randn(first.inputs[0].shape, device=device.name).half()
    one = {"x": x, **lists, **weights[0], **device.outputs(first)}
    two = {"x": one["y"], "base": x, **lists, **weights[1], **device.outputs(last)}
    return [chosen, one, two]


def _dense_block(device: Device, case: BlockCase) -> Callable[[], None]:
    """The block in cuDNN, channels-last fp16, with bias, sum and activation fused by cuDNN."""
    torch = device.torch
    torch.backends.cudnn.benchmark = True
    shape = (case.batch, case.channels, case.height, case.width)
    layout = {"device": device.name, "dtype": torch.float16}
    x = torch.randn(shape, **layout).to(memory_format=torch.channels_last)
    weight = 0.02 * torch.randn((case.channels, case.channels, 3, 3), **layout)
    weight = weight.to(memory_format=torch.channels_last)
    bias = torch.zeros(case.channels, **layout)
    ones = [1, 1]

    def block() -> None:
        if not x.is_cuda:  # a rehearsal
            torch.conv2d(torch.conv2d(x, weight, bias, padding=1), weight, bias, padding=1)
            return
        hidden = torch.cudnn_convolution_relu(x, weight, bias, ones, ones, ones, 1)
        torch.cudnn_convolution_add_relu(hidden, weight, x, 1.0, bias, ones, ones, ones, 1)

    return block
