"""Runs the GPU kernels in Triton's interpreter, in a process of its own.

Triton decides when it is imported whether it interprets or compiles, and other tests compile. Run
as a script this module is that process: it answers pickled jobs on stdin with arrays on stdout.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pag_ros.kernels.gpu.programs import ConvSpec, Launch, SelectSpec, Spec, launch

DTYPES = {"fp16": np.float16, "fp32": np.float32, "i32": np.int32}
UNTOUCHED = {"fp16": np.nan, "fp32": np.nan, "i32": -77}
"""What outputs hold before a kernel runs."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """One launch: `now` is what the GPU's clock says, in nanoseconds."""

    spec: Spec
    launch: Launch
    inputs: Arrays
    now: int


class Interpreter:
    """Client of the process; close it when done."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TRITON_INTERPRET": "1"},
        )

    def run(
        self,
        spec: Spec,
        inputs: Mapping[str, NDArray[Any]],
        now: int = 0,
        how: Launch | None = None,
    ) -> Arrays:
        """The kernel's outputs by their names; with `in_place` y begins as a copy of the base."""
        assert set(inputs) == {tensor.name for tensor in spec.inputs}
        for tensor in spec.inputs:
            assert inputs[tensor.name].shape == tensor.shape, tensor.name
            assert inputs[tensor.name].dtype == DTYPES[tensor.dtype], tensor.name
        job = Job(spec, how or launch(spec, 80), dict(inputs), now)
        pickle.dump(job, self._process.stdin)
        self._process.stdin.flush()
        answer = pickle.load(self._process.stdout)
        if isinstance(answer, str):
            raise AssertionError(answer)
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=20)


class _Memory:
    """An array as far as the interpreter asks a torch tensor for it."""

    def __init__(self, array: NDArray[Any], dtype: Any) -> None:
        self.array = array
        self.dtype = dtype

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def untyped_storage(self) -> _Memory:
        return self

    def new_empty(self, *_: object, **__: object) -> _Memory:
        return self

    def cpu(self) -> _Memory:
        return self

    def nothing(self, *_: object) -> int:
        return 0

    storage_offset = size = stride = set_ = copy_ = nothing


def _execute(job: Job) -> Arrays:
    import triton.language as tl

    from pag_ros.lab.kernel_compiler import triton_conv, triton_select

    types = {"fp16": tl.float16, "fp32": tl.float32, "i32": tl.int32}
    # The only piece that the interpreter cannot run: the assembly that reads the clock.
    triton_select._now = lambda: tl.full((), job.now, tl.int64)
    spec = job.spec
    outputs = {t.name: np.full(t.shape, UNTOUCHED[t.dtype], DTYPES[t.dtype]) for t in spec.outputs}
    if isinstance(spec, ConvSpec) and spec.in_place:
        outputs["y"] = job.inputs["base"]
    arrays = {**job.inputs, **outputs}
    memory = {
        tensor.name: _Memory(arrays[tensor.name], types[tensor.dtype])
        for tensor in (*spec.inputs, *spec.outputs)
    }
    if isinstance(spec, ConvSpec):
        function = triton_conv.conv_kernel
        memory = {"base": None, "dilation": None, **memory}
    else:
        function = getattr(
            triton_select, "select_kernel" if isinstance(spec, SelectSpec) else "stamp_kernel"
        )
    function[job.launch.grid](**memory, **job.launch.constants)
    return outputs


def _serve() -> None:
    # Whatever else writes to stdout must not end up in the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.modules["triton_interpreter"] = sys.modules["__main__"]
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: Any = _execute(job)
        except Exception as error:  # The test that asked shall fail, not those after it.
            answer = f"{type(error).__name__}: {error}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
