"""Arrivals: repeatable, in order, and at their mean rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.arrivals import ARRIVALS, arrivals, bursty, poisson, step
from elastiq.errors import ElastiqError


@given(
    st.sampled_from(sorted(ARRIVALS)),
    st.floats(0.5, 1000.0),
    st.floats(0.01, 20.0),
    st.integers(0, 2**32),
)
def test_they_are_sorted_within_their_time_and_repeatable(kind, rate, seconds, seed):
    moments = arrivals(kind, rate, seconds, seed)
    assert np.all(np.diff(moments) >= 0)
    assert np.all((moments >= 0) & (moments <= seconds))
    assert np.array_equal(moments, arrivals(kind, rate, seconds, seed))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(ARRIVALS)), st.floats(1.0, 500.0), st.integers(0, 2**32))
def test_they_keep_their_mean_rate(kind, rate, seed):
    expected = 20_000
    count = len(arrivals(kind, rate, expected / rate, seed))
    # A renewal process of this spread deviates 3 * sqrt(n): allow six times that.
    assert abs(count - expected) < 6 * 3 * expected**0.5


def test_bursty_gaps_have_the_spread_asked_for():
    gaps = np.diff(bursty(100.0, 1000.0, seed=1, spread=3.0))
    assert gaps.std() / gaps.mean() == pytest.approx(3.0, rel=0.1)
    gaps = np.diff(poisson(100.0, 1000.0, seed=1))
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.05)


def test_a_burst_may_be_under_way_at_the_start():
    firsts = [len(bursty(100.0, 0.1, seed=seed)) for seed in range(2000)]
    assert np.mean(firsts) == pytest.approx(10.0, rel=0.15)


def test_a_step_multiplies_the_rate_between_its_moments():
    moments = step(100.0, 90.0, seed=1, times=5.0, between=(1 / 3, 2 / 3))
    calm, busy, after = np.histogram(moments, bins=[0, 30, 60, 90])[0]
    assert busy / calm == pytest.approx(5.0, rel=0.15)
    assert busy / after == pytest.approx(5.0, rel=0.15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: arrivals("poison", 1.0, 1.0),
        lambda: poisson(0.0, 1.0),
        lambda: bursty(1.0, 1.0, spread=0.0),
        lambda: bursty(-1.0, 1.0),
        lambda: step(1.0, 1.0, between=(0.7, 0.3)),
        lambda: step(1.0, 1.0, times=0.0),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ElastiqError):
        make()
