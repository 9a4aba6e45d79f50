"""Arrivals: repeatable, in order, and at their mean rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.arrivals import ARRIVALS, arrivals, gamma, poisson, ramp, step, trace
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


def test_gaps_deviate_as_much_as_was_asked_for():
    gaps = np.diff(gamma(100.0, 1000.0, seed=1, cv=3.0))
    assert gaps.std() / gaps.mean() == pytest.approx(3.0, rel=0.1)
    gaps = np.diff(poisson(100.0, 1000.0, seed=1))
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.05)


def test_a_burst_may_be_under_way_at_the_start():
    firsts = [len(gamma(100.0, 0.1, seed=seed)) for seed in range(2000)]
    assert np.mean(firsts) == pytest.approx(10.0, rel=0.15)


def test_a_step_multiplies_the_rate_between_its_moments():
    moments = step(100.0, 90.0, seed=1, times=5.0, between=(1 / 3, 2 / 3))
    calm, busy, after = np.histogram(moments, bins=[0, 30, 60, 90])[0]
    assert busy / calm == pytest.approx(5.0, rel=0.15)
    assert busy / after == pytest.approx(5.0, rel=0.15)


def test_a_ramp_rises_to_so_many_times_its_beginning():
    moments = ramp(200.0, 100.0, seed=1, times=4.0)
    counts, _ = np.histogram(moments, bins=10, range=(0, 100))
    assert counts[-1] / counts[0] == pytest.approx((1 + 3 * 0.95) / (1 + 3 * 0.05), rel=0.15)
    assert len(ramp(200.0, 100.0, seed=1, times=1.0)) == pytest.approx(20_000, rel=0.05)


RECORDED = "TIMESTAMP,Tokens\n2023-11-16 18:15:46.6805900,374\n2023-11-16 18:15:47.6805900,1\n"


@pytest.mark.parametrize(
    ("text", "gaps"),
    [
        ("0\n1\n1.5\n4\n", [1, 0.5, 2.5]),
        ("moment\n10\n11\n11\n", [1, 0]),
        (RECORDED + "2023-11-16 18:15:50.1805900,2\n", [1, 2.5]),
    ],
)
def test_a_trace_keeps_its_gaps_and_takes_the_rate_asked_for(tmp_path, text, gaps):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    whole = float(sum(gaps))
    moments = trace(path, len(gaps) / whole, whole)  # all of it, but the end
    assert np.allclose(np.diff(moments), gaps[:-1], atol=1e-6)
    faster = trace(path, 100.0 * len(gaps) / whole, whole / 100.0)
    assert np.allclose(faster, moments / 100.0, atol=1e-6)
    part = trace(path, len(gaps) / whole, whole / 2, seed=1)
    assert np.all((part >= 0) & (part < whole / 2))


@pytest.mark.parametrize(
    "text", ["", "1\n", "2\n1\n", "a\nb\n", "1\n1\n", "1\n2\n", b"\xff\xfe\x00"]
)
def test_a_trace_that_is_none_or_too_short_is_refused(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ElastiqError, match=r"trace"):
        trace(path, 1.0, 10.0)
    with pytest.raises(ElastiqError, match="cannot be read"):
        trace(tmp_path / "nowhere", 1.0, 10.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: arrivals("poison", 1.0, 1.0),
        lambda: poisson(0.0, 1.0),
        lambda: gamma(1.0, 1.0, cv=0.0),
        lambda: gamma(1.0, 1.0, cv=float("nan")),
        lambda: gamma(-1.0, 1.0),
        lambda: ramp(1.0, 1.0, times=-1.0),
        lambda: arrivals("poisson", 1.0, 1.0, cv=3.0),
        lambda: step(1.0, 1.0, between=(0.7, 0.3)),
        lambda: step(1.0, 1.0, times=0.0),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ElastiqError):
        make()
