"""Every kind of kernel compiles for every target, without spills and within TensorRT's limits.

The assembler that comes with Triton says so, on the CPU: this proves neither that a GPU computes
the right numbers with this code, nor that it is fast.
"""

from __future__ import annotations

import re

import pytest

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec, StampSpec
from pag_ros.lab.kernel_compiler import compiler
from pag_ros.lab.kernel_compiler.compiler import MAX_SHARED_BYTES, TARGETS, compile_kernel

pytest.importorskip("triton", reason="the GPU kernels are written in Triton")

FIRST = {"out_rows": True, "activation": "relu"}
LAST = {"x_rows": True, "base": True, "residual": True, "in_place": True, "activation": "relu"}
SPECS = [
    StampSpec(),
    SelectSpec(30, 40),
    SelectSpec(120, 160),
    ConvSpec(30, 40, 128, 128, **FIRST),
    ConvSpec(30, 40, 128, 128, **LAST),
    ConvSpec(30, 40, 128, 128, by_map=True, **FIRST),
    ConvSpec(30, 40, 128, 32, x_rows=True, **FIRST),
    ConvSpec(30, 40, 32, 7, kernel=1, x_rows=True),
    ConvSpec(60, 80, 128, 128, **LAST),
    ConvSpec(120, 160, 512, 512, **LAST),
]
"""What the shipped model consists of, and the largest tiles."""


@pytest.mark.parametrize("capability", TARGETS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_kernel_compiles_without_spills(spec, capability):
    kernel = compile_kernel(spec, capability)
    assert kernel.spills == 0
    assert kernel.shared_bytes <= MAX_SHARED_BYTES
    assert 0 < kernel.registers * kernel.threads <= 65536
    assert kernel.cubin.startswith(b"\x7fELF")
    assert kernel.tensor_core == isinstance(spec, ConvSpec)
    parameters = re.search(r"\.entry (\w+)\(([^)]*)\)", kernel.ptx)
    assert parameters[1] == kernel.name == spec.name
    assert parameters[2].count(".param") == len(spec.inputs) + len(spec.outputs)
    assert f".reqntid {kernel.threads}\n" in kernel.ptx
    assert re.search(r"/\w+/|\.file", kernel.ptx) is None, "a path of this machine"


@pytest.mark.parametrize(("capability", "version"), [(87, "8.4"), (110, "9.0"), (120, "8.7")])
def test_the_ptx_is_as_old_as_its_target_allows(capability, version):
    assert f".version {version}\n" in compile_kernel(StampSpec(), capability).ptx
    assert ".version 8.8\n" in compile_kernel(StampSpec(), 87, ptx_version=88).ptx


def test_the_clock_is_read_once_and_before_anything_else():
    ptx = compile_kernel(SelectSpec(30, 40), 87).ptx
    assert ptx.count("%globaltimer") == 1
    assert ptx.index("%globaltimer") < ptx.index("ld.global")


PTX = """.target sm_87
.visible .entry inner(
	.param .u64 .ptr .global .align 1 inner_param_0,
	.param .u64 .ptr .global .align 1 inner_param_1,
	.param .u64 .ptr .global .align 1 inner_param_2
)
{
	ld.param.b64 %rd1, [inner_param_0];
BODY
}
"""


def test_parameters_that_nobody_reads_are_taken_out():
    ptx = compiler._strip_hidden_parameters(PTX.replace("BODY", ""), "inner", StampSpec())
    assert "inner" not in ptx
    assert ptx.count("_param_") == 2
    assert ".entry pag_stamp(\n\t.param .u64 .ptr .global .align 1 pag_stamp_param_0\n)" in ptx


def test_a_hidden_parameter_that_is_read_is_refused():
    ptx = PTX.replace("BODY", "\tld.param.b64 %rd2, [inner_param_2];")
    with pytest.raises(BackendError, match="takes 3 parameters where 1 are given, and reads inner"):
        compiler._strip_hidden_parameters(ptx, "inner", StampSpec())


def test_too_much_shared_memory_is_refused(monkeypatch):
    monkeypatch.setattr(compiler, "MAX_SHARED_BYTES", 1000)
    with pytest.raises(BackendError, match=r"needs \d+ bytes of shared memory, more than 1000"):
        compile_kernel(ConvSpec(5, 6, 16, 16), 80)


def test_what_an_assembler_too_old_for_a_gpu_says_is_told_without_the_program(monkeypatch):
    """As Triton 3.6 words it, which knows no Thor."""
    import triton

    fatal = "ptxas fatal   : Value 'sm_110a' is not defined for option 'gpu-name'"

    def refuse(*args, **kwargs):
        raise RuntimeError(f"PTXAS error\n{fatal}\n\nRepro command: ptxas\n.version 9.0")

    monkeypatch.setattr(triton, "compile", refuse)
    with pytest.raises(BackendError) as caught:
        compile_kernel(StampSpec(), 110)
    assert str(caught.value) == (
        f"Triton {triton.__version__} cannot compile pag_stamp for 110: PTXAS error "
        "ptxas fatal : Value 'sm_110a' is not defined for option 'gpu-name'"
    )


def test_a_missing_triton_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    with pytest.raises(BackendError, match=r"needs Triton .*pip install 'pag_ros\[gpu\]'"):
        compile_kernel(StampSpec(), 80)


def test_the_interpreter_cannot_compile(monkeypatch):
    import triton

    with triton.knobs.runtime.scope():
        triton.knobs.runtime.interpret = True
        with pytest.raises(BackendError, match="TRITON_INTERPRET is set"):
            compile_kernel(StampSpec(), 80)
