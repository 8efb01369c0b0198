"""Depth Anything in torch, timed as on a GPU, on a CPU: torch's float16 there.

Not proven: that it can be recorded as a CUDA graph, or compiled, and any time.
"""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

torch = pytest.importorskip("torch")

from cpu_device import CpuDevice  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from pag_ros.lab.gpu_check import parts, report, transformer_speed  # noqa: E402
from pag_ros.lab.gpu_check.transformer_speed import CASES, TransformerCase  # noqa: E402

TINY = TransformerCase("tiny", 98, (0.5, 0.2))
PATCHES = 7 * 7


class Recorded(TorchDispatchMode):
    """What a CUDA graph cannot record fails: numbers that come from the host, or go to it."""

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        name = operator.name().partition(".")[0].removeprefix("aten::")
        assert name not in ("lift_fresh", "_local_scalar_dense", "nonzero", "masked_select"), name
        return operator(*arguments, **(options or {}))


class TorchDevice(CpuDevice):
    """Nothing but torch runs on it."""

    def record(self, work, repeats=1):
        with Recorded():
            return super().record(work, repeats)

    def compute(self, spec, inputs):
        raise AssertionError("no kernel of ours is asked for")


@pytest.fixture
def asked(monkeypatch) -> Counter:
    """How often a network was run with how many patches in its blocks, and in which type."""
    counts: Counter = Counter()
    forward = transformer_speed._depth

    def counting(network, image, keep):
        depth = forward(network, image, keep)
        assert depth.dtype == image.dtype == torch.float16
        counts[keep and tuple(keep)] += 1
        return depth

    monkeypatch.setattr(transformer_speed, "_depth", counting)
    return counts


def test_the_gated_networks_are_timed_beside_the_dense_one(asked: Counter) -> None:
    rows = list(transformer_speed.measure(TorchDevice(), TINY, 3))
    assert [row["budget"] for row in rows] == [0.5, 0.2]
    for row in rows:
        assert row["speedup"] == pytest.approx(row["dense_ms"] / row["ours_ms"])
    assert sorted(asked.values()) == [4, 4, 4]
    dense, half, fifth = sorted(asked, key=lambda keep: -sum(keep or (PATCHES * 8 + 1,)))
    assert dense is None
    assert sum(half) == pytest.approx(0.5 * 8 * PATCHES, rel=0.05)
    assert sum(fifth) == pytest.approx(0.2 * 8 * PATCHES, rel=0.1)


def test_the_goals_come_first_and_what_compiles_last() -> None:
    first, second, *_ = CASES
    assert (str(first), str(second)) == ("small 518x518", "base 518x518")
    assert {budget for case in CASES[:2] for budget in case.budgets} >= {0.5, 1.0}
    compiled = [case.compiled for case in CASES]
    assert compiled == sorted(compiled)
    assert str(CASES[-1]).endswith(", compiled")


def test_the_part_makes_a_table(asked: Counter, monkeypatch) -> None:
    monkeypatch.setattr(parts, "open_device", TorchDevice)
    cases = (TINY, TransformerCase("none", 98), TransformerCase("tiny", 70, (0.5,)))
    monkeypatch.setattr(transformer_speed, "CASES", cases)
    args = argparse.Namespace(end=float("inf"), rounds=1)
    rows = [{"part": "transformer", **row} for row in parts.PARTS["transformer"](args)]
    assert [row.get("outcome") for row in rows] == [None, None, "failed", None]
    text = report.report(rows)
    assert "| Depth Anything V2 in torch | dense ms | b=0.2 | b=0.5 |" in text
    line = next(line for line in text.splitlines() if line.startswith("| tiny 70x70 |"))
    assert line.split("|")[3].strip() == "", "not measured there"
    assert f"{rows[3]['speedup']:.2f}x" in line
    assert "- transformer, none 98x98: FAILED" in text
