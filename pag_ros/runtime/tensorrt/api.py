"""What we use of the modules tensorrt and tensorrt.plugin, whose bindings have no types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pag_ros.runtime.tensorrt.plugin_attributes import Attribute

_Function = TypeVar("_Function", bound=Callable[..., object])


class TensorRt(Protocol):
    """The module tensorrt. What is a class there is created by us, or derived from."""

    __name__: str
    __version__: str
    float16: object
    float32: object
    int32: object
    ILogger: type[LoggerBase]
    IProgressMonitor: type[Any]
    IPluginV3: type[Any]
    IPluginV3OneCore: type[Any]
    IPluginV3OneBuild: type[Any]
    IPluginV3OneRuntime: type[Any]
    IPluginCreatorV3One: type[Any]
    Builder: Callable[[LoggerBase], EngineBuilder]
    Runtime: Callable[[LoggerBase], EngineRuntime]
    OnnxParser: Callable[[NetworkDefinition, LoggerBase], GraphParser]
    PluginField: Callable[[str, NDArray[np.int8], object], NodeAttribute]
    PluginFieldCollection: Callable[[list[NodeAttribute]], PluginFields]
    DimsExprs: Callable[[list[SizeExpression]], object]
    TensorIOMode: TensorModes
    TensorLocation: TensorLocations
    ExecutionContextAllocationStrategy: AllocationStrategies
    BuilderFlag: BuilderFlags
    TensorFormat: TensorFormats
    PluginFieldType: FieldTypes
    MemoryPoolType: MemoryPools
    ProfilingVerbosity: Verbosities
    PreviewFeature: object
    LayerInformationFormat: InspectorFormats
    NetworkDefinitionCreationFlag: object

    def nptype(self, dtype: object) -> type[np.generic]: ...
    def get_plugin_registry(self) -> PluginRegistry: ...


class LoggerBase(Protocol):
    """A trt.ILogger."""

    ERROR: object
    INTERNAL_ERROR: object


class TensorModes(Protocol):
    """The enumeration trt.TensorIOMode."""

    INPUT: object


class TensorLocations(Protocol):
    """The enumeration trt.TensorLocation."""

    HOST: object


class AllocationStrategies(Protocol):
    """The enumeration trt.ExecutionContextAllocationStrategy."""

    USER_MANAGED: object


class BuilderFlags(Protocol):
    """The enumeration trt.BuilderFlag."""

    TF32: object


class TensorFormats(Protocol):
    """The enumeration trt.TensorFormat."""

    LINEAR: object


class FieldTypes(Protocol):
    """The enumeration trt.PluginFieldType."""

    CHAR: object


class MemoryPools(Protocol):
    """The enumeration trt.MemoryPoolType."""

    WORKSPACE: object


class Verbosities(Protocol):
    """The enumeration trt.ProfilingVerbosity."""

    DETAILED: object


class InspectorFormats(Protocol):
    """The enumeration trt.LayerInformationFormat."""

    JSON: object


class NetworkDefinition(Protocol):
    """A trt.INetworkDefinition, which only the parser fills."""


class GraphError(Protocol):
    """A trt.ParserError."""

    def desc(self) -> str: ...


class GraphParser(Protocol):
    """A trt.OnnxParser."""

    @property
    def num_errors(self) -> int: ...
    def parse(self, onnx: bytes) -> bool: ...
    def get_error(self, number: int) -> GraphError: ...


class BuilderConfig(Protocol):
    """A trt.IBuilderConfig."""

    profiling_verbosity: object
    max_aux_streams: int
    progress_monitor: object

    def set_memory_pool_limit(self, pool: object, size: int) -> object: ...
    def set_preview_feature(self, feature: object, on: bool) -> object: ...
    def clear_flag(self, flag: object) -> object: ...
    def add_optimization_profile(self, profile: OptimizationProfile) -> int: ...


class OptimizationProfile(Protocol):
    """A trt.IOptimizationProfile."""

    def set_shape_input(
        self, name: str, least: Sequence[int], usual: Sequence[int], most: Sequence[int], /
    ) -> object: ...


class HostBytes(Protocol):
    """A trt.IHostMemory: bytes are made of it."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class EngineBuilder(Protocol):
    """A trt.Builder. Where it fails it gives None and tells the logger."""

    def create_network(self, flags: int) -> NetworkDefinition: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
    def build_serialized_network(
        self, network: NetworkDefinition, config: BuilderConfig
    ) -> HostBytes | None: ...


class ExecutionContext(Protocol):
    """A trt.IExecutionContext."""

    device_memory: int

    def set_tensor_address(self, name: str, address: int) -> bool: ...
    def set_optimization_profile_async(self, number: int, stream: int) -> bool: ...
    def set_device_memory(self, address: int, size: int) -> object: ...
    def infer_shapes(self) -> list[str]: ...
    def get_tensor_shape(self, name: str) -> Iterable[int]: ...
    def execute_async_v3(self, stream: int) -> bool: ...


class EngineInspector(Protocol):
    """A trt.EngineInspector."""

    def get_engine_information(self, kind: object) -> str: ...


class CudaEngine(Protocol):
    """A trt.ICudaEngine."""

    @property
    def num_io_tensors(self) -> int: ...
    def get_tensor_name(self, number: int) -> str: ...
    def get_tensor_mode(self, name: str) -> object: ...
    def get_tensor_dtype(self, name: str) -> object: ...
    def get_tensor_shape(self, name: str) -> Iterable[int]: ...
    def get_tensor_location(self, name: str) -> object: ...
    def create_execution_context(self, strategy: object = ...) -> ExecutionContext | None: ...
    def create_engine_inspector(self) -> EngineInspector: ...


class EngineRuntime(Protocol):
    """A trt.Runtime."""

    def deserialize_cuda_engine(self, content: bytes) -> CudaEngine | None: ...


class NodeAttribute(Protocol):
    """A trt.PluginField."""

    @property
    def name(self) -> str: ...
    @property
    def data(self) -> Attribute: ...


class PluginFields(Protocol):
    """A trt.PluginFieldCollection."""


class PluginRegistry(Protocol):
    """A trt.IPluginRegistry."""

    def register_creator(self, creator: object, namespace: str) -> object: ...


class SizeExpression(Protocol):
    """A trt.IDimensionExpr."""


class SizeBuilder(Protocol):
    """A trt.IExprBuilder."""

    def constant(self, size: int) -> SizeExpression: ...


class TensorDescription(Protocol):
    """A trt.PluginTensorDesc."""

    @property
    def format(self) -> object: ...
    @property
    def type(self) -> object: ...


class DynamicDescription(Protocol):
    """A trt.DynamicPluginTensorDesc."""

    @property
    def desc(self) -> TensorDescription: ...


class PluginFrontEnd(Protocol):
    """The module tensorrt.plugin. Its classes name the types in the signatures that it reads."""

    TensorDesc: type[QuickTensor]
    SymExprs: type[object]
    KernelLaunchParams: type[LaunchParameters]
    SymIntExprs: Callable[[int], object]

    def from_shape_expr(self, shape: Sequence[int], dtype: object) -> QuickTensor: ...
    def register(self, plugin_id: str) -> Callable[[_Function], object]: ...
    def aot_impl(self, plugin_id: str) -> Callable[[_Function], object]: ...


class QuickTensor(Protocol):
    """A tensorrt.plugin.TensorDesc."""

    def aliased(self) -> QuickTensor: ...


class LaunchParameters(Protocol):
    """A tensorrt.plugin.KernelLaunchParams."""

    grid_x: int
    grid_y: int
    grid_z: int
    block_x: int
    shared_mem: int
