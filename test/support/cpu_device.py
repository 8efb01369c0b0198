"""Stand for `gpu_device.Device` on a CPU: torch's tensors there, and who computes the programs."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import engine_reference
import numpy as np
import torch
from triton_interpreter import DTYPES, Interpreter

from pag_ros.kernels.gpu.programs import Spec, StampSpec


class CpuDevice(abc.ABC):
    """A recorded graph is simply run again. Times are those of the stand-in and mean nothing.

    Attributes:
        launched: programs in the order in which they were launched.
    """

    name = "cpu"
    torch = torch
    capability = 90

    def __init__(self) -> None:
        self.launched: list[Spec] = []

    @abc.abstractmethod
    def compute(self, spec: Spec, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Outputs of a program; what it leaves undefined is NaN."""

    def facts(self) -> dict[str, str]:
        return {"GPU": f"none, {type(self).__name__} stands for it"}

    def synchronize(self) -> str:
        return "everything is done at once here"

    def load(self, spec: Spec, compiled: Any) -> SimpleNamespace:
        """Stored code is taken for what it is to compute."""
        return SimpleNamespace(compiled=compiled, launch=self.kernel(spec).launch)

    def run(
        self, spec: Spec, inputs: Mapping[str, np.ndarray], kernel: Any = None
    ) -> dict[str, np.ndarray]:
        given = {name: self.upload(array) for name, array in inputs.items()}
        results = self.outputs(spec)
        if getattr(spec, "in_place", False):
            results["y"] = given["base"]
        (kernel or self.kernel(spec)).launch({**given, **results})
        return {name: tensor.numpy() for name, tensor in results.items()}

    def side_by_side(self, works: Sequence[Callable[[], None]]) -> Callable[[], None]:
        return lambda: [work() for work in works] and None

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
        for name, result in self.compute(spec, inputs).items():
            tensors[name].copy_(torch.from_numpy(result))


class InterpretedDevice(CpuDevice):
    """Runs the kernels' own code, in Triton's interpreter."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__()
        self._interpreter = interpreter

    def compute(self, spec: Spec, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self._interpreter.run(spec, inputs)


class DefinedDevice(CpuDevice):
    """Computes what the kernels are defined to compute, which NumPy does a hundred times faster."""

    def compute(self, spec: Spec, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if isinstance(spec, StampSpec):
            return {"clock": np.zeros(2, np.int32)}
        results = engine_reference.compute(spec, *inputs.values())
        return {each.name: result for each, result in zip(spec.outputs, results, strict=True)}
