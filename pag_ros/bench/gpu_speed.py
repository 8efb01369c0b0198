"""Gated blocks on the GPU over density, beside the same blocks dense in cuDNN.

Both are captured in a CUDA graph and take turns. A batch is one dense call, while our kernels take
one image each: their launches for the images of a batch run on streams of their own, in one graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pag_ros.bench.gpu_device import Device
from pag_ros.bench.gpu_operands import random_inputs
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec

CHANNELS = (64, 128, 256, 512)
SIZES = ((15, 20), (30, 40), (60, 80), (120, 160))
BATCHES = (1, 2, 4, 8)
DENSITIES = (0.1, 0.3, 0.5, 0.7, 1.0)
_REPEATS = 10
"""Blocks in one graph: a replay's own cost then hardly counts."""


@dataclass(frozen=True)
class Case:
    """A basic block: relu(x + conv3x3(relu(conv3x3(x))))."""

    channels: int
    height: int
    width: int
    batch: int


def cases(
    channels: Sequence[int] = CHANNELS,
    sizes: Sequence[tuple[int, int]] = SIZES,
    batches: Sequence[int] = BATCHES,
) -> list[Case]:
    """All combinations."""
    product = itertools.product(channels, sizes, batches)
    return [Case(c, height, width, batch) for c, (height, width), batch in product]


def measure(
    device: Device, case: Case, densities: Sequence[float], rounds: int
) -> Iterator[dict[str, Any]]:
    """A row per density: microseconds of our block, of its Select alone, and of cuDNN's block."""
    dense = device.record(_dense_block(device, case), _REPEATS)
    for density in densities:
        block, select = _our_block(device, case, density)
        graphs = [dense, *(device.record(work, _REPEATS) for work in (block, select))]
        medians = device.microseconds(graphs, rounds)
        dense_us, ours_us, select_us = (each / _REPEATS for each in medians)
        yield {
            "channels": case.channels,
            "height": case.height,
            "width": case.width,
            "batch": case.batch,
            "density": density,
            "ours_us": ours_us,
            "select_us": select_us,
            "dense_us": dense_us,
            "speedup": dense_us / ours_us,
        }


def _our_block(
    device: Device, case: Case, density: float
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Select and two sparse convolutions for every image of the batch, and the Select alone."""
    size = (case.height, case.width)
    select = SelectSpec(*size)
    first = ConvSpec(*size, case.channels, case.channels, out_rows=True, activation="relu")
    last = ConvSpec(
        *size,
        case.channels,
        case.channels,
        x_rows=True,
        base=True,
        residual=True,
        activation="relu",
    )
    keep = round(density * select.pixels)
    images = [_image(device, (select, first, last), keep, seed) for seed in range(case.batch)]
    kernels = [device.kernel(spec) for spec in (select, first, last)]
    torch = device.torch
    streams = [torch.cuda.Stream() for _ in images]

    def launch(depth: int) -> None:
        """The first `depth` kernels of every image, each image on its stream."""
        main = torch.cuda.current_stream()
        for stream in streams:
            stream.wait_stream(main)
        for stream, arguments in zip(streams, images, strict=True):
            with torch.cuda.stream(stream):
                for kernel, tensors in zip(kernels[:depth], arguments[:depth], strict=True):
                    kernel.launch(tensors)
        for stream in streams:
            main.wait_stream(stream)

    return lambda: launch(len(kernels)), lambda: launch(1)


def _image(
    device: Device, specs: tuple[SelectSpec, ConvSpec, ConvSpec], keep: int, seed: int
) -> list[dict[str, Any]]:
    """The arguments of the three kernels for one image; each reads what the one before wrote."""
    select, first, last = specs
    rng = np.random.default_rng(seed)
    chosen = {
        "score": device.upload(rng.normal(size=select.inputs[0].shape).astype(np.float32)),
        "keep": device.upload(np.array(keep, np.int32)),
        "plan": device.upload(np.array([np.inf, 1.0, -np.inf], np.float32)),
        "clock": device.upload(np.zeros(2, np.int32)),
        **device.outputs(select),
    }
    lists = {name: chosen[name] for name in ("index", "slot", "count")}
    # Weights belong to the network, so all images share those of seed 0.
    names = ("weight", "bias")
    x = device.upload(random_inputs(first, keep, seed)["x"])
    weights = [random_inputs(spec, keep, seed=0) for spec in (first, last)]
    uploaded = [{name: device.upload(each[name]) for name in names} for each in weights]
    one = {"x": x, **lists, **uploaded[0], **device.outputs(first)}
    two = {"x": one["y"], "base": x, **lists, **uploaded[1], **device.outputs(last)}
    return [chosen, one, two]


def _dense_block(device: Device, case: Case) -> Callable[[], None]:
    """The block in cuDNN, channels-last fp16, with bias, sum and activation fused by cuDNN."""
    torch = device.torch
    torch.backends.cudnn.benchmark = True
    shape = (case.batch, case.channels, case.height, case.width)
    layout = {"device": "cuda", "dtype": torch.float16}
    x = torch.randn(shape, **layout).to(memory_format=torch.channels_last)
    weight = 0.02 * torch.randn((case.channels, case.channels, 3, 3), **layout)
    weight = weight.to(memory_format=torch.channels_last)
    bias = torch.zeros(case.channels, **layout)
    ones = [1, 1]

    def block() -> None:
        hidden = torch.cudnn_convolution_relu(x, weight, bias, ones, ones, ones, 1)
        torch.cudnn_convolution_add_relu(hidden, weight, x, 1.0, bias, ones, ones, ones, 1)

    return block
