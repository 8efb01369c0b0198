"""Kernels whose tensor cores would read what threads have not made visible to them are refused."""

from __future__ import annotations

import re
import zipfile

import pytest

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import ConvSpec, StampSpec
from pag_ros.kernels.gpu.store import kernels_path
from pag_ros.lab.kernel_compiler import compiler
from pag_ros.lab.kernel_compiler.compiler import compile_kernel
from pag_ros.lab.kernel_compiler.proxy_fence import lacks_fence
from pag_ros.runtime.models import shipped_models

PRODUCTS = {
    "Hopper": "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%f1}, %rd1, %rd2, 1, 1, 1;",
    "Thor": "@%p1 tcgen05.mma.cta_group::1.kind::f16 [ %r1 + 0 ], %rd1, %rd2, %r2, %p2;",
}
WRITES = [
    "st.shared.b32 [%r1], %r2;",
    "st.shared.v4.b32 [%r1], {%r2, %r3, %r4, %r5};",
    "st.shared::cta.b64 [%r1], %rd3;",
    "st.volatile.shared.u16 [%r1], %rs1;",
    "st.relaxed.cta.shared::cta.b32 [%r1], %r2;",
    "@%p3 st.shared.b8 [%r1], %rs1;",
    "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r1], {%r2, %r3, %r4, %r5};",
    "cp.async.cg.shared.global [ %r1 + 0 ], [ %rd3 + 0 ], 0x10, %r2;",
    "cp.async.ca.shared::cta.global [ %r1 + 0 ], [ %rd3 + 0 ], 0x4;",
]
NO_WRITES = [
    "ld.shared.b32 %r2, [%r1];",
    "st.global.b32 [%rd3], %r2;",
    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd3], 64, [%r2];",
    "// st.shared.b32 [%r1], %r2;",
    "cp.async.wait_group 0;",
]
FENCES = [
    "fence.proxy.async;",
    "fence.proxy.async.shared::cta;",
    "fence.proxy.async.shared::cluster;",
]
NO_FENCES = [
    "fence.proxy.async.global;",
    "// fence.proxy.async.shared::cta;",
    "fence.proxy.alias;",
    "fence.acq_rel.cta;",
    "wgmma.fence.sync.aligned;",
    "bar.sync 0;",
]


def code(*instructions: str) -> str:
    return "".join(f"\t{each}\n" for each in instructions)


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("write", WRITES)
def test_a_product_of_what_threads_write_needs_a_fence(product: str, write: str) -> None:
    assert lacks_fence(code(write, "bar.sync 0;", product))
    for fence in FENCES:
        assert not lacks_fence(code(write, fence, "bar.sync 0;", product)), fence


@pytest.mark.parametrize("other", NO_FENCES)
def test_other_fences_and_barriers_do_not_do(other: str) -> None:
    assert lacks_fence(code(WRITES[0], other, PRODUCTS["Hopper"]))


@pytest.mark.parametrize("other", NO_WRITES)
def test_what_no_thread_writes_needs_none(other: str) -> None:
    assert not lacks_fence(code(other, PRODUCTS["Hopper"]))


def test_a_warps_own_product_needs_none() -> None:
    product = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1}, {%r1}, {%r2}, {%f1};"
    assert not lacks_fence(code(*WRITES, product, "// wgmma.mma_async"))


@pytest.mark.parametrize("model", shipped_models().values(), ids=lambda path: path.stem)
def test_no_stored_kernel_lacks_it(model) -> None:
    with zipfile.ZipFile(kernels_path(model)) as archive:
        codes = {
            name: archive.read(name).decode()
            for name in archive.namelist()
            if name.endswith(".ptx")
        }
    assert [name for name, ptx in codes.items() if lacks_fence(ptx)] == []
    without = {name for name, ptx in codes.items() if lacks_fence(without_fences(ptx))}
    assert {name.split(".")[1] for name in without} == {"sm110"}, "what this looks at"


def without_fences(ptx: str) -> str:
    return re.sub(r"\tfence\.proxy\.async[^;\n]*;\n", "", ptx)


@pytest.mark.parametrize("capability", [90, 110])
def test_what_triton_makes_without_it_is_refused(monkeypatch, capability: int) -> None:
    triton = pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    spec = ConvSpec(60, 80, 64, 64, out_rows=True)
    translate = compiler._translate

    def forgetful(*arguments):
        found = translate(*arguments)
        assert "fence.proxy.async" in found.ptx
        return compiler._Translation(
            without_fences(found.ptx), found.entry, found.threads, found.shared_bytes
        )

    monkeypatch.setattr(compiler, "_translate", forgetful)
    with pytest.raises(BackendError) as caught:
        compile_kernel(spec, capability, multiprocessors=8)
    assert str(caught.value) == (
        f"Triton {triton.__version__} makes a data race of {spec.name} for {capability}: no "
        "fence.proxy.async between what threads write to shared memory and the tensor cores that "
        "read it; use triton >= 3.7.1"
    )


def test_a_kernel_without_products_needs_none() -> None:
    pytest.importorskip("triton", reason="the GPU kernels are written in Triton")
    assert not lacks_fence(compile_kernel(StampSpec(), 90).ptx)
