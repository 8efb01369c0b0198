"""Depth Anything V2 in torch on the GPU, gated at some budgets beside the same network dense.

Weights are random, products and sums in float16, attention is torch's own. Everything is recorded
as CUDA graphs; what is timed is the GPU, from a picture in its memory to depth in its memory. A
robot on TensorRT fuses what lies between the products, which torch does where it compiles: both
networks then, for what is compiled counts as the best that the dense one can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pag_ros.lab.gpu_check.device import Device
from pag_ros.lab.gpu_check.report import Row
from pag_ros.lab.transformers.depth_anything import GatedDepthAnything, random_depth_anything
from pag_ros.lab.transformers.vit import PATCH

_MAX_DEPTH_M = 20.0


@dataclass(frozen=True)
class TransformerCase:
    """A network.

    Attributes:
        variant: see `random_depth_anything`.
        side: of the square picture in pixels.
        budgets: at which it is gated, 0 to 1.
        compiled: by torch, anew for every budget: tens of seconds each.
    """

    variant: str
    side: int
    budgets: tuple[float, ...] = (0.5, 0.3, 0.7, 1.0)
    compiled: bool = False

    def __str__(self) -> str:
        compiled = ", compiled" if self.compiled else ""
        return f"{self.variant} {self.side}x{self.side}{compiled}"


CASES = (
    TransformerCase("small", 518),
    TransformerCase("base", 518),
    TransformerCase("small", 308),
    TransformerCase("small", 518, (0.5,), compiled=True),
    TransformerCase("base", 518, (0.5,), compiled=True),
)
"""Those that the goals are about first; what has to be compiled last."""


def measure(device: Device, case: TransformerCase, rounds: int) -> Iterator[Row]:
    """A row for each budget: "model", "budget", "ours_ms", "dense_ms" and "speedup".

    Args:
        rounds: replays of each network, taken in turns; what is told is their median.
    """
    torch = device.torch
    # The network makes tables as it goes, which have to lie where its tokens do.
    with torch.no_grad(), torch.device(device.name):
        network = random_depth_anything(case.variant, _MAX_DEPTH_M).half()
        image = torch.rand(1, 3, case.side, case.side).half()
        patches = (case.side // PATCH) ** 2
        keeps = [None, *(network.keep_for(budget, patches) for budget in case.budgets)]
        run = partial(_depth, network)
        if case.compiled:
            run = torch.compile(run, dynamic=False)
        graphs = [device.record(_frame(run, image, keep)) for keep in keeps]
        dense_us, *ours_us = device.microseconds(graphs, rounds)
    for budget, each_us in zip(case.budgets, ours_us, strict=True):
        yield {
            "model": str(case),
            "budget": budget,
            "ours_ms": 1e-3 * each_us,
            "dense_ms": 1e-3 * dense_us,
            "speedup": dense_us / each_us,
        }


def _depth(network: GatedDepthAnything, image: Any, keep: Sequence[int] | None) -> Any:
    """Of a normalised picture: mean and deviation come from the host, which no graph records."""
    return network.depth_head(network.pretrained(image, keep))


def _frame(run: Callable[..., Any], image: Any, keep: Sequence[int] | None) -> Callable[[], None]:
    def frame() -> None:
        run(image, keep)

    return frame
