"""Tables say what the rows say; everything takes its turn."""

from __future__ import annotations

from typing import Any

from pag_ros.lab.bench.text import networks_table, operations_table
from pag_ros.lab.bench.timing import take_turns


def row(density: float, speedup: float | None, **more: Any) -> dict[str, Any]:
    return {
        "op": "conv3x3",
        "block": None,
        "gate_scope": None,
        "channels": 8,
        "height": 3,
        "width": 4,
        "density": density,
        "mask": "random",
        "sparse_ms": 0.5,
        "dense_ms": {"openvino": 0.5},
        "speedup": speedup,
        **more,
    }


def test_a_table_has_one_line_an_operation_and_the_break_even_density():
    table = operations_table([row(0.5, 1.5), row(0.9, 1.1), row(1.0, 0.9)])
    header, _, line = table.splitlines()
    assert "openvino ms" in header
    assert "conv3x3 8 @ 3x4" in line
    assert "1.50x" in line
    assert "0.95" in line.split("|")[-2]


def test_break_even_is_one_where_the_densest_is_as_fast():
    assert ">= 1" in operations_table([row(0.5, 2.0), row(1.0, 1.0)])


def test_break_even_is_none_where_sparse_never_wins():
    assert "none" in operations_table([row(0.5, 0.9), row(1.0, 0.5)]).splitlines()[-1]


def test_without_another_runtime_there_is_no_speed_up():
    line = operations_table([row(0.5, None, dense_ms={}), row(1.0, None, dense_ms={})])
    assert line.splitlines()[-1].split("|")[-2].strip() == "-"


def test_networks_have_one_line_a_precision_and_density():
    facts = {"model": "net", "size": "320x240", "gated_share": 0.76}
    dense_ms = {"openvino fp32": 20.0, "torch fp32": 30.0, "openvino int8": 5.0}
    rows = [
        {
            **facts,
            "dense_ms": dense_ms,
            "precision": precision,
            "density": density,
            "ours_ms": 10.0,
            "speedup": 2.0,
            "speedup_any": 0.5,
        }
        for precision in ("fp32", "bf16")
        for density in (0.5, 1.0)
    ]
    other = {**rows[0], "model": "other", "dense_ms": {"openvino fp32": 7.0}}
    lines = networks_table([*rows, other]).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        *("net 320x240", "76%", "20.0", "30.0", "5.0")
    ]
    assert [cell.strip() for cell in lines[3].split("|")[2:-1]] == ["76%", "7.0", "-", "-"]
    ours = lines[lines.index("") + 5 :]
    assert len(ours) == len(rows) + 1
    assert [cell.strip() for cell in ours[2].split("|")[1:-1]] == [
        *("net 320x240", "bf16", "0.5", "10.0", "2.00x", "0.50x")
    ]


def test_everything_takes_its_turn_in_every_round():
    calls: list[str] = []
    rounds: list[None] = []
    runs = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = take_turns(runs, 3, lambda: rounds.append(None))
    assert set(seconds) == {"a", "b"}
    assert len(rounds) == 3
    turns = [name for name, before in zip(calls, ["", *calls], strict=False) if name != before]
    assert turns == ["a", "b"] * 3
