"""Stands for `gpu_device.Device` on a CPU: torch's tensors there, our kernels interpreted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from triton_interpreter import DTYPES, Interpreter

from pag_ros.kernels.gpu.programs import Spec


class InterpretedDevice:
    """Runs the kernels' own code in Triton's interpreter; what they leave undefined is NaN.

    A recorded graph is simply run again. Times are those of the interpreter and mean nothing.
    """

    name = "cpu"
    torch = torch

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self.launched: list[Spec] = []

    def upload(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array))

    def outputs(self, spec: Spec) -> dict[str, torch.Tensor]:
        return {t.name: self.upload(np.zeros(t.shape, DTYPES[t.dtype])) for t in spec.outputs}

    def kernel(self, spec: Spec) -> SimpleNamespace:
        return SimpleNamespace(launch=lambda tensors: self._launch(spec, tensors))

    def record(self, work: Callable[[], None], repeats: int = 1) -> SimpleNamespace:
        work()
        return SimpleNamespace(replay=lambda: [work() for _ in range(repeats)])

    def microseconds(self, graphs: Sequence[Any], rounds: int) -> list[float]:
        taken = []
        for graph in graphs:
            began = time.perf_counter()
            for _ in range(rounds):
                graph.replay()
            taken.append(1e6 * (time.perf_counter() - began) / rounds)
        return taken

    def _launch(self, spec: Spec, tensors: Mapping[str, torch.Tensor]) -> None:
        """As on a GPU: only memory that can be read as the program reads it is accepted."""
        for each in (*spec.inputs, *spec.outputs):
            assert tensors[each.name].is_contiguous(), each.name
            assert tensors[each.name].data_ptr() % 16 == 0, each.name
        self.launched.append(spec)
        inputs = {each.name: tensors[each.name].numpy() for each in spec.inputs}
        for name, result in self._interpreter.run(spec, inputs).items():
            tensors[name].copy_(torch.from_numpy(result))
