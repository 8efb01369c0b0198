"""The full budget teaches the small ones."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.training.distillation import distillation_losses  # noqa: E402


def outputs() -> dict[str, torch.Tensor]:
    sizes = {"depth": 1, "normals": 3, "segmentation": 4, "boundary": 1}
    return {head: torch.randn(2, channels, 6, 8) for head, channels in sizes.items()}


def test_the_teachers_own_outputs_cost_nothing() -> None:
    teacher = outputs()
    for head, term in distillation_losses(teacher, teacher).items():
        assert float(term) == pytest.approx(0.0, abs=1e-6), head


def test_every_head_pulls_towards_the_teacher() -> None:
    teacher, student = outputs(), {k: v.requires_grad_() for k, v in outputs().items()}
    terms = distillation_losses(student, teacher)
    before = {head: float(term.detach()) for head, term in terms.items()}
    torch.stack(list(terms.values())).sum().backward()
    moved = {h: (v - 5.0 * v.grad).detach() for h, v in student.items()}
    after = distillation_losses(moved, teacher)
    assert all(0.0 < float(after[head]) < before[head] for head in teacher)


def test_depth_and_normals_are_measured_as_documented() -> None:
    teacher = {"depth": torch.zeros(1, 1, 2, 2), "normals": torch.zeros(1, 3, 2, 2)}
    teacher["normals"][:, 2] = 1.0
    tilted = torch.zeros(1, 3, 2, 2)
    tilted[:, 1:] = 2.0
    terms = distillation_losses(
        {"depth": torch.full((1, 1, 2, 2), -0.3), "normals": tilted}, teacher
    )
    assert float(terms["depth"]) == pytest.approx(0.3)
    assert float(terms["normals"]) == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


def test_samples_that_do_not_count_are_left_out() -> None:
    teacher, student = outputs(), outputs()
    second = {head: torch.tensor([False, True]) for head in teacher}
    nobody = {head: torch.tensor([False, False]) for head in teacher}
    alone = distillation_losses(
        {h: v[1:] for h, v in student.items()}, {h: v[1:] for h, v in teacher.items()}
    )
    for head, term in distillation_losses(student, teacher, second).items():
        assert float(term) == pytest.approx(float(alone[head]), rel=1e-5), head
    assert all(float(t) == 0.0 for t in distillation_losses(student, teacher, nobody).values())
