"""Estimates from machine code are the arithmetic that they claim to be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pag_ros.cli import main
from pag_ros.errors import BackendError
from pag_ros.kernels.gpu.programs import ConvSpec, SelectSpec
from pag_ros.kernels.gpu.store import CompiledKernel
from pag_ros.lab.bench import kernel_costs
from pag_ros.lab.bench.kernel_costs import (
    Chip,
    block_rows,
    counted_tile,
    dense_us,
    layer_rows,
    resident_programs,
    sparse_us,
)
from pag_ros.lab.kernel_compiler.machine_code import MainLoop

ORIN = Chip("Orin", 87, 16, 1.0)
SPEC = ConvSpec(30, 40, 128, 128, out_rows=True, activation="relu")
KERNEL = CompiledKernel(SPEC.name, 87, 16, "", b"code", (10, 2, 1), 128, 32768, 168, 0, True)
"""128x64 in steps of 32 channels, four warps: a warp's share of a step is 32 products."""


@pytest.fixture(autouse=True)
def loop(monkeypatch):
    loops = {"now": MainLoop(160, 32, "HMMA", is_unrolled=False)}
    monkeypatch.setattr(kernel_costs, "main_loop", lambda kernel: loops["now"])
    return loops


def test_issue_cycles_are_a_loops_instructions_over_the_schedulers(loop):
    assert counted_tile(SPEC, KERNEL).issue_cycles == 160
    loop["now"] = MainLoop(320, 64, "HMMA", is_unrolled=False)  # two steps a round
    assert counted_tile(SPEC, KERNEL).issue_cycles == 160
    loop["now"] = MainLoop(36 * 100, 36 * 32, "HMMA", is_unrolled=True)
    assert counted_tile(SPEC, KERNEL).issue_cycles == 100


@pytest.mark.parametrize(("kind", "products"), [("HGMMA", 4), ("UTCHMMA", 2)])
def test_wider_instructions_are_of_four_warps_or_of_the_program(loop, kind, products):
    loop["now"] = MainLoop(160, products, kind, is_unrolled=False)
    assert counted_tile(SPEC, KERNEL).issue_cycles == 160


def test_code_without_tensor_cores_is_refused(loop):
    loop["now"] = MainLoop(160, 0, "", is_unrolled=True)
    with pytest.raises(BackendError, match="no tensor-core instructions"):
        counted_tile(SPEC, KERNEL)


def test_what_fits_on_a_multiprocessor_is_what_its_scarcest_resource_allows():
    assert resident_programs(KERNEL) == 3  # registers
    assert resident_programs(replace(KERNEL, registers=40)) == 4  # shared memory: 164 KB
    assert resident_programs(replace(KERNEL, registers=40, shared_bytes=0)) == 12  # threads
    assert resident_programs(replace(KERNEL, registers=40, shared_bytes=0, threads=32)) == 16


def test_times_are_waves_of_programs(loop):
    # (1000 + 384 * 36) cycles: fetching 12,288 bytes takes longest.
    one = (1000 + 384 * 36) / 0.6 / 1e3
    assert sparse_us(SPEC, KERNEL, ORIN, 0.5) == pytest.approx(one)
    assert sparse_us(SPEC, KERNEL, ORIN, 1.0) == pytest.approx(2 * one)
    assert sparse_us(SPEC, KERNEL, replace(ORIN, ghz=2.0), 0.5) == pytest.approx(one / 2)
    loop["now"] = MainLoop(1000, 32, "HMMA", is_unrolled=False)
    assert sparse_us(SPEC, KERNEL, ORIN, 0.5) == pytest.approx((1000 + 1000 * 36) / 0.6 / 1e3)


def test_a_dense_convolution_is_spread_over_all_tensor_cores():
    products = 1200 * 9 * 128 * 128
    assert dense_us(SPEC, ORIN) == pytest.approx(products / (16 * 1024) / 0.6 / 1e3)


def test_a_layer_tells_programs_and_waves(loop):
    (row,) = layer_rows([SelectSpec(30, 40), SPEC], ORIN, lambda spec, chip: KERNEL)
    assert row["tile"] == "128x64x32"
    assert row["instructions"] == 80
    assert row["programs"] == {1.0: 20, 0.5: 10, 0.3: 6}
    assert row["waves"] == {1.0: 2, 0.5: 1, 0.3: 1}


def test_a_block_is_its_kernels_and_the_gaps_between_them(monkeypatch):
    monkeypatch.setattr(kernel_costs, "BLOCKS", ((128, 30, 40),))
    (row,) = block_rows(ORIN, lambda spec, chip: KERNEL)
    select = 160 * 4 / 4 / 0.6 / 1e3
    scores = 2 * 1200 * 128 / (16 * 32) / 0.6 / 1e3
    assert row["select_us"] == pytest.approx(1 + select)
    conv = sparse_us(SPEC, KERNEL, ORIN, 0.5)
    assert row["ours_us"][0.5] == pytest.approx(4 + scores + select + 2 * conv)
    assert row["dense_fp16_us"] == pytest.approx(2 + 2 * dense_us(SPEC, ORIN))
    assert row["dense_int8_us"] == pytest.approx(2 + dense_us(SPEC, ORIN))


def test_the_command_prints_both_tables(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("pag_ros.lab.commands.bench_kernels._programs", lambda model: [SPEC])
    for name in ("_stored", "_compiled"):
        monkeypatch.setattr(
            f"pag_ros.lab.commands.bench_kernels.{name}", lambda *model: lambda spec, chip: KERNEL
        )
    report = tmp_path / "costs.json"
    assert main(["bench", "kernels", "--chips", "64GB", "Nano", "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "| AGX Orin 64GB | 128x64x32 | 80 " in printed
    assert "| AGX Orin 64GB | 256 @ 60x80 " in printed
    assert "Thor" not in printed
    assert {row["chip"] for row in json.loads(report.read_text())["blocks"]} == {
        "AGX Orin 64GB",
        "Orin Nano",
    }
    assert main(["bench", "kernels", "--chips", "Xavier"]) == 2
    assert "--chips Xavier: there are Orin Nano; AGX Orin 32GB" in capsys.readouterr().err
