"""What a late frame still computes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pag_ros.budget.trimming import NEVER_TRIMMED, block_limits, trimmed_keep

SECONDS = st.floats(1e-4, 1.0)


def test_limits_count_back_from_the_aim():
    # The heads take .5 s, so block b (3 s) must begin by 6.5 s, block a (2 s) by 4.5 s.
    limits = block_limits(10.0, (1.0, 2.0, 3.0, 0.5))
    assert limits.tolist() == [[4.5, 5.0], [6.5, 3.0]]


@pytest.mark.parametrize(
    ("late_s", "kept"), [(-1.0, 100), (0.0, 100), (1.0, 75), (3.9, 2), (4.0, 0), (99.0, 0)]
)
def test_keep_falls_in_proportion_to_the_lateness(late_s, kept):
    assert trimmed_keep(100, late_s, 4.0) == kept


@pytest.mark.parametrize("start", [NEVER_TRIMMED[0], math.nan])
def test_without_a_limit_nothing_is_trimmed(start):
    assert trimmed_keep(100, 1e9 - start, NEVER_TRIMMED[1]) == 100


@given(st.lists(SECONDS, min_size=1, max_size=8), SECONDS, SECONDS, st.floats(0.0, 2.0))
def test_a_frame_that_the_encoder_makes_late_ends_at_its_aim(blocks, encoder, heads, delay):
    """Blocks take as long as planned for each pixel: trimming gives back exactly what is lost."""
    planned = (encoder, *blocks, heads)
    aim = sum(planned)
    limits = block_limits(aim, planned)
    keep, now, used = 1_000_000, encoder + delay, []
    for (start, rest), seconds in zip(limits, blocks, strict=True):
        used.append(trimmed_keep(keep, now - start, rest))
        now += seconds * used[-1] / keep
    unavoidable = encoder + delay + heads
    assert now + heads == pytest.approx(max(aim, unavoidable), rel=1e-4, abs=1e-4)
    assert all(0 <= pixels <= keep for pixels in used)
