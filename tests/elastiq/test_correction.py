"""The correction: follows what lasts, forgets what is over, and never leaves its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.correction import (
    HALF_LIFE,
    HIGHEST,
    LOWEST,
    OWN_HIGHEST,
    OWN_LOWEST,
    Correction,
    Extra,
    Own,
)

times = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(times, times, st.floats(0, 1e6))))
def test_it_stays_within_bounds_whatever_it_is_told(runs):
    now = [0.0]
    correction = Correction(1.0, lambda: now[0])
    for actual, measured, pause in runs:
        now[0] += pause
        correction.learn(actual, measured)
        assert 0.0 <= correction.added <= HIGHEST
        assert LOWEST <= correction.factor <= HIGHEST


@given(st.floats(1e-6, 1e6))
def test_one_run_alone_changes_nothing(ratio):
    correction = Correction(1.0, lambda: 0.0)
    correction.learn(ratio, 1.0)
    assert correction.factor == 1.0
    for _ in range(10):
        correction.learn(1.0, 1.0)
    assert correction.factor == pytest.approx(1.0)


def test_it_finds_what_half_of_the_runs_take_however_long_the_others_are():
    random = np.random.default_rng(0)
    runs = random.normal(1.0, 0.05, 4000) + (random.random(4000) < 0.25) * random.exponential(
        0.7, 4000
    )
    correction, found = Correction(1.0, lambda: 0.0), []
    for run in runs:
        correction.learn(run, 1.0)
        found.append(correction.expected(1.0))
    settled = np.array(found[500:])
    assert settled.mean() == pytest.approx(np.median(runs), abs=0.03)
    assert settled.mean() < runs.mean() - 0.1
    assert settled.std() < 0.05


def test_it_learns_a_slowdown_of_all_runs_within_some_twenty():
    correction = Correction(1.0, lambda: 0.0)
    for _ in range(25):
        correction.learn(2.0, 1.0)
    assert correction.expected(1.0) > 1.8


@given(st.floats(LOWEST, HIGHEST), st.floats(0.1, 10.0))
def test_it_finds_a_lasting_slowdown(ratio, measured):
    correction = Correction(1.0, lambda: 0.0)
    for _ in range(100):
        correction.learn(ratio * measured, measured)
    assert correction.expected(measured) == pytest.approx(ratio * measured, rel=0.01)


@given(st.floats(0.8, 2.0), st.floats(0.0, 1.0))
def test_runs_of_several_engines_tell_a_slower_clock_from_a_cold_start(factor, added):
    correction = Correction(1.0, lambda: 0.0)
    for turn in range(4000):
        measured = (0.5, 1.0, 2.0)[turn // 5 % 3]
        correction.learn(factor * measured + added, measured)
    for measured in (0.5, 1.0, 2.0):
        expected = factor * measured + added
        assert correction.expected(measured) == pytest.approx(expected, rel=0.02)


def test_cold_runs_say_nothing_against_warm_ones():
    """In turns, however much longer they take."""
    correction = Correction(1.0, lambda: 0.0)
    for turn in range(400):
        cold = turn % 4 > 0
        correction.learn(5.0 if cold else 1.5, 1.0, cold)
    assert correction.expected(1.0) == pytest.approx(1.5, rel=0.01)


def test_where_all_runs_are_cold_they_tell_of_a_slower_device_in_time():
    now = [0.0]
    correction = Correction(1.0, lambda: now[0])
    for _ in range(100):
        correction.learn(2.0, 1.0, cold=True)
    assert correction.expected(1.0) == 1.0  # as warm ones were, a moment ago
    for _ in range(100):
        now[0] += HALF_LIFE / 10
        correction.learn(2.0, 1.0, cold=True)
    assert correction.expected(1.0) > 1.4


def test_it_goes_back_to_one_in_time():
    now = [0.0]
    correction = Correction(1.0, lambda: now[0])
    for _ in range(100):
        correction.learn(3.0, 1.0)
    learnt = correction.expected(1.0)
    now[0] += 10 * HALF_LIFE
    correction.learn(3.0, 1.0)
    assert correction.expected(1.0) < 1.3 < learnt


def test_it_tells_a_spread_from_a_slowdown():
    steady, spread = Correction(1.0, lambda: 0.0), Correction(1.0, lambda: 0.0)
    for turn in range(400):
        steady.learn(1.5, 1.0)
        spread.learn(3.0 if turn % 10 == 0 else 1.0, 1.0)
    assert steady.expected(1.0) == pytest.approx(1.5, rel=0.01)
    assert spread.expected(1.0) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("owns", [(1.0, 1.2, 1.0), (1.1, 0.95, 1.0), (1.0, 1.0, 0.8)])
def test_what_is_true_of_one_point_is_told_from_what_is_true_of_all(owns):
    """Of points of 0.5, 1 and 2 seconds, on a device that is half as slow again."""
    correction, own = Correction(1.0, lambda: 0.0), [Own() for _ in owns]
    for turn in range(3000):
        place = turn // 3 % 3
        measured = (0.5, 1.0, 2.0)[place]
        actual = 1.5 * owns[place] * measured
        correction.learn(actual / own[place].times, measured)
        own[place].learn(actual, correction.expected(measured))
    for place, measured in enumerate((0.5, 1.0, 2.0)):
        expected = own[place].times * correction.expected(measured)
        assert expected == pytest.approx(1.5 * owns[place] * measured, rel=0.02)


def test_where_one_point_alone_runs_all_are_as_slow():
    correction, own = Correction(1.0, lambda: 0.0), Own()
    for _ in range(1000):
        correction.learn(2.0 / own.times, 1.0)
        own.learn(2.0, correction.expected(1.0))
    assert own.times == pytest.approx(1.0, abs=0.01)
    assert correction.expected(1.0) == pytest.approx(2.0, rel=0.01)


def test_what_is_known_of_one_point_is_forgotten_while_it_does_not_run():
    """Else a bad minute would bar it for ever: only its own runs could show that it is over."""
    now = [0.0]
    own, shift = Own(lambda: now[0]), Extra(lambda: now[0])
    for _ in range(1000):
        own.learn(1.5 * own.times, own.times)
        shift.learn(0.002)
    slow, dear = own.times, shift.seconds
    assert slow > 1.2 and dear == pytest.approx(0.002, rel=0.01)
    now[0] += HALF_LIFE
    assert own.times - 1.0 == pytest.approx((slow - 1.0) / 2)
    assert shift.seconds == pytest.approx(dear / 2)
    own.learn(2.0, 1.0)
    shift.learn(0.002)  # from what is left of it
    assert own.times < slow and shift.seconds < dear


@given(st.lists(st.tuples(times, times)))
def test_whatever_a_point_does_it_is_told_by_a_number(runs):
    own = Own()
    for actual, corrected in runs:
        own.learn(actual, corrected)
        assert OWN_LOWEST <= own.times <= OWN_HIGHEST


@given(st.lists(times))
def test_what_comes_on_top_is_never_less_than_nothing(runs):
    extra = Extra()
    for seconds in runs:
        extra.learn(seconds)
        assert 0.0 <= extra.seconds < float("inf")


@given(st.floats(0.2, 1.0))
def test_what_comes_on_top_is_found_from_shares_of_it(share):
    extra = Extra()
    for _ in range(3000):
        extra.learn(0.002 * share, share)
    assert extra.seconds == pytest.approx(0.002, rel=0.01)


def test_what_comes_on_top_follows_what_lasts_and_not_one_odd_run():
    extra = Extra()
    for turn in range(100):
        extra.learn(1.0 if turn == 50 else 0.002)
    assert extra.seconds == pytest.approx(0.002, rel=0.01)
