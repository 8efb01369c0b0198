from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402, N812

from pag_ros.lab.training import arithmetic  # noqa: E402


@pytest.fixture(autouse=True)
def measured_anew() -> Iterator[None]:
    arithmetic.bfloat16_is_faster.cache_clear()
    yield
    arithmetic.bfloat16_is_faster.cache_clear()


def with_instructions(found: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)


def taking(single: list[float], half: list[float], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let rounds take so many seconds; what was timed is put in the list that comes back."""
    left = {False: iter(single), True: iter(half)}
    asked: list[bool] = []

    def seconds(features: torch.Tensor, weight: torch.Tensor, half: bool) -> float:
        asked.append(half)
        return next(left[half])

    monkeypatch.setattr(arithmetic, "_seconds", seconds)
    return asked


@pytest.mark.parametrize("found", [{}, {"avx2": True}, {"avx512_vnni": True}])
def test_what_would_be_emulated_is_not_timed(found, monkeypatch) -> None:
    with_instructions(found, monkeypatch)
    asked = taking([2.0] * 5, [1.0] * 5, monkeypatch)
    assert not arithmetic.bfloat16_is_faster("cpu")
    assert not asked


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16"])
@pytest.mark.parametrize(("half", "faster"), [(0.9, True), (1.1, False)])
def test_instructions_are_used_where_they_are_faster(
    instructions, half, faster, monkeypatch
) -> None:
    with_instructions({instructions: True}, monkeypatch)
    taking([1.0] * 5, [half] * 5, monkeypatch)
    assert arithmetic.bfloat16_is_faster("cpu") == faster


def test_a_round_that_was_disturbed_does_not_count(monkeypatch) -> None:
    with_instructions({"amx_bf16": True}, monkeypatch)
    asked = taking([1.0, 1.0, 1.0, 1.0, 1.0], [9.0, 9.0, 0.5, 9.0, 9.0], monkeypatch)
    assert arithmetic.bfloat16_is_faster("cpu")
    assert asked == [False, True] * 5


def test_it_is_measured_once(monkeypatch) -> None:
    with_instructions({"amx_bf16": True}, monkeypatch)
    asked = taking([1.0] * 5, [0.5] * 5, monkeypatch)
    assert arithmetic.bfloat16_is_faster("cpu")
    assert arithmetic.bfloat16_is_faster("cpu")
    assert len(asked) == 10


def test_a_gpu_always_has_them() -> None:
    assert arithmetic.bfloat16_is_faster("cuda")


def test_the_measurement_draws_no_random_numbers(monkeypatch) -> None:
    """Else a run would depend on whether it was the first of its process."""
    with_instructions({"avx512_bf16": True}, monkeypatch)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    arithmetic.bfloat16_is_faster("cpu")
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("half", [False, True])
def test_what_is_timed_computes_in_that_arithmetic(half, monkeypatch) -> None:
    seen: list[torch.dtype] = []
    convolve = F.conv2d

    def watched(*args: object, **kwargs: object) -> torch.Tensor:
        out = convolve(*args, **kwargs)
        seen.append(out.dtype)
        return out

    monkeypatch.setattr(F, "conv2d", watched)
    features, weight = arithmetic._filled(1, 2, 5, 5), arithmetic._filled(3, 2, 3, 3)
    assert arithmetic._seconds(features, weight, half) > 0.0
    assert seen == [torch.bfloat16 if half else torch.float32]


@torch.no_grad()
def test_it_is_measured_where_no_gradient_is_wanted(monkeypatch) -> None:
    """A guide, which only looks, may be the first to ask."""
    with_instructions({"avx512_bf16": True}, monkeypatch)
    assert arithmetic.bfloat16_is_faster("cpu") in (True, False)


def test_nobody_else_decides_it() -> None:
    root = Path(arithmetic.__file__).parents[2]
    users = {p.name for p in root.rglob("*.py") if "torch.autocast(" in p.read_text()}
    assert users == {"arithmetic.py", "efficientnet_lite.py"}
