"""The correction: follows what lasts, forgets what is over, and never leaves its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.correction import HALF_LIFE, HIGHEST, LOWEST, Correction

times = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(times, times, st.floats(0, 1e6))))
def test_it_stays_within_bounds_whatever_it_is_told(runs):
    now = [0.0]
    correction = Correction(lambda: now[0])
    for actual, predicted, pause in runs:
        now[0] += pause
        correction.learn(actual, predicted)
        assert LOWEST <= correction.factor <= HIGHEST


@given(st.floats(1e-6, 1e6))
def test_one_run_alone_changes_nothing(ratio):
    correction = Correction(lambda: 0.0)
    correction.learn(ratio, 1.0)
    assert correction.factor == 1.0
    for _ in range(10):
        correction.learn(1.0, 1.0)
    assert correction.factor == pytest.approx(1.0)


@given(st.floats(LOWEST, HIGHEST))
def test_it_finds_a_lasting_slowdown(ratio):
    correction = Correction(lambda: 0.0)
    for _ in range(100):
        correction.learn(ratio * 0.01, 0.01)
    assert correction.factor == pytest.approx(ratio, rel=0.01)


def test_it_goes_back_to_one_in_time():
    now = [0.0]
    correction = Correction(lambda: now[0])
    for _ in range(100):
        correction.learn(3.0, 1.0)
    learnt = correction.factor
    now[0] += 10 * HALF_LIFE
    correction.learn(3.0, 1.0)
    assert correction.factor < 1.3 < learnt
