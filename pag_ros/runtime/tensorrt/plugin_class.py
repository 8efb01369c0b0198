"""Our kernels as plugins that are Python classes and launch them (TensorRT 10.0 to 10.13).

The nodes and their attribute `program` are those of `plugin_quick`. An engine holds only the
program's name, so a process that runs it registers the plugins first. TensorRT calls `enqueue`
while it builds an engine, in the first run, and once more while the frame is recorded; the CUDA
graph that is replayed holds the kernels and no Python.

A builder may time a plugin while its stream is being recorded, and a driver loads no code then. So
kernels are loaded when a plugin is attached to an execution context, and never in `enqueue`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pag_ros.errors import BackendError
from pag_ros.runtime.tensorrt.api import (
    DynamicDescription,
    NodeAttribute,
    PluginFields,
    SizeBuilder,
    TensorRt,
)
from pag_ros.runtime.tensorrt.graph import PLUGIN_NAMESPACE, plugin_name
from pag_ros.runtime.tensorrt.libcuda import LIBRARY, LibCuda
from pag_ros.runtime.tensorrt.plugin_attributes import base_position, find_program

if TYPE_CHECKING:
    from pag_ros.kernels.gpu.programs import Spec
    from pag_ros.kernels.gpu.store import CompiledKernel

PLUGIN_VERSION = "2"
"""It differs from that of quickly deployable plugins, so that a process may know both."""

_programs: dict[str, tuple[Spec, CompiledKernel]] = {}
"""Programs of all models that this process builds or runs: TensorRT has one registry a process."""
_creators: dict[str, object] = {}
"""Kind of node -> creator of its plugins. TensorRT refers to them without owning them."""


def register_programs(
    trt: TensorRt,
    programs: Mapping[str, Spec],
    kernels: Mapping[str, CompiledKernel],
    library: str = LIBRARY,
) -> None:
    """Make the nodes of a graph known to TensorRT, before its parser or runtime meets them.

    Args:
        trt: the module tensorrt.
        programs: node name -> its program, see `EngineGraph`.
        kernels: program's name -> its kernel for the GPU that the engine is for.
        library: the driver's; tests give another one.

    Raises:
        BackendError: a kernel is missing, or this TensorRT has no such plugins.
    """
    if not hasattr(trt, "IPluginV3OneRuntime"):
        raise BackendError(
            f"TensorRT {trt.__version__} has no plugins in Python; 10.0 is the first"
        )
    for spec in programs.values():
        if spec.name not in kernels:
            raise BackendError(f"no kernel for {spec.name}; run `pag_ros build kernels`")
        _programs[spec.name] = spec, kernels[spec.name]
        name = plugin_name(spec)
        if name not in _creators:
            creator = _creator_class(trt, _plugin_class(trt, name, library))(name)
            trt.get_plugin_registry().register_creator(creator, PLUGIN_NAMESPACE)
            _creators[name] = creator


def _plugin_class(trt: TensorRt, kind: str, library: str) -> Callable[[str], object]:
    """The class of one kind of node, which derives from this TensorRT's classes."""
    # From 10.3 on a plugin can say that an output lies in an input.
    build = getattr(trt, "IPluginV3OneBuildV2", trt.IPluginV3OneBuild)
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, build, trt.IPluginV3OneRuntime)
    types = {"fp16": trt.float16, "fp32": trt.float32, "i32": trt.int32}

    class Plugin(*bases):  # type: ignore[misc]
        def __init__(self, program: str) -> None:
            for base in bases:
                base.__init__(self)
            self.plugin_name = kind
            self.plugin_version, self.plugin_namespace = PLUGIN_VERSION, PLUGIN_NAMESPACE
            self._spec, self._kernel = find_program(_programs, program)
            self._text = _text_of(program)
            self._fields = _text_fields(trt, self._text)
            self.num_outputs = len(self._spec.outputs)
            self._launcher: _Launcher | None = None

        def get_capability_interface(self, kind: object) -> Plugin:
            return self

        def clone(self) -> Plugin:
            copy = Plugin(self._spec.name)
            copy._launcher = self._launcher
            return copy

        def attach_to_context(self, context: object) -> Plugin:
            attached = Plugin(self._spec.name)
            # TensorRT needs a plugin from here, whatever happens; `on_shape_change` tries again.
            with suppress(BackendError):
                attached._load()
            return attached

        def _load(self) -> None:
            self._launcher = _Launcher(self._spec, self._kernel, LibCuda(library))

        def get_fields_to_serialize(self) -> PluginFields:
            return self._fields

        def get_output_data_types(self, input_types: Sequence[object]) -> list[object]:
            return [types[tensor.dtype] for tensor in self._spec.outputs]

        def get_output_shapes(
            self, inputs: object, shape_inputs: object, builder: SizeBuilder
        ) -> list[object]:
            return [
                trt.DimsExprs([builder.constant(size) for size in tensor.shape])
                for tensor in self._spec.outputs
            ]

        def get_aliased_input(self, output: int) -> int:
            base = base_position(self._spec)
            return -1 if base is None else base

        def supports_format_combination(
            self, place: int, tensors: Sequence[DynamicDescription], inputs: int
        ) -> bool:
            wanted = (*self._spec.inputs, *self._spec.outputs)[place]
            found = tensors[place].desc
            is_linear = found.format == trt.TensorFormat.LINEAR
            return bool(is_linear and found.type == types[wanted.dtype])

        def configure_plugin(self, inputs: object, outputs: object) -> None:
            """Nothing to configure: a program has one size only."""

        def on_shape_change(self, inputs: object, outputs: object) -> None:
            """Shapes never change, but this comes before every first `enqueue`."""
            if self._launcher is None:
                self._load()

        def set_tactic(self, tactic: int) -> None:
            """There is only one tactic."""

        def get_workspace_size(self, inputs: object, outputs: object) -> int:
            return 0

        def enqueue(
            self,
            input_desc: object,
            output_desc: object,
            inputs: Sequence[int],
            outputs: Sequence[int],
            workspace: int,
            stream: int,
        ) -> None:
            if self._launcher is None:
                raise RuntimeError(f"{self._spec.name} is enqueued before it is attached")
            self._launcher(inputs, outputs, stream)

    return Plugin


def _creator_class(trt: TensorRt, plugin: Callable[[str], object]) -> Callable[[str], object]:
    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc, name-defined]
        def __init__(self, kind: str) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = kind
            self.plugin_version, self.plugin_namespace = PLUGIN_VERSION, PLUGIN_NAMESPACE
            self._text = _text_of("")
            self.field_names = _text_fields(trt, self._text)

        def create_plugin(
            self, name: str, fields: Iterable[NodeAttribute], phase: object
        ) -> object:
            given = {field.name: field.data for field in fields}
            spec, _ = find_program(_programs, given["program"])
            return plugin(spec.name)

    return Creator


def _text_of(program: str) -> NDArray[np.int8]:
    text: NDArray[np.int8] = np.frombuffer(program.encode(), np.int8).copy()
    return text


def _text_fields(trt: TensorRt, text: NDArray[np.int8]) -> PluginFields:
    """The attribute `program`. TensorRT keeps only addresses of the text and of the result."""
    return trt.PluginFieldCollection([trt.PluginField("program", text, trt.PluginFieldType.CHAR)])


class _Launcher:
    """Loads a kernel into this thread's GPU context at once, and puts it into streams.

    It calls the driver's own functions, since PyCUDA launches only into streams that it made.
    """

    def __init__(self, spec: Spec, kernel: CompiledKernel, cuda: LibCuda) -> None:
        self._kernel, self._cuda = kernel, cuda
        self._function = cuda.load_function(kernel.code, kernel.name)
        self._base = base_position(spec)
        if self._base is not None:
            self._base_bytes = 2 * int(np.prod(spec.inputs[self._base].shape))

    def __call__(self, inputs: Sequence[int], outputs: Sequence[int], stream: int) -> None:
        # TensorRT before 10.3 cannot be told that the result lies in the base.
        if self._base is not None and outputs[0] != inputs[self._base]:
            self._cuda.copy(outputs[0], inputs[self._base], self._base_bytes, stream)
        kernel = self._kernel
        self._cuda.launch_kernel(
            self._function,
            kernel.grid,
            kernel.threads,
            kernel.shared_bytes,
            stream,
            (*inputs, *outputs),
        )
