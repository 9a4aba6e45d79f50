"""How far long runs lie above usual ones: found by counting, whatever the law."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.tails import LEAST, LONGEST, SHORTEST, Tail, reach

SHARES = ((0.1, 0.05), (0.01, 0.15))  # and what one that is longer weighs


@pytest.mark.parametrize(("share", "weight"), SHARES)
@pytest.mark.parametrize("stretched", [1.0, 3.0])
def test_it_finds_how_much_farther_long_runs_reach(share, weight, stretched):
    tail, found = Tail(share, weight), []
    measured = 0.2 * -log(share)  # of runs that lie above a usual one by an exponential law
    for over in np.random.default_rng(0).exponential(0.2 * stretched, 8000):
        tail.learn(over, measured)
        found.append(tail.times)
    assert np.median(found[2000:]) == pytest.approx(stretched, rel=0.15)


@pytest.mark.parametrize(("share", "weight"), SHARES)
def test_one_run_alone_changes_little_however_long(share, weight):
    tail = Tail(share, weight)
    tail.learn(1e9, 0.1)
    assert tail.times < 1.2


@given(st.lists(st.tuples(st.floats(-1.0, 1e9), st.floats(LEAST, 1e3)), max_size=300))
def test_it_stays_within_bounds(runs):
    tail = Tail(0.01, 0.15)
    for over, measured in runs:
        tail.learn(over, measured)
        assert SHORTEST <= tail.times <= LONGEST


def test_runs_that_were_all_alike_reach_somewhere_too():
    assert reach(2.0, 3.0) == 0.5
    assert reach(2.0, 2.0) == LEAST
