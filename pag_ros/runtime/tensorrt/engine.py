"""An engine that TensorRT has loaded: its tensors, where they lie, and one run on a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal, Protocol, overload

import numpy as np

from pag_ros.errors import BackendError
from pag_ros.manifest import Manifest
from pag_ros.runtime.model_layout import Layout, input_layout, output_layout
from pag_ros.runtime.tensorrt.api import (
    CudaEngine,
    EngineBuilder,
    EngineRuntime,
    ExecutionContext,
    LoggerBase,
    TensorRt,
)
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError


class Engine(Protocol):
    """What the session needs of TensorRT."""

    def bind(self, name: str, address: int) -> None:
        """Say where a tensor lies: a device pointer, aligned to 256 bytes.

        Raises:
            BackendError: TensorRT refuses it.
        """
        ...

    def enqueue(self, stream: int) -> None:
        """Put one run into a stream.

        Raises:
            BackendError: TensorRT refuses it.
        """
        ...

    def close(self) -> None:
        """Free it. May be called again."""
        ...


class TensorRtEngine:
    """`Engine` with TensorRT.

    Args:
        trt: the module tensorrt.
        content: the serialized engine, which NVIDIA's documentation calls a plan.
        manifest: of the model that it was built from.

    Raises:
        BackendError: TensorRT refuses the engine, or it has other inputs or outputs than the model.
        OutOfMemoryError: the engine may be sound, but there is no room for it.
    """

    def __init__(self, trt: TensorRt, content: bytes, manifest: Manifest) -> None:
        self._log, runtime, engine = deserialized(trt, content)
        check_tensors(trt, engine, engine_inputs(manifest), engine_outputs(manifest))
        context = engine.create_execution_context()
        if context is None:
            # It has read the engine, so what it lacks is room to work in.
            raise OutOfMemoryError(
                f"TensorRT cannot prepare the engine{self._log.reason}; {needed_text(engine)}"
            )
        self._runtime: EngineRuntime | None = runtime
        self._engine: CudaEngine | None = engine
        self._context: ExecutionContext | None = context

    def bind(self, name: str, address: int) -> None:
        """See `Engine.bind`."""
        if not self._open_context.set_tensor_address(name, address):
            raise BackendError(f"TensorRT refuses the memory of {name}{self._log.reason}")

    def enqueue(self, stream: int) -> None:
        """See `Engine.enqueue`."""
        if not self._open_context.execute_async_v3(stream):
            raise BackendError(f"TensorRT cannot run the engine{self._log.reason}")

    def close(self) -> None:
        """See `Engine.close`."""
        # The order matters: each refers to the one after it.
        self._context = None
        self._engine = None
        self._runtime = None

    @property
    def _open_context(self) -> ExecutionContext:
        if self._context is None:
            raise RuntimeError("the engine is closed")
        return self._context


class TensorRtLog:
    """TensorRT's logger, which keeps what the last errors were.

    Attributes:
        logger: a trt.ILogger.
    """

    def __init__(self, trt: TensorRt) -> None:
        errors: deque[str] = deque(maxlen=2)
        severe = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)

        class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: object, message: str) -> None:
                if severity in severe:
                    errors.append(" ".join(message.split()))

        self._errors = errors
        self.logger: LoggerBase = Logger()

    @property
    def reason(self) -> str:
        """ ": what went wrong", or nothing if nothing was logged."""
        return f": {'; '.join(self._errors)[:500]}" if self._errors else ""

    @property
    def tells_of_memory(self) -> bool:
        """Whether what went wrong was for want of memory."""
        said = self.reason.lower().replace(" ", "").replace("_", "")
        return "outofmemory" in said or "cudaerrormemoryallocation" in said

    def forget(self) -> None:
        """Drop the last errors, since what comes now has nothing to do with them."""
        self._errors.clear()


_logs: dict[TensorRt, TensorRtLog] = {}
"""Module tensorrt -> its log. TensorRT takes the first logger of a process for everything."""


def logger_of(trt: TensorRt) -> TensorRtLog:
    """The process's one logger of a module tensorrt."""
    if trt not in _logs:
        _logs[trt] = TensorRtLog(trt)
    return _logs[trt]


@overload
def started(trt: TensorRt, kind: Literal["Builder"]) -> EngineBuilder: ...


@overload
def started(trt: TensorRt, kind: Literal["Runtime"]) -> EngineRuntime: ...


def started(trt: TensorRt, kind: Literal["Builder", "Runtime"]) -> EngineBuilder | EngineRuntime:
    """Start a trt.Builder or trt.Runtime.

    Raises:
        BackendError: there is none: the driver is too old for this TensorRT, for one.
    """
    log = logger_of(trt)
    try:
        return (trt.Builder if kind == "Builder" else trt.Runtime)(log.logger)
    except TypeError as error:  # The bindings raise it for a null pointer.
        raise BackendError(f"TensorRT {trt.__version__} cannot start{log.reason}") from error


def deserialized(trt: TensorRt, content: bytes) -> tuple[TensorRtLog, EngineRuntime, CudaEngine]:
    """Read a serialized engine.

    Raises:
        BackendError: TensorRT refuses it.
        OutOfMemoryError: it may be sound, but there is no room for it.
    """
    log = logger_of(trt)
    log.forget()
    runtime = started(trt, "Runtime")
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        error = OutOfMemoryError if log.tells_of_memory else BackendError
        raise error(f"TensorRT {trt.__version__} refuses the engine{log.reason}")
    return log, runtime, engine


def engine_inputs(manifest: Manifest) -> Layout:
    """What a frame is given: the model's inputs and `clock`, its start on the GPU's clock."""
    return {**input_layout(manifest), "clock": (np.int32, (2,))}


def engine_outputs(manifest: Manifest) -> Layout:
    """What the engine gives: the model's outputs and `stamps`, when each Select began."""
    return {**output_layout(manifest), "stamps": (np.int32, (len(manifest.blocks), 2))}


def needed_bytes(engine: CudaEngine) -> int:
    """Memory that an engine works in, besides its weights."""
    for name in ("device_memory_size_v2", "device_memory_size"):  # _v2 since 10.1
        if hasattr(engine, name):
            return int(getattr(engine, name))
    return 0


def needed_text(engine: CudaEngine) -> str:
    """`needed_bytes` in words, for people."""
    return f"it works in {needed_bytes(engine) / (1 << 20):.0f} MiB of GPU memory"


def check_tensors(trt: TensorRt, engine: CudaEngine, inputs: Layout, outputs: Layout) -> None:
    """Raise BackendError unless an engine has these inputs and outputs."""
    wanted = {True: inputs, False: outputs}
    found: Mapping[bool, dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]] = {
        True: {},
        False: {},
    }
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        number_type = np.dtype(trt.nptype(engine.get_tensor_dtype(name)))
        found[is_input][name] = number_type, tuple(engine.get_tensor_shape(name))
    for is_input, layout in wanted.items():
        kind = "input" if is_input else "output"
        for name, (dtype, shape) in layout.items():
            if found[is_input].get(name) != (np.dtype(dtype), shape):
                was = found[is_input].get(name, "missing")
                raise BackendError(
                    f"the engine's {kind} {name!r} is {was}, expected {np.dtype(dtype)} {shape}: "
                    "it was built from another model"
                )
