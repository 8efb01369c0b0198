"""NVIDIA's plugin front end takes our programs as they are.

The bindings, their validation and the plugin registry are the real ones, and our functions are
called by them only. Parser and builder are not (`onnx_import`, `nvidia_front_end`): that TensorRT's
parser finds the plugins, and its engines run the kernels, is seen on a GPU machine only.
"""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from nvidia_libraries import with_nvidia_front_end

from pag_ros.cli import main
from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import SelectSpec, launch
from pag_ros.runtime import find_model
from pag_ros.runtime.tensorrt.graph import engine_graph, plugin_name
from pag_ros.runtime.tensorrt.plugin_quick import register_programs

CAPABILITY = 87
NVIDIA_TYPES = {"fp16": "HALF", "fp32": "FLOAT", "i32": "INT32"}


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the front end says about the shipped model's programs, from a process of its own."""
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    folder = tmp_path_factory.mktemp("front_end")
    model = find_model("pag_lite0_indoor")
    assert main(["build", "kernels", "--targets", str(CAPABILITY), "--out", str(folder)]) == 0
    arguments = [model, folder / "pag_lite0_indoor.kernels.zip", CAPABILITY]
    return with_nvidia_front_end("nvidia_front_end.py", arguments, folder)


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    return {spec.name: spec for spec in engine_graph(find_model("pag_lite0_indoor")).specs}


def test_the_registry_has_a_creator_for_every_kind_of_node(front_end, specs) -> None:
    kinds = {plugin_name(spec) for spec in specs.values()}
    assert {tuple(each) for each in front_end["creators"]} == {(k, "1", "pag") for k in kinds}


def test_a_process_may_know_both_kinds_of_plugins(front_end, specs) -> None:
    kinds = {plugin_name(spec) for spec in specs.values()}
    assert front_end["with both kinds"] == sorted([k, v] for k in kinds for v in ("1", "2"))


def test_types_and_shapes_are_those_of_the_programs(front_end, specs) -> None:
    for name, spec in specs.items():
        said = front_end["programs"][name]
        assert said["types"] == [NVIDIA_TYPES[tensor.dtype] for tensor in spec.outputs]
        assert said["shapes"] == [list(tensor.shape) for tensor in spec.outputs]


def test_tensors_are_linear_and_of_the_programs_types(front_end, specs) -> None:
    for name, spec in specs.items():
        tensors = (*spec.inputs, *spec.outputs)
        wanted = [NVIDIA_TYPES[tensor.dtype] for tensor in tensors]
        assert front_end["programs"][name]["formats"] == wanted


def test_blocks_that_work_in_place_alias_their_base(front_end, specs) -> None:
    for name, spec in specs.items():
        aliased = set(front_end["programs"][name]["aliased"].values())
        names = [tensor.name for tensor in spec.inputs]
        in_place = getattr(spec, "in_place", False)
        assert aliased == ({names.index("base")} if in_place else {-1}), name


def test_launch_parameters_are_the_kernels(front_end, specs) -> None:
    for name, spec in specs.items():
        said, how = front_end["programs"][name], launch(spec, CAPABILITY)
        sizes = said["launch"]
        assert (sizes["grid_x"], sizes["grid_y"], sizes["grid_z"]) == how.grid
        assert (sizes["block_x"], sizes["block_y"], sizes["block_z"]) == (32 * how.warps, 1, 1)
        assert 0 <= sizes["shared_mem"] <= 48 * 1024
        assert said["kernel"] == name


def test_a_kernel_takes_inputs_then_outputs_and_nothing_else(front_end, specs) -> None:
    for name, spec in specs.items():
        said = front_end["programs"][name]
        assert said["extra"] == 0
        (entry,) = re.findall(rf"\.entry {name}\(([^)]*)\)", said["code"])
        parameters = [line.strip() for line in entry.split(",")]
        assert len(parameters) == len(spec.inputs) + len(spec.outputs)
        assert all(".u64" in parameter for parameter in parameters)


def test_a_missing_kernel_and_an_old_tensorrt_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SelectSpec(3, 4)
    front_end = ModuleType("recent.plugin")
    front_end.aot_impl = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recent", ModuleType("recent"))
    monkeypatch.setitem(sys.modules, "recent.plugin", front_end)
    recent = SimpleNamespace(__name__="recent", __version__="11.4.0")
    with pytest.raises(BackendError, match="no kernel for pag_select_h3_w4"):
        register_programs(recent, {"node": spec}, {})
    del front_end.aot_impl  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_bindings.plugin", None)
    with pytest.raises(BackendError, match=r"11\.4\.0 has no plugins.*recent\.plugin or tensor"):
        register_programs(recent, {"node": spec}, {})
