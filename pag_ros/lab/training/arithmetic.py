"""The arithmetic that networks learn in: bfloat16 where that is faster than float32."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_ROUNDS = 5
"""Each arithmetic is timed so often, in turns; its shortest time counts."""


def fast_arithmetic(device: torch.device) -> torch.autocast:
    """A context in which the device computes in bfloat16 if it is faster so, else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16_is_faster(device.type))


@functools.cache
def bfloat16_is_faster(device_type: str) -> bool:
    """Whether a network learns faster in bfloat16; measured on CPUs, once in a process (0.1 s).

    A CPU without instructions for bfloat16 emulates them in twice the time. One with them may
    be slower all the same: those of Intel without AMX take 1.4 times as long as float32.
    """
    if device_type != "cpu":
        return True
    if not _has_instructions():
        return False
    # No random numbers: a run would depend on whether it is the first of its process.
    features, weight = _filled(4, 64, 30, 40), _filled(64, 64, 3, 3)
    seconds = [
        (_seconds(features, weight, half=False), _seconds(features, weight, half=True))
        for _ in range(_ROUNDS)
    ]
    single, half = (min(times) for times in zip(*seconds, strict=True))
    return bool(half < single)


def _has_instructions() -> bool:
    # Releases of torch that cannot tell compute in float32.
    capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    found = capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _filled(*shape: int) -> Tensor:
    values = torch.linspace(-1.0, 1.0, math.prod(shape)).view(shape)
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


def _seconds(features: Tensor, weight: Tensor, half: bool) -> float:
    """Of a convolution and its gradients."""
    began = time.perf_counter()
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = F.conv2d(features, weight, padding=1)
        torch.autograd.grad(out.float().sum(), [features, weight])
    return time.perf_counter() - began
