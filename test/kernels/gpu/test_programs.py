"""Programs know their arguments and sizes, refuse what makes no sense, and need no Triton."""

from __future__ import annotations

import pytest
from python_process import run_python

from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec, launch


def conv(**options) -> ConvSpec:
    return ConvSpec(**{"height": 30, "width": 40, "channels": 128, "features": 128, **options})


def test_neither_triton_nor_torch_is_imported_to_read_kernels():
    code = (
        "import sys, pag_ros.kernels.gpu.programs, pag_ros.lab.kernel_compiler.compiler\n"
        "import pag_ros.kernels.gpu.store, pag_ros.lab.commands.build_kernels\n"
        "sys.exit(bool({'triton', 'torch'} & set(sys.modules)))"
    )
    assert run_python(code).returncode == 0


def test_arguments_come_in_the_order_of_the_kernel():
    spec = conv(features=128, base=True, by_map=True)
    names = [tensor.name for tensor in (*spec.inputs, *spec.outputs)]
    assert names == ["x", "index", "slot", "count", "weight", "bias", "base", "dilation", "y"]
    assert [tensor.name for tensor in StampSpec().outputs] == ["clock"]
    select = SelectSpec(3, 5)
    assert [tensor.name for tensor in select.inputs] == ["score", "keep", "limits", "clock"]
    assert [tensor.name for tensor in select.outputs] == ["index", "slot", "count", "stamp"]


def test_rows_and_maps_have_their_shapes():
    spec = conv(features=7, x_rows=True)
    assert spec.inputs[0].shape == (1200, 128)
    assert spec.inputs[4].shape == (9, 128, 7)
    assert spec.outputs[0].shape == (1, 30, 40, 7)
    assert conv(out_rows=True).outputs[0].shape == (1200, 128)


def test_programs_that_differ_have_names_that_differ_and_are_identifiers():
    specs = [
        StampSpec(),
        SelectSpec(30, 40),
        SelectSpec(40, 30),
        conv(),
        conv(kernel=1),
        conv(dilation=2),
        conv(features=64),
        conv(channels=64),
        conv(height=31),
        conv(activation="relu"),
        conv(x_rows=True),
        conv(out_rows=True),
        conv(by_map=True),
        conv(base=True),
        conv(base=True, residual=True),
        conv(base=True, x_rows=True),
        conv(base=True, x_rows=True, in_place=True),
    ]
    names = {spec.name for spec in specs}
    assert len(names) == len(specs)
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 0}, "height must be 1 or more, got 0"),
        ({"features": -1}, "features must be 1"),
        ({"kernel": 5}, "kernel must be 1 or 3, got 5"),
        ({"dilation": 0}, "dilation must be 1 to"),
        ({"activation": "tanh"}, "activation must be one of"),
        ({"residual": True}, "residual needs a base"),
        ({"base": True, "out_rows": True}, "rows have no base"),
        ({"base": True, "in_place": True}, "in_place needs a base"),
        ({"x_rows": True, "in_place": True}, "in_place needs a base"),
        ({"by_map": True, "kernel": 1}, "by_map needs kernel 3"),
        ({"by_map": True, "dilation": 2}, "by_map needs kernel 3"),
        ({"by_map": True, "features": 64}, "as many features as channels"),
        ({"height": 40000, "width": 40000}, "more than 32-bit offsets reach"),
    ],
)
def test_what_makes_no_program_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        conv(**options)


def test_an_old_gpu_is_refused():
    with pytest.raises(ValueError, match=r"need compute capability 8\.0, got 7\.2"):
        launch(conv(), 72)


@pytest.mark.parametrize("capability", [80, 86, 87, 89, 90, 100, 103, 110, 120, 121])
@pytest.mark.parametrize("size", [(15, 20), (120, 160)])
@pytest.mark.parametrize("features", [7, 64, 512])
def test_the_grid_covers_the_whole_result(capability, size, features):
    spec = conv(height=size[0], width=size[1], features=features)
    how = launch(spec, capability)
    assert how.grid[0] * how.constants["BLOCK_M"] >= spec.pixels
    assert how.grid[1] * how.constants["BLOCK_N"] >= features
    assert how.constants["BLOCK_N"] < 2 * max(16, features)
    assert how.stages >= 2


def test_a_gpu_with_more_multiprocessors_gets_more_programs():
    orin, h100 = (launch(conv(), capability).grid for capability in (87, 90))
    assert h100[0] * h100[1] > orin[0] * orin[1]
