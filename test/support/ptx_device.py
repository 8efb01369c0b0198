"""Stands for `gpu_device.Device` on a CPU: the very kernels, compiled for 9.0, interpreted as PTX.

Torch's tensors lie on the CPU, a recorded graph is simply run again, and the clock is the CPU's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import ptx
import torch
from cpu_device import CpuDevice

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import Spec
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.lab.kernel_compiler.compiler import compile_kernel


class PtxDevice(CpuDevice):
    """See the module."""

    capability = 90

    def compute(self, spec: Spec, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        raise AssertionError("what is launched here are kernels")

    def kernel(self, spec: Spec) -> SimpleNamespace:
        return self.load(spec, _compiled(spec, self.capability))

    def load(self, spec: Spec, compiled: CompiledKernel) -> SimpleNamespace:
        return SimpleNamespace(
            compiled=compiled, launch=lambda tensors: self._run(spec, compiled, tensors)
        )

    def _run(
        self, spec: Spec, compiled: CompiledKernel, tensors: Mapping[str, torch.Tensor]
    ) -> None:
        self.launched.append(spec)
        written = {tensors[each.name].data_ptr() for each in spec.outputs}
        arrays: dict[int, np.ndarray] = {}
        for each in (*spec.inputs, *spec.outputs):
            tensor = tensors[each.name]
            arrays.setdefault(tensor.data_ptr(), tensor.numpy().reshape(-1))
        addresses = [tensors[each.name].data_ptr() for each in (*spec.inputs, *spec.outputs)]
        hazards = ptx.launch(
            compiled.ptx,
            compiled.grid,
            [arrays[address] for address in addresses],
            [address in written for address in addresses],
            compiled.shared_bytes,
            time.monotonic_ns(),
        )
        if hazards:
            raise BackendError(f"{spec.name}: {hazards[0]}")


@cache
def _compiled(spec: Spec, capability: int) -> Any:
    return compile_kernel(spec, capability)
