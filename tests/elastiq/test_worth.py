"""What later requests are worth, and what comes of it in a queue that is simulated."""

from itertools import pairwise

import numpy as np
import pytest

from elastiq.policies import Situation, policy
from elastiq.worth import Worth, solve

GIVEN = 5.0
POINTS = ((0.8, 0.6), (1.0, 0.85), (1.4, 0.93), (2.5, 0.94))  # seconds, score


def serve(options, chooser, pace, count=4000):
    """The mean score of all requests: first come, first served, and the hopeless are refused."""
    arrivals = np.cumsum(np.random.default_rng(0).exponential(pace, count)).tolist()
    free, score, current = 0.0, 0.0, None
    for index, arrival in enumerate(arrivals):
        now = max(free, arrival)
        left = arrival + GIVEN - now
        slacks = [left]
        if index + 1 < count and arrivals[index + 1] <= now:
            slacks.append(arrivals[index + 1] + GIVEN - now)
        situation = Situation(0.0, tuple(slacks), current, pace, GIVEN)
        chosen = chooser.choose(options, situation).index
        if options[chosen].typical <= left:
            free, current = now + options[chosen].typical, chosen
            score += options[chosen].score
    return score / count


@pytest.mark.parametrize("pace", [1.0, 1.5, 3.0])
def test_it_beats_the_point_that_would_have_been_best(make, pace):
    options = make.options(*POINTS)
    ours = serve(options, policy("utility"), pace)
    fixed = [serve(options, policy("fixed", point=o.point), pace) for o in options]
    assert ours > max(fixed)
    assert ours > serve(options, policy("deadline"), pace)


def test_where_most_are_lost_anyway_it_loses_little(make):
    options = make.options(*POINTS)
    fixed = [serve(options, policy("fixed", point=o.point), 0.7) for o in options]
    assert serve(options, policy("utility"), 0.7) > max(fixed) - 0.01


def test_a_longer_wait_is_never_worth_more(make):
    options = make.options((1.0, 0.6), (2.0, 0.9))
    for rarity in (0.1, 0.3, 1.0):
        values = solve(options, GIVEN, rarity, 0.0)
        for row in (*values.waiting, *values.arriving):
            assert all(later <= earlier + 1e-9 for earlier, later in pairwise(row))


def test_a_shift_makes_it_worth_to_be_at_the_right_point(make):
    options = make.options((1.0, 0.6), (1.1, 0.9))
    free, dear = solve(options, GIVEN, 0.3, 0.0), solve(options, GIVEN, 0.3, 1.0)
    assert free.waiting[0] == pytest.approx(free.waiting[1])
    assert dear.waiting[1][0] > dear.waiting[0][0]


def test_like_situations_are_solved_once(make, monkeypatch):
    solved = []
    monkeypatch.setattr("elastiq.worth.solve", lambda *given: solved.append(given))
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    for pace in (1.00, 1.01, 1.02):
        worth(options, GIVEN, pace, 0.0)
    assert len(solved) == 1
    worth(options, GIVEN, 3.0, 0.0)
    worth(options, GIVEN, 3.0, 1.0)
    assert len(solved) == 3
