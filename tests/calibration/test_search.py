"""The search for the fewest layers: right, with few trials, and in time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from calibration.search import fewest


def always():
    return True


@given(st.integers(1, 200), st.integers(1, 250))
def test_it_finds_the_fewest_with_few_trials(most, needed):
    tried = []

    def holds(count):
        tried.append(count)
        assert 1 <= count <= most
        return count >= needed

    found = fewest(most, holds, always)
    assert found == (needed if needed <= most else None)
    assert len(tried) == len(set(tried)) <= 2 * math.log2(most) + 3


@given(st.integers(1, 60), st.lists(st.booleans(), min_size=60, max_size=60))
def test_whatever_holds_what_it_finds_was_seen_to_hold(most, held):
    found = fewest(most, lambda count: held[count - 1], always)
    assert found is None or held[found - 1]


def test_nothing_to_give_back_is_no_answer():
    assert fewest(0, lambda count: True, always) is None


def test_when_time_is_up_what_holds_so_far_is_the_answer():
    clock = iter([True] * 4 + [False])
    assert fewest(100, lambda count: count >= 5, lambda: next(clock)) == 8
    assert fewest(100, lambda count: True, lambda: False) is None
