"""A patch's parent is its most alike earlier neighbour, its stand-in the nearest computed one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from pag_ros.lab.transformers.likeness import (  # noqa: E402
    GENERATIONS,
    even_sequence,
    kinship,
    kinship_macs,
    stand_ins,
)


def by_definition(
    patches: torch.Tensor, grid: tuple[int, int], turn: int
) -> tuple[list[float], list[int]]:
    """Likeness to the parent (-1: none) and parent of each of [P,C]."""
    place = even_sequence(grid, turn)[0].tolist()
    unit = torch.nn.functional.normalize(patches, dim=1)
    likeness, parents = [], []
    for one in range(len(patches)):
        best, parent = -1.0, one
        for other in range(len(patches)):
            down = abs(one // grid[1] - other // grid[1])
            right = abs(one % grid[1] - other % grid[1])
            cosine = float(unit[one] @ unit[other])
            if max(down, right) <= 2 and place[other] > place[one] and cosine > best:
                best, parent = cosine, other
        likeness.append(best)
        parents.append(parent)
    return likeness, parents


@pytest.mark.parametrize("grid", [(6, 8), (5, 2), (1, 7), (2, 3), (1, 1)])
@pytest.mark.parametrize("turn", [0, 3])
def test_parents_are_the_most_alike_of_earlier_neighbours(grid: tuple[int, int], turn: int) -> None:
    patches = torch.randn(2, grid[0] * grid[1], 16, generator=torch.Generator().manual_seed(turn))
    kin = kinship(patches, grid, turn)
    for row in range(2):
        likeness, parents = by_definition(patches[row], grid, turn)
        assert kin.parent[row].tolist() == parents
        expected = (1.0 - torch.tensor(likeness)).log()
        torch.testing.assert_close(kin.novelty[row], expected, atol=1e-4, rtol=1e-4)


def test_what_is_the_same_is_not_new_but_never_infinitely_old() -> None:
    novelty = kinship(torch.ones(1, 48, 8), (6, 8), 0).novelty[0]
    assert novelty.min() == pytest.approx(-6.9, abs=0.01)
    assert novelty.max() == pytest.approx(0.693, abs=0.001)
    assert 2 <= int((novelty > 0.0).sum()) <= 8, "those that none of the neighbours comes before"


def test_stand_ins_are_the_nearest_ancestors_that_are_computed() -> None:
    """0 <- 1 <- 2 <- ... <- 6, and 7 whose own parent it is."""
    parent = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 7]])
    assert GENERATIONS == 4
    computed = torch.zeros(1, 8, dtype=torch.bool)
    computed[0, [1, 4]] = True
    assert stand_ins(computed, parent)[0, 1:7].tolist() == [1, 1, 1, 4, 4, 4]
    # Nothing computed can stand for 0 and 7, and nothing within four generations for 6.
    computed[0] = torch.arange(8) == 1
    nearest = stand_ins(computed, parent)[0]
    assert nearest[5] == 1
    assert not computed[0, nearest[[0, 6, 7]]].any()


def test_any_number_of_the_first_lie_evenly_over_the_picture() -> None:
    for turn in (0, 5):
        best = even_sequence((12, 16), turn)[0].topk(48).indices
        cells = (best // 16 // 4) * 4 + best % 16 // 4
        assert cells.bincount(minlength=12).tolist() == pytest.approx([4] * 12, abs=1)
    assert not torch.equal(even_sequence((12, 16), 0), even_sequence((12, 16), 5))


def test_multiply_adds_are_those_of_rows_times_rows() -> None:
    assert kinship_macs(10, (5, 7)) == (5 + 4 + 3) * 7 * 7 * 10
    assert kinship_macs(10, (1, 7)) == 7 * 7 * 10
