"""From a model to a TensorRT engine for this machine's GPU, and what the engine says of itself."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import StampSpec
from pag_ros.kernels.gpu.store import CompiledKernel, kernels_path, load_kernels
from pag_ros.runtime.tensorrt import plugin_class, plugin_quick
from pag_ros.runtime.tensorrt.api import BuilderConfig, EngineBuilder, NetworkDefinition, TensorRt
from pag_ros.runtime.tensorrt.driver import OutOfMemoryError
from pag_ros.runtime.tensorrt.engine import TensorRtLog, logger_of, needed_bytes, started
from pag_ros.runtime.tensorrt.graph import PLUGIN_VERSION, EngineGraph
from pag_ros.runtime.tensorrt.libcuda import Gpu
from pag_ros.runtime.tensorrt.progress import BuildProgress, Report, progress_monitor
from pag_ros.runtime.tensorrt.requirements import takes_kernels_ahead_of_time

PRECISIONS = ("fp16",)
"""Types that the GPU kernels compute in; normalisation, scores and heads stay in float32."""

MIB = 1 << 20
_WORKSPACE_BYTES = 256 * MIB
"""Memory that a layer's implementation may use: ours use none, those of small networks little."""
_BASE_BYTES = 512 * MIB
"""Memory that a CUDA context with TensorRT's libraries takes, and the timing of its kernels."""
_COPIES_OF_WEIGHTS = 4
"""A builder holds them in the graph, in the candidates, in the serialized engine, and in the loaded
one that is asked for its layers."""
_IN_PLACE = "ALIASED_PLUGIN_IO_10_03"
"""Name of the preview feature; a later TensorRT may have made it the rule."""


KINDS = {"aot": plugin_quick, "class": plugin_class}
"""Kind of plugins -> their module: kernels compiled ahead of time into the engine, or launched by
classes in Python."""
_VERSIONS = {"aot": PLUGIN_VERSION, "class": plugin_class.PLUGIN_VERSION}


class Plugins:
    """Our kernels as plugins of TensorRT.

    Args:
        trt: the module tensorrt.
        kind: one of `KINDS`.
    """

    def __init__(self, trt: TensorRt, kind: str) -> None:
        self._trt, self._module = trt, KINDS[kind]
        self.kind = kind

    @property
    def version(self) -> str:
        """The plugins' version, which the nodes of a graph have to name."""
        return _VERSIONS[self.kind]

    @property
    def ahead_of_time(self) -> bool:
        """Whether the kernels are compiled into the engine."""
        return self.kind == "aot"

    @property
    def needed_to_run(self) -> bool:
        """Whether an engine needs the plugins registered in every process that runs it."""
        return not self.ahead_of_time

    def register(self, graph: EngineGraph, kernels: Mapping[str, CompiledKernel]) -> None:
        """Make the nodes of a graph known.

        Raises:
            BackendError: a kernel is missing, or this TensorRT has no such plugins.
        """
        self._module.register_programs(self._trt, graph.programs, kernels)


def plugin_kinds(trt: TensorRt) -> list[Plugins]:
    """The kinds of plugins that a TensorRT has, the better one first.

    Args:
        trt: the module tensorrt.
    """
    kinds = ["aot", "class"] if takes_kernels_ahead_of_time(trt) else ["class"]
    return [Plugins(trt, kind) for kind in kinds]


def kernels_of(model: Path, graph: EngineGraph, gpu: Gpu) -> dict[str, CompiledKernel]:
    """The kernels of a graph for a GPU, and the one that begins a frame; by their names.

    Args:
        model: path of the ONNX file, its kernels beside it.

    Raises:
        BackendError: they are missing or damaged; the message says how to make them.
    """
    specs = [StampSpec(), *graph.specs]
    return load_kernels(kernels_path(model), specs, gpu.capability, gpu.multiprocessors)


def build_engine(
    trt: TensorRt,
    plugins: Plugins,
    graph: EngineGraph,
    kernels: Mapping[str, CompiledKernel],
    free_bytes: int,
    report: Report,
    is_stopped: Callable[[], bool] = bool,
) -> tuple[bytes, dict[str, Any]]:
    """Build an engine; takes minutes on a Jetson.

    Args:
        trt: the module tensorrt.
        plugins: that the graph's nodes are to be.
        graph: of the model, for this version of plugins.
        kernels: from `kernels_of`.
        free_bytes: of the GPU.
        report: told how far it has come.
        is_stopped: asked now and then whether the build is to end.

    Returns:
        The serialized engine and its summary: "build_seconds", "engine_bytes", "device_bytes" (what
        it works in), "precisions" (data type -> number of layers that give it, as the engine lists
        them) and "plugins" (names of the layers that are our kernels).

    Raises:
        OutOfMemoryError: too little memory.
        BackendError: TensorRT refuses the model; the text says why.
    """
    require_memory(len(graph.onnx), free_bytes)
    plugins.register(graph, kernels)
    began = time.monotonic()
    progress = BuildProgress(report)
    content = compile_network(trt, graph.onnx, progress, plugins.ahead_of_time, is_stopped)
    seconds = time.monotonic() - began
    return content, {"build_seconds": seconds, **engine_summary(trt, content)}


def build_standard_engine(
    trt: TensorRt,
    onnx: bytes,
    most: Mapping[str, Sequence[int]],
    free_bytes: int,
    report: Report,
    is_stopped: Callable[[], bool] = bool,
) -> tuple[bytes, dict[str, Any]]:
    """Build the engine of a graph in standard operators.

    Arguments, results and errors are those of `build_engine`, and:

    Args:
        onnx: the graph.
        most: see `compile_network`.
    """
    require_memory(len(onnx), free_bytes)
    began = time.monotonic()
    content = compile_network(trt, onnx, BuildProgress(report), False, is_stopped, most)
    seconds = time.monotonic() - began
    return content, {"build_seconds": seconds, **engine_summary(trt, content)}


def require_memory(onnx_bytes: int, free_bytes: int) -> None:
    """Raise OutOfMemoryError unless the GPU has room for a build, as far as one can foresee."""
    need = _BASE_BYTES + _WORKSPACE_BYTES + _COPIES_OF_WEIGHTS * onnx_bytes
    if free_bytes < need:
        raise OutOfMemoryError(
            f"building the engine needs about {need / MIB:.0f} MiB of GPU memory, "
            f"{free_bytes / MIB:.0f} MiB are free; end other programs on the GPU (nvidia-smi lists "
            "them; on a Jetson every program shares this memory) and try again"
        )


def compile_network(
    trt: TensorRt,
    onnx: bytes,
    progress: BuildProgress,
    ahead_of_time: bool = False,
    is_stopped: Callable[[], bool] = bool,
    most: Mapping[str, Sequence[int]] | None = None,
) -> bytes:
    """The serialized engine of an ONNX graph, every layer in the types that the graph says.

    Args:
        ahead_of_time: its plugins are to be compiled into the engine.
        is_stopped: asked after every step whether the build is to end.
        most: input that shapes depend on -> its largest values; each may be as small as 1.

    Raises:
        OutOfMemoryError: too little memory.
        BackendError: TensorRT refuses it; the text says why.
    """
    log = logger_of(trt)
    log.forget()
    builder = started(trt, "Builder")
    network = builder.create_network(_network_flags(trt, ahead_of_time))
    _parse(trt, network, onnx, log)
    config = builder_config(trt, builder)
    if most:
        _add_profile(builder, config, most)
    monitor = progress_monitor(trt, progress, is_stopped)
    config.progress_monitor = monitor
    serialized = builder.build_serialized_network(network, config)
    if serialized is None and is_stopped():
        raise BackendError("the build of the engine was stopped")
    if serialized is None:
        error = OutOfMemoryError if log.tells_of_memory else BackendError
        raise error(f"TensorRT {trt.__version__} cannot build the engine{log.reason}")
    return bytes(serialized)


def builder_config(trt: TensorRt, builder: EngineBuilder) -> BuilderConfig:
    """How engines are built: a trt.IBuilderConfig."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    # The engine then tells each layer's types.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # What a graph has in float32 is meant so: TF32 keeps no more digits than half precision.
    config.clear_flag(trt.BuilderFlag.TF32)
    # One stream: blocks follow each other anyhow, and time stamps then mean what they say.
    config.max_aux_streams = 0
    if hasattr(trt.PreviewFeature, _IN_PLACE):
        # Without it the builder refuses blocks that write into the map that they were given.
        config.set_preview_feature(getattr(trt.PreviewFeature, _IN_PLACE), True)
    return config


def _add_profile(
    builder: EngineBuilder, config: BuilderConfig, most: Mapping[str, Sequence[int]]
) -> None:
    """One optimization profile for all values; TensorRT times its kernels at half of the most."""
    profile = builder.create_optimization_profile()
    for name, values in most.items():
        usual = [max(1, value // 2) for value in values]
        profile.set_shape_input(name, [1] * len(values), usual, list(values))
    config.add_optimization_profile(profile)


def engine_summary(trt: TensorRt, content: bytes) -> dict[str, Any]:
    """What an engine says of itself, see `build_engine`.

    Args:
        content: the serialized engine.

    Raises:
        BackendError: TensorRT refuses it.
    """
    log = logger_of(trt)
    runtime = started(trt, "Runtime")
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise BackendError(f"TensorRT cannot read the engine that it has built{log.reason}")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return {
        "engine_bytes": len(content),
        "device_bytes": needed_bytes(engine),
        **layer_summary(text),
    }


def layer_summary(text: str) -> dict[str, Any]:
    """ "precisions" and "plugins" of the inspector's JSON text; empty where it does not tell."""
    try:
        layers = json.loads(text)["Layers"]
        detailed = [layer for layer in layers if isinstance(layer, dict)]
        outputs = [tensor for layer in detailed for tensor in layer.get("Outputs", [])[:1]]
        precisions = Counter(_type_of(str(each.get("Format/Datatype", ""))) for each in outputs)
        plugins = [
            str(layer.get("Name", ""))
            for layer in detailed
            if "plugin" in str(layer.get("LayerType", "")).lower()
        ]
    except (ValueError, TypeError, LookupError, AttributeError):
        return {"precisions": {}, "plugins": []}
    return {"precisions": dict(precisions.most_common()), "plugins": plugins}


def _type_of(text: str) -> str:
    """The data type in the inspector's words on a tensor's format, such as "Half", "Row major
    linear FP16 format" or "Channel major FP32 format"."""
    words = {"half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32", "int32": "int32"}
    found = [words[word] for word in text.lower().replace(":", " ").split() if word in words]
    return found[0] if found else text or "unknown"


def _network_flags(trt: TensorRt, ahead_of_time: bool) -> int:
    """Later versions may drop a flag whose meaning has become the rule."""
    names = ["STRONGLY_TYPED", *(["PREFER_AOT_PYTHON_PLUGINS"] if ahead_of_time else [])]
    kinds = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(kinds, name)) for name in names if hasattr(kinds, name))


def _parse(trt: TensorRt, network: NetworkDefinition, onnx: bytes, log: TensorRtLog) -> None:
    parser = trt.OnnxParser(network, log.logger)
    if parser.parse(onnx):
        return
    errors = [str(parser.get_error(number).desc()) for number in range(parser.num_errors)]
    reason = f": {'; '.join(errors[:2])}" if errors else log.reason
    raise BackendError(f"TensorRT {trt.__version__} does not understand the model{reason}")
