"""Plugins in Python, for TensorRT 10.0 to 10.8: what NVIDIA's registry and a driver get of them.

Bindings, base classes and registry are real, of TensorRT 11.4, which has kept these classes; the
driver is a stub that writes calls down. That a builder of 10.3 takes the plugins, and that a GPU
runs what they launch, is not seen here.
"""

from __future__ import annotations

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
    """What the plugins hand back, and under "calls" what reached the driver."""
    folder = tmp_path_factory.mktemp("class_plugins")
    log, model = folder / "calls", find_model(MODEL)
    arguments = [model, kernels_path(model), CAPABILITY, cuda_stub(folder)]
    told = with_nvidia_front_end(
        "nvidia_class_plugins.py", arguments, folder, CUDA_STUB_LOG=str(log)
    )
    return {**told, "calls": log.read_text().splitlines()}


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    return {spec.name: spec for spec in engine_graph(find_model(MODEL)).specs}


def test_the_registry_has_a_creator_for_every_kind_of_node(said, specs) -> None:
    kinds = {plugin_name(spec) for spec in specs.values()}
    assert sorted(map(tuple, said["creators"])) == sorted((kind, "1", "pag") for kind in kinds)


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


def test_every_kernel_is_launched_into_tensorrts_stream(said, specs) -> None:
    launches = [call for call in said["calls"] if call.startswith("cuLaunchKernel")]
    for spec, call in zip(specs.values(), launches, strict=True):
        how = launch(spec, CAPABILITY)
        grid = ",".join(map(str, how.grid))
        assert f" grid {grid} block {32 * how.warps},1,1 shared " in call
        assert "stream 0x5eed first 1000" in call


def test_a_block_that_works_in_place_begins_with_its_base(said, specs) -> None:
    wanted = []
    for spec in specs.values():
        if getattr(spec, "in_place", False):
            place = [tensor.name for tensor in spec.inputs].index("base")
            size = 2 * spec.height * spec.width * spec.features
            wanted.append(f"cuMemcpyDtoDAsync_v2 2000 {1000 + place} {size} 0x5eed")
    assert wanted
    assert [call for call in said["calls"] if call.startswith("cuMemcpy")] == wanted


def test_a_missing_kernel_and_an_old_tensorrt_are_named() -> None:
    spec = SelectSpec(3, 4)
    recent = SimpleNamespace(IPluginV3OneRuntime=None, __version__="10.3.0")
    with pytest.raises(BackendError, match="no kernel for pag_select_h3_w4"):
        register_programs(recent, {"node": spec}, {})
    with pytest.raises(BackendError, match=r"8\.6\.1 has no plugins in Python"):
        register_programs(SimpleNamespace(__version__="8.6.1"), {"node": spec}, {})
