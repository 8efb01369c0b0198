"""Plugins in Python, for TensorRT 10.0 to 10.13: what NVIDIA's registry and a driver get of them.

Bindings, base classes and registry are real, of TensorRT 11.4, which has kept these classes; the
driver is a stub that writes calls down, and loads nothing while a stream is captured. That a
builder of 10.3 takes the plugins, and that a GPU runs what they launch, is not seen here.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvidia_libraries import cuda_stub, with_nvidia_front_end

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import SelectSpec, launch
from pag_ros.kernels.gpu.store import kernels_path
from pag_ros.runtime import find_model
from pag_ros.runtime.tensorrt.graph import engine_graph, plugin_name
from pag_ros.runtime.tensorrt.plugin_class import register_programs

CAPABILITY = 87
MODEL = "pag_lite0_indoor"
NVIDIA_TYPES = {"fp16": "HALF", "fp32": "FLOAT", "i32": "INT32"}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the plugins hand back, and what reaches the driver in each part of their lives."""
    return from_class_plugins(tmp_path_factory.mktemp("class_plugins"))


def from_class_plugins(folder: Path, **environment: str) -> dict[str, Any]:
    log, model = folder / "calls", find_model(MODEL)
    arguments = [model, kernels_path(model), CAPABILITY, cuda_stub(folder)]
    environment["CUDA_STUB_LOG"] = str(log)
    return with_nvidia_front_end("nvidia_class_plugins.py", arguments, folder, **environment)


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    return {spec.name: spec for spec in engine_graph(find_model(MODEL)).specs}


def test_the_registry_has_a_creator_for_every_kind_of_node(said, specs) -> None:
    kinds = {plugin_name(spec) for spec in specs.values()}
    assert sorted(map(tuple, said["creators"])) == sorted((kind, "2", "pag") for kind in kinds)


def test_types_and_shapes_are_those_of_the_programs(said, specs) -> None:
    assert said["programs"].keys() == specs.keys()
    for name, spec in specs.items():
        found = said["programs"][name]
        assert found["outputs"] == len(spec.outputs)
        assert found["types"] == [NVIDIA_TYPES[tensor.dtype] for tensor in spec.outputs]
        assert found["shapes"] == [list(tensor.shape) for tensor in spec.outputs]
        assert found["takes"] == [
            [f"{NVIDIA_TYPES[tensor.dtype]} LINEAR"] for tensor in (*spec.inputs, *spec.outputs)
        ]


@pytest.mark.parametrize(
    ("part", "moment"),
    [("timed", "attached"), ("timed without a context", "prepared"), ("run", "attached")],
)
def test_kernels_are_loaded_before_their_stream_is_captured(
    said, specs, part: str, moment: str
) -> None:
    for name in specs:
        life = said["programs"][name][part]
        assert life["error"] == ""
        assert f"cuModuleGetFunction {name}" in life[moment]
        loading = ["cuInit", "cuModuleLoadData", "cuModuleGetFunction", "cuFuncLoad"]
        assert [call.split()[0] for call in life["attached"] + life["prepared"]] == loading
        recorded = {call.split()[0] for call in life["recorded"]}
        assert recorded - {"cuMemcpyDtoDAsync_v2"} == {
            "cuStreamBeginCapture_v2",
            "cuLaunchKernel",
            "cuStreamEndCapture",
        }


def test_a_plugin_that_was_not_prepared_loads_nothing(said, specs) -> None:
    for name in specs:
        assert said["programs"][name]["unprepared"] == f"{name} is enqueued before it is attached"


def test_a_kernel_that_cannot_be_loaded_ends_the_build_with_the_reason(tmp_path: Path) -> None:
    """TensorRT 10.3 ends the process if it is given no plugin when it attaches one."""
    said = from_class_plugins(tmp_path, CUDA_STUB_FAIL="cuModuleLoadData=2")
    for program in said["programs"].values():
        assert program["run"]["error"] == "CUDA: cuModuleLoadData failed with error 2"


def test_every_kernel_is_launched_into_tensorrts_stream(said, specs) -> None:
    for name, spec in specs.items():
        how = launch(spec, CAPABILITY)
        grid = ",".join(map(str, how.grid))
        calls = said["programs"][name]["run"]["recorded"]
        (call,) = [each for each in calls if each.startswith("cuLaunchKernel")]
        assert f" grid {grid} block {32 * how.warps},1,1 shared " in call
        assert "stream 0x5eed first 1000" in call


def test_a_block_works_in_place_without_a_copy(said, specs) -> None:
    bases = {name: base_of(spec) for name, spec in specs.items()}
    assert any(base >= 0 for base in bases.values())
    for name, spec in specs.items():
        others = len(spec.outputs) - 1
        assert said["programs"][name]["aliased"] == [bases[name], *[-1] * others]
        assert not copies(said, name)


def test_before_10_3_a_block_begins_with_a_copy_of_its_base(tmp_path: Path, specs) -> None:
    said = from_class_plugins(tmp_path, WITHOUT_ALIASES="1")
    for name, spec in specs.items():
        wanted = []
        if (base := base_of(spec)) >= 0:
            size = 2 * spec.height * spec.width * spec.features
            wanted = [f"cuMemcpyDtoDAsync_v2 2000 {1000 + base} {size} 0x5eed"]
        assert copies(said, name) == wanted


def base_of(spec: Any) -> int:
    names = [tensor.name for tensor in spec.inputs]
    return names.index("base") if getattr(spec, "in_place", False) else -1


def copies(said: dict[str, Any], name: str) -> list[str]:
    calls = said["programs"][name]["run"]["recorded"]
    return [call for call in calls if call.startswith("cuMemcpy")]


def test_a_missing_kernel_and_an_old_tensorrt_are_named() -> None:
    spec = SelectSpec(3, 4)
    recent = SimpleNamespace(IPluginV3OneRuntime=None, __version__="10.3.0")
    with pytest.raises(BackendError, match="no kernel for pag_select_h3_w4"):
        register_programs(recent, {"node": spec}, {})
    with pytest.raises(BackendError, match=r"8\.6\.1 has no plugins in Python"):
        register_programs(SimpleNamespace(__version__="8.6.1"), {"node": spec}, {})
