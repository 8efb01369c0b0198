"""A head learns what features tell, at every budget, and nothing else of the network changes."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
from small_transformer import BLOCKS, HEIGHT, PATCHES, WIDTH, small_transformer  # noqa: E402

from pag_ros.errors import ParameterError  # noqa: E402
from pag_ros.lab.training import arithmetic  # noqa: E402
from pag_ros.lab.transformers import label_teaching  # noqa: E402
from pag_ros.lab.transformers.label_teaching import (  # noqa: E402
    LabelLesson,
    label_scores,
    teach_labels,
)
from pag_ros.lab.transformers.labelled_pictures import LabelledPictures  # noqa: E402
from pag_ros.manifest import NO_LABEL  # noqa: E402


def bright_sides(count: int, seed: int = 0) -> LabelledPictures:
    """Bright from some column on, which is class 1; of the top row nothing is known."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 60, (count, 3, HEIGHT, WIDTH), generator=generator)
    labels = torch.zeros(count, HEIGHT // 2, WIDTH // 2, dtype=torch.uint8)
    for number in range(count):
        column = int(torch.randint(20, WIDTH - 20, (), generator=generator))
        images[number, :, :, column:] += 150
        labels[number, :, column // 2 :] = 1
    labels[:, 0] = NO_LABEL
    return LabelledPictures(images.byte(), labels, torch.zeros(count, 2, *labels.shape[1:]).byte())


@pytest.fixture(scope="module")
def taught():
    network = small_transformer()
    before = copy.deepcopy(network.state_dict())
    shares: list[float] = []
    found = teach_labels(
        network,
        ("dark", "bright"),
        bright_sides(16),
        bright_sides(3, seed=1),
        LabelLesson(steps=20, batch=2),
        lambda share, loss: shares.append(share),
    )
    return network, before, found, shares


def test_it_learns_what_the_features_tell(taught) -> None:
    network, _, found, shares = taught
    assert found.steps == len(shares) == 20
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert set(found.scores) == {1.0, 0.5, 0.3}
    for budget, scores in found.scores.items():
        assert scores["pixel_accuracy"] > 0.9, budget
    assert found.scores[0.3] == label_scores(network, bright_sides(3, seed=1), 0.3)
    right, overlap = found.scores[1.0]["pixel_accuracy"], found.scores[1.0]["mIoU"]
    assert f"labels, pixels right / mIoU: at 1 {right:.3f} / {overlap:.3f}, at" in found.line()


def test_nothing_else_of_the_network_changes(taught) -> None:
    network, before, _, _ = taught
    after = network.state_dict()
    assert {k for k in after if not k.startswith("label_head.")} == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not network.label_head.training
    assert all(p.requires_grad and p.grad is None for p in network.pretrained.parameters())


def test_steps_compute_all_patches_or_as_many_as_a_budget_allows(monkeypatch) -> None:
    network = small_transformer()
    seen: list[list[int] | None] = []
    run = network.pretrained.forward
    monkeypatch.setattr(
        network.pretrained, "forward", lambda image, keep: (seen.append(keep), run(image, keep))[1]
    )
    lesson = LabelLesson(steps=12, batch=1, lowest=0.25)
    label_teaching._learn(
        network,
        label_teaching.new_head(network, ("dark", "bright")),
        bright_sides(2),
        lesson,
        lambda share, loss: None,
        lambda: False,
    )
    budgets = [sum(keep) / (BLOCKS * PATCHES) for keep in seen if keep is not None]
    assert len(seen) == 12
    assert 2 <= len(budgets) <= 10
    assert min(budgets) > 0.24
    assert max(budgets) - min(budgets) > 0.2


def test_what_is_mirrored_is_mirrored_whole() -> None:
    pictures = bright_sides(1)
    pictures.runner_up[:, :, :, :9] = 7
    torch.manual_seed(0)
    sides = set()
    for _ in range(12):
        batch = label_teaching._mirrored(pictures)
        bright = batch.images[0, 0, 10].float() > 100
        assert torch.equal(batch.labels[0, 5] == 1, bright[::2]) or torch.equal(
            batch.labels[0, 5] == 1, bright[1::2]
        )
        doubted_left = bool(batch.runner_up[0, 0, 5, 0] == 7)
        assert doubted_left == (not bright[0])
        sides.add(doubted_left)
    assert sides == {False, True}


def test_a_doubtful_teacher_counts_by_halves() -> None:
    network = small_transformer()
    torch.manual_seed(0)
    head = label_teaching.new_head(network, ("dark", "bright")).eval()
    sure = bright_sides(1)
    doubtful = LabelledPictures(sure.images, sure.labels, sure.runner_up.clone())
    doubtful.runner_up[:, 0] = 1 - sure.labels.clamp(max=1)
    doubtful.runner_up[:, 1] = 127
    losses = [
        float(label_teaching._loss(network, head, pictures, 1.0).detach())
        for pictures in (sure, doubtful)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_it_ends_when_it_is_told_to_but_not_before_a_step() -> None:
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) == 2

    found = teach_labels(
        small_transformer(),
        ("dark", "bright"),
        bright_sides(2),
        bright_sides(1),
        LabelLesson(batch=1),
        stop=stop,
    )
    assert found.steps == 2


def test_it_learns_in_the_faster_arithmetic(monkeypatch) -> None:
    monkeypatch.setattr(arithmetic, "bfloat16_is_faster", lambda device: True)
    network = small_transformer()
    seen: list[torch.dtype] = []
    head = label_teaching.new_head(network, ("dark", "bright"))
    head.decide.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    for budget in (1.0, 0.4):
        label_teaching._loss(network, head, bright_sides(1), budget).backward()
    assert seen == [torch.bfloat16] * 2


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), 1e9])
def test_an_impossible_time_is_refused(minutes: float) -> None:
    with pytest.raises(ParameterError, match="minutes must lie above 0"):
        LabelLesson(minutes=minutes)
