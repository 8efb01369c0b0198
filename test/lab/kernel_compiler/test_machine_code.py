"""The main loop is found in a listing, and tiles are chosen by costs that the code really has.

That the counted instructions are what a GPU spends its time on, only a GPU shows.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pag_ros.errors import BackendError
from pag_ros.kernels.gpu import programs
from pag_ros.kernels.gpu.programs import ConvSpec, StampSpec
from pag_ros.kernels.gpu.tiles import TILES
from pag_ros.lab.bench.kernel_costs import counted_tile
from pag_ros.lab.kernel_compiler.compiler import compile_kernel
from pag_ros.lab.kernel_compiler.machine_code import MainLoop, main_loop, read_listing

BEFORE = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/              @!P0 EXIT ;
.L_x_0:
        /*0020*/                   LDGSTS.E.BYPASS.128 [R5], desc[UR4][R2.64], P1 ;
"""
LOOP = """
.L_x_1:
        /*0030*/                   LDSM.16.M88.4 R8, [R5] ;
        /*0040*/                   HMMA.16816.F32 R12, R8, R16, R12 ;
        /*0050*/                   HMMA.16816.F32 R12, R8, R18, R12 ;
        /*0060*/             @!UP0 UIADD3 UR4, UR4, 0x1, URZ ;
        /*0070*/               @P2 BRA `(.L_x_1) ;
"""
AFTER = """
        /*0080*/               @P3 BRA `(.L_x_0) ;
        /*0090*/                   STG.E.128 desc[UR4][R2.64], R12 ;
.L_x_2:
        /*00a0*/                   BRA `(.L_x_2) ;
"""


def test_the_main_loop_is_the_shortest_with_products():
    assert read_listing(BEFORE + LOOP + AFTER) == MainLoop(5, 2, "HMMA", is_unrolled=False)


def test_without_a_loop_the_whole_kernel_counts():
    straight = LOOP.replace("`(.L_x_1)", "`(.L_x_2)")
    assert read_listing(straight) == MainLoop(5, 2, "HMMA", is_unrolled=True)
    assert read_listing(BEFORE) == MainLoop(3, 0, "", is_unrolled=True)


@pytest.mark.parametrize("name", ["HGMMA.64x64x16.F32", "UTCHMMA gdesc[UR4],"])
def test_the_wider_instructions_are_known(name):
    listing = LOOP.replace("HMMA.16816.F32", name)
    kind = name.partition(".")[0].partition(" ")[0]
    assert read_listing(listing) == MainLoop(5, 2, kind, is_unrolled=False)


def test_a_kernel_without_machine_code_is_refused():
    pytest.importorskip("triton")
    kernel = replace(compile_kernel(StampSpec(), 87), cubin=b"")
    with pytest.raises(BackendError, match="pag_stamp: no machine code for 87"):
        main_loop(kernel)
    with pytest.raises(BackendError, match="cannot read pag_stamp"):
        main_loop(replace(kernel, cubin=b"\x7fELF"))


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.pixels}x{tile.features}")
def test_a_tile_issues_as_many_instructions_as_its_choice_assumes(tile, monkeypatch):
    """Of a block's two convolutions, on Orin. Other versions of Triton make other code."""
    pytest.importorskip("triton")
    monkeypatch.setattr(programs, "choose_tile", lambda *size: tile)
    monkeypatch.setattr("pag_ros.lab.bench.kernel_costs.choose_tile", lambda *size: tile)
    size = (30, 40, 128, 128)
    specs = (
        ConvSpec(*size, out_rows=True, activation="relu"),
        ConvSpec(*size, x_rows=True, base=True, residual=True, activation="relu"),
    )
    counted = [counted_tile(spec, compile_kernel(spec, 87)).issue_cycles for spec in specs]
    assert sum(counted) / 2.0 == pytest.approx(tile.issue_cycles, rel=0.15)
