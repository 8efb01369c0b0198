"""Our kernels as quickly deployable plugins, compiled ahead of time (TensorRT >= 10.14).

TensorRT takes the PTX and the launch parameters while it builds an engine; the engine then holds
them and runs without Python. Every kind of node (`graph.plugin_name`) is one plugin of the
namespace `pag`, and its attribute `program` names the kernel. A kernel's arguments are the inputs,
then extra scalars, of which ours have none, then the outputs; all sizes are constants in it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pag_ros.errors import BackendError
from pag_ros.runtime.tensorrt.api import PluginFrontEnd, QuickTensor, TensorRt
from pag_ros.runtime.tensorrt.graph import PLUGIN_NAMESPACE, plugin_name
from pag_ros.runtime.tensorrt.plugin_attributes import Attribute, base_position, find_program

if TYPE_CHECKING:
    from pag_ros.kernels.gpu.programs import Spec
    from pag_ros.kernels.gpu.store import CompiledKernel

_programs: dict[str, tuple[Spec, CompiledKernel]] = {}
"""Programs of all models that this process builds: TensorRT has one registry a process."""
_registered: set[str] = set()


def register_programs(
    trt: TensorRt, programs: Mapping[str, Spec], kernels: Mapping[str, CompiledKernel]
) -> None:
    """Make the nodes of a graph known to TensorRT, before its parser meets them.

    Args:
        trt: the module tensorrt.
        programs: node name -> its program, see `EngineGraph`.
        kernels: program's name -> its kernel for the GPU that the engine is for.

    Raises:
        BackendError: a kernel is missing, or this TensorRT has no such plugins.
    """
    front_end = _front_end(trt)
    for spec in programs.values():
        if spec.name not in kernels:
            raise BackendError(f"no kernel for {spec.name}; run `pag_ros build kernels`")
        _programs[spec.name] = spec, kernels[spec.name]
        name = plugin_name(spec)
        if name not in _registered:
            _register(trt, front_end, name, spec)
            _registered.add(name)


def _front_end(trt: TensorRt) -> PluginFrontEnd:
    """The module tensorrt.plugin, which `import tensorrt` does not bring along.

    Raises:
        BackendError: there is none, or one without plugins compiled ahead of time.
    """
    # Some of NVIDIA's wheels have it beside the bindings only.
    names = dict.fromkeys((f"{trt.__name__}.plugin", "tensorrt_bindings.plugin"))
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        if hasattr(module, "aot_impl"):
            return module
    raise BackendError(
        f"TensorRT {trt.__version__} has no plugins that are compiled ahead of time: "
        f"no {' or '.join(names)} with aot_impl"
    )


def _register(trt: TensorRt, plugin: PluginFrontEnd, name: str, example: Spec) -> None:
    """Register one kind of node; the front end reads the functions' signatures.

    Args:
        plugin: the module tensorrt.plugin.
    """
    types = {"fp16": trt.float16, "fp32": trt.float32, "i32": trt.int32}
    inputs, outputs = len(example.inputs), len(example.outputs)

    def describe(*descriptions: QuickTensor, program: str) -> QuickTensor | tuple[QuickTensor, ...]:
        spec, _ = find_program(_programs, program)
        results = tuple(
            plugin.from_shape_expr(tensor.shape, dtype=types[tensor.dtype])
            for tensor in spec.outputs
        )
        base = base_position(spec)
        if base is not None:
            results = (descriptions[base].aliased(),)
        return results if outputs > 1 else results[0]

    def implement(*arguments: object) -> tuple[object, ...]:
        _, kernel = find_program(_programs, cast("Attribute", arguments[inputs]))
        launch = plugin.KernelLaunchParams()
        launch.grid_x, launch.grid_y, launch.grid_z = kernel.grid
        launch.block_x = kernel.threads
        launch.shared_mem = kernel.shared_bytes
        return kernel.name, kernel.ptx, launch, plugin.SymIntExprs(0)

    desc = plugin.TensorDesc
    text = str | bytes
    handed_over = tuple.__class_getitem__((text, text, plugin.KernelLaunchParams, plugin.SymExprs))
    tensors = [_parameter(tensor.name, desc) for tensor in example.inputs]
    attribute = _parameter("program", str)
    returned = tuple[(desc,) * outputs] if outputs > 1 else desc  # type: ignore[misc]
    describe.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*tensors, attribute], return_annotation=returned
    )
    results = _parameter("outputs", tuple[(desc,) * outputs])  # type: ignore[misc]
    implement.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*tensors, attribute, results, _parameter("tactic", int)], return_annotation=handed_over
    )
    plugin_id = f"{PLUGIN_NAMESPACE}::{name}"
    plugin.register(plugin_id)(describe)
    plugin.aot_impl(plugin_id)(implement)


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
