"""One who waits alone behind a run: what becomes of it is known by how much time is left to it."""

from itertools import pairwise

import numpy as np
import pytest

from elastiq.cells import GIVEN, LEFT_ROW, unpacked
from elastiq.policies import Situation, policy
from elastiq.process import HORIZON
from elastiq.values import SILENCES, last, steps

TIME = 10.0  # that is given
RARELY = 8.0  # times that, between two
POINTS = (1.0, 0.80), (2.0, 0.90), (3.0, 0.95)


def found(options, rarity=RARELY, shift=0.0, soon=0.3, stay=0.0):
    return last(steps(options, TIME, rarity, shift, soon, stay))


@pytest.mark.parametrize("takes", [1, 4])
@pytest.mark.parametrize("soon", [0.1, 0.5])
def test_more_time_is_never_worth_less(make, takes, soon):
    values = found(make.options((1.0, 0.6, takes), (2.0, 0.9)), 0.2, 0.1, soon)
    for silence in SILENCES:
        one = values.successor(silence)
        for row in (*unpacked(one.begun, LEFT_ROW), *unpacked(one.leaving, LEFT_ROW)):
            assert all(later >= sooner - 1e-6 for sooner, later in pairwise(row.tolist()))


def test_where_nobody_comes_it_is_worth_the_best_that_is_in_time(make):
    begun = unpacked(found(make.options(*POINTS)).successor(0.0).begun, LEFT_ROW)
    for left, score in ((0.5, 0.0), (1.5, 0.80), (2.5, 0.90), (9.0, 0.95)):
        gained = (begun[:, round(left * GIVEN / TIME)] - begun[:, 0]) / HORIZON
        assert gained == pytest.approx([score] * len(POINTS), abs=0.01)


def test_a_run_leaves_it_as_much_less_as_it_takes(make):
    one = found(make.options(*POINTS)).successor(0.0)
    begun, leaving = unpacked(one.begun, LEFT_ROW), unpacked(one.leaving, LEFT_ROW)
    for place, (takes, _) in enumerate(POINTS):
        cells = round(takes * GIVEN / TIME)
        np.testing.assert_allclose(leaving[place, cells:], begun[place, :-cells], atol=1e-5)
        assert leaving[place, :cells] == pytest.approx(begun[place, 0])


def test_a_change_of_points_takes_its_time(make):
    """Whoever has just time for the best gets it where that ran last."""
    begun = unpacked(found(make.options(*POINTS), shift=0.5).successor(0.0).begun, LEFT_ROW)
    left = round(3.2 * GIVEN / TIME)
    assert begun[2, left] - begun[0, left] > 0.03


@pytest.mark.parametrize(("left", "chosen"), [(2.5, 0), (4.5, 1), (6.5, 2)])
def test_of_two_both_are_in_time(make, left, chosen):
    """Each with the best point that leaves the other time for its own."""
    options = make.options(*POINTS)
    situation = Situation(0.0, (left, left), None, RARELY * TIME, TIME)
    assert policy("utility", stay=0.0).choose(options, situation).index == chosen
