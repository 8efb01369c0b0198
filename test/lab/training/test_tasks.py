"""Heads and their truth: any subset, and truth that is not there."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.training.tasks import known_heads, task_losses, task_scores  # noqa: E402
from pag_ros.manifest import NO_LABEL  # noqa: E402

SIZES = {"depth": 1, "normals": 3, "segmentation": 4, "boundary": 1}


def outputs() -> dict[str, torch.Tensor]:
    return {h: torch.randn(2, c, 6, 8, requires_grad=True) for h, c in SIZES.items()}


def batch() -> dict[str, torch.Tensor]:
    return {
        "image": torch.zeros(2, 3, 12, 16, dtype=torch.uint8),
        "depth": torch.ones(2, 12, 16),
        "normals": torch.nn.functional.normalize(torch.randn(2, 3, 12, 16), dim=1),
        "labels": torch.zeros(2, 12, 16, dtype=torch.long),
        "boundary": torch.zeros(2, 12, 16),
        "focal_px": torch.full((2,), 13.0),
    }


@pytest.mark.parametrize("head", SIZES)
def test_a_single_head_needs_its_own_truth_only(head: str) -> None:
    entry = {"segmentation": "labels"}.get(head, head)
    alone = {k: v for k, v in batch().items() if k in ("image", "focal_px", entry)}
    terms = task_losses({head: outputs()[head]}, alone)
    assert set(terms) == {head}
    assert float(terms[head].detach()) >= 0.0
    assert known_heads(alone) == {head}


def test_a_batch_without_a_heads_truth_costs_nothing_and_keeps_the_graph() -> None:
    bare = {k: v for k, v in batch().items() if k in ("image", "focal_px")}
    heads = outputs()
    terms = task_losses(heads, bare)
    torch.stack(list(terms.values())).sum().backward()
    assert all(float(term) == 0.0 for term in terms.values())
    assert all(bool((head.grad == 0).all()) for head in heads.values())
    assert known_heads(bare) == set()
    assert task_scores(heads, bare) == {}


def test_unknown_everywhere_is_no_truth() -> None:
    unknown = batch()
    unknown["depth"].fill_(float("nan"))
    unknown["normals"].fill_(float("nan"))
    unknown["labels"].fill_(NO_LABEL)
    unknown["boundary"].fill_(-1.0)
    assert known_heads(unknown) == set()
    assert all(float(term) == 0.0 for term in task_losses(outputs(), unknown).values())
    assert task_scores(outputs(), unknown) == {}


def test_class_weights_reach_the_segmentation_loss() -> None:
    heads, truth = outputs(), batch()
    truth["labels"][:, 6:] = 1
    plain = task_losses(heads, truth)["segmentation"]
    weighted = task_losses(heads, truth, torch.tensor([1.0, 5.0, 1.0, 1.0]))["segmentation"]
    assert not torch.isclose(plain, weighted)


def test_a_thin_edge_survives_the_reduction_and_known_beats_unknown() -> None:
    truth = batch()
    truth["boundary"].fill_(-1.0)
    truth["boundary"][:, 3, 5] = 1.0
    confident = {"boundary": torch.full((2, 1, 6, 8), 9.0)}
    wrong = {"boundary": torch.full((2, 1, 6, 8), -9.0)}
    # One class alone has no balance: the weight of the positives is the share of negatives.
    assert float(task_losses(confident, truth)["boundary"]) == 0.0
    truth["boundary"][:, 8, 8] = 0.0
    assert float(task_losses(wrong, truth)["boundary"]) > 1.0


def test_the_runner_up_reaches_the_segmentation_loss_at_its_size() -> None:
    """All labels are class 0; in the left half class 1 has a share of two fifths."""
    heads, truth = outputs(), batch()
    plain = float(task_losses(heads, truth)["segmentation"].detach())
    truth["runner_up"] = torch.zeros(2, 2, 12, 16, dtype=torch.uint8)
    assert float(task_losses(heads, truth)["segmentation"].detach()) == pytest.approx(plain)
    truth["runner_up"][:, 0] = 1
    truth["runner_up"][:, 1, :, :8] = 102
    loss = float(task_losses(heads, truth)["segmentation"].detach())
    logits = heads["segmentation"].detach()
    first, second = (
        torch.nn.functional.cross_entropy(
            logits, torch.full((2, 6, 8), label), reduction="none", label_smoothing=0.05
        )
        for label in (0, 1)
    )
    doubt = torch.zeros(2, 6, 8)
    doubt[..., :4] = 0.4
    assert loss == pytest.approx(float(((1 - doubt) * first + doubt * second).mean()), rel=1e-5)
