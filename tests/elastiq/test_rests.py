"""What a rest costs: learnt for rests of any length, on devices that cool in a moment or slowly."""

from math import exp, inf, nan, nextafter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.correction import HALF_LIFE
from elastiq.rests import LENGTHS, NOTHING, Rests


def learnt(cost, rests):
    """What is known after such rests."""
    known = Rests()
    for rest in rests:
        known.learn(rest, cost(rest))
    return known


def drawn(count):
    """Rests of all lengths, up to a second."""
    return np.exp(np.random.default_rng(1).uniform(np.log(1e-4), 0.0, count))


@pytest.mark.parametrize("cooling", [0.0015, 0.008, 0.03])
def test_it_finds_how_soon_a_device_cools(cooling):
    def cost(rest):
        return 5e-4 * (1.0 - exp(-rest / cooling))

    known = learnt(cost, drawn(2000))
    for rest in (1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 1.0, inf):
        assert known(rest) == pytest.approx(cost(rest), abs=5e-5)
    assert known(0.0) == 0.0
    assert known.curve == tuple(known(rest) for rest in (0.0, *LENGTHS))


def test_of_rests_that_it_never_met_it_says_what_shorter_ones_cost():
    known = learnt(lambda rest: 4e-4, [0.016] * 200)
    assert known(0.016) == known(0.1) == known(inf) == pytest.approx(4e-4, rel=0.01)
    assert known(0.004) < 1e-5 and known(0.0) == 0.0


def test_before_it_met_any_nothing_costs_anything():
    assert Rests()(inf) == 0.0 and Rests().curve == NOTHING


@pytest.mark.parametrize("length", LENGTHS)
def test_just_below_and_above_a_length_it_costs_the_same(length):
    known = learnt(lambda rest: 4e-4 * rest, [length] * 50)
    around = [known(nextafter(length, to)) for to in (0.0, 1.0)]
    assert around == pytest.approx([known(length)] * 2)


def test_even_no_rest_costs_something_where_it_may():
    known = Rests(none_may_cost=True)
    for rest in drawn(2000):
        known.learn(rest, 2e-4 if rest < 0.004 else 5e-4)
    assert known(0.0) == pytest.approx(2e-4, rel=0.1)
    assert known(0.1) == pytest.approx(5e-4, rel=0.1)


def test_what_it_knows_of_long_ago_is_forgotten_by_a_clock_that_goes(make):
    clock = make.clock(step=0.0)
    known = Rests(clock)
    for _ in range(100):
        known.learn(0.1, 4e-4)
    assert known(0.1) == pytest.approx(4e-4, rel=0.01)
    clock.now += HALF_LIFE
    assert known(0.1) == pytest.approx(2e-4, rel=0.01)
    known.learn(0.1, 2e-4)
    assert known(0.1) == pytest.approx(2e-4, rel=0.01)


def test_one_odd_run_changes_nothing_and_what_lasts_does():
    known = learnt(lambda rest: 3e-4, [0.01] * 100)
    known.learn(0.01, 1.0)
    known.learn(0.01, 3e-4)
    assert known(0.01) == pytest.approx(3e-4, rel=0.01)
    for _ in range(100):
        known.learn(0.01, 1e-4)
    assert known(0.01) == pytest.approx(1e-4, rel=0.01)


@given(st.lists(st.tuples(st.floats(0.0), st.floats())))
def test_whatever_it_is_told_a_longer_rest_costs_no_less(runs):
    known = Rests()
    for rest, seconds in runs:
        known.learn(rest, seconds)
    costs = [known(rest) for rest in sorted((0.0, 1e-4, *LENGTHS, *drawn(20), inf))]
    assert costs == sorted(costs) and all(0.0 <= cost < inf for cost in costs)


def test_what_is_no_number_is_no_run():
    known = Rests()
    known.learn(0.01, nan)
    assert known(0.01) == 0.0
