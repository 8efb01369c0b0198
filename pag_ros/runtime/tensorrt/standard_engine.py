"""An engine that the host tells how many patches to compute: a context for each list of counts.

A context keeps what follows from its counts, and a CUDA graph that was recorded with it reads that
again, so each graph has a context of its own. They run one after another and share their memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.manifest import Manifest
from pag_ros.runtime.tensorrt.api import CudaEngine, EngineRuntime, ExecutionContext, TensorRt
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.engine import check_tensors, deserialized, needed_bytes, needed_text
from pag_ros.runtime.tensorrt.standard_graph import keep_layout, standard_inputs, standard_outputs

Enqueue = Callable[[], None]
"""Puts one run into the stream; raises BackendError where TensorRT refuses it."""


class CountedEngine(Protocol):
    """What the session needs of TensorRT."""

    works_in: int
    """Bytes of GPU memory that one run works in."""

    def with_counts(
        self, keep: NDArray[np.int32], addresses: Mapping[str, int], work_at: int, stream: int
    ) -> Enqueue:
        """Prepare runs with certain counts.

        Args:
            keep: [L] patches of every block; has to stay what and where it is.
            addresses: where all other tensors lie on the GPU, aligned to 256 bytes.
            work_at: where `works_in` bytes lie that no other run uses at the same time.
            stream: that it is to run in.

        Raises:
            OutOfMemoryError: there is no room for it.
            BackendError: TensorRT refuses something.
        """
        ...

    def close(self) -> None:
        """Free it. May be called again."""
        ...


class StandardEngine:
    """`CountedEngine` with TensorRT.

    Args:
        trt: the module tensorrt.
        content: the serialized engine.
        manifest: of the model that it was built from.

    Raises:
        BackendError: TensorRT refuses the engine, or it has other inputs or outputs than the model.
        OutOfMemoryError: the engine may be sound, but there is no room for it.
    """

    def __init__(self, trt: TensorRt, content: bytes, manifest: Manifest) -> None:
        self._trt = trt
        self._log, runtime, engine = deserialized(trt, content)
        inputs = {**standard_inputs(manifest), **keep_layout(manifest)}
        # Of how many patches there will be the engine itself knows nothing.
        outputs = {
            name: (dtype, (-1,) if name.startswith("index") else shape)
            for name, (dtype, shape) in standard_outputs(manifest).items()
        }
        check_tensors(trt, engine, inputs, outputs)
        if engine.get_tensor_location("keep") != trt.TensorLocation.HOST:
            raise BackendError("the engine wants its counts on the GPU: no shape depends on them")
        self.works_in = needed_bytes(engine)
        self._runtime: EngineRuntime | None = runtime
        self._engine: CudaEngine | None = engine
        self._contexts: list[ExecutionContext] = []

    def with_counts(
        self, keep: NDArray[np.int32], addresses: Mapping[str, int], work_at: int, stream: int
    ) -> Enqueue:
        """See `CountedEngine.with_counts`."""
        if self._engine is None:
            raise RuntimeError("the engine is closed")
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise OutOfMemoryError(
                f"TensorRT cannot prepare the engine{self._log.reason}; {needed_text(self._engine)}"
            )
        self._contexts.append(context)
        if not context.set_optimization_profile_async(0, stream):
            raise BackendError(f"TensorRT refuses its optimization profile{self._log.reason}")
        _lend(context, work_at, self.works_in)
        for name, address in {"keep": keep.ctypes.data, **addresses}.items():
            if not context.set_tensor_address(name, address):
                raise BackendError(f"TensorRT refuses the memory of {name}{self._log.reason}")
        self._check_shapes(context, keep)

        def enqueue() -> None:
            if not context.execute_async_v3(stream):
                raise BackendError(f"TensorRT cannot run the engine{self._log.reason}")

        return enqueue

    def close(self) -> None:
        """See `CountedEngine.close`."""
        # The order matters: each refers to the one after it.
        self._contexts.clear()
        self._engine = None
        self._runtime = None

    def _check_shapes(self, context: ExecutionContext, keep: NDArray[np.int32]) -> None:
        """See that TensorRT has read the counts, before it writes as many patches."""
        try:
            missing = context.infer_shapes()
        except RuntimeError as error:
            raise BackendError(f"TensorRT refuses the counts {keep.tolist()}: {error}") from error
        if missing:
            raise BackendError(f"TensorRT does not know the shapes of {', '.join(missing)}")
        for slot, count in enumerate(keep.tolist()):
            if tuple(context.get_tensor_shape(f"index{slot}")) != (count,):
                raise BackendError(f"TensorRT does not give {count} patches of block {slot}")


def _lend(context: ExecutionContext, address: int, size: int) -> None:
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(address, size)
    else:  # before TensorRT 10.1
        context.device_memory = address
