"""A budget of power: what runs spent is followed, and the dispatcher keeps to it."""

from dataclasses import replace

import numpy as np
import pytest

from elastiq.errors import ElastiqError
from elastiq.hog import IDLE
from elastiq.policies import policy
from elastiq.simulation import scene, simulate
from elastiq.spending import OVER, Spending

COSTS = {"small": 0.001, "middle": 0.002, "large": 0.004}  # seconds
JOULES = {"small": 0.001, "middle": 0.003, "large": 0.010}
RATE = 100


@pytest.fixture
def points(make):
    scores = {"small": 0.6, "middle": 0.8, "large": 0.9}
    return [make.point(name, score) for name, score in scores.items()]


@pytest.fixture
def table(make):
    plain = make.table(COSTS)
    return replace(plain, rows=tuple(replace(r, energy=JOULES[r.engine]) for r in plain.rows))


def spent(points, table, deadline, **options):
    """The watts, and the mean score, of a minute of even traffic after the first ten seconds."""
    made = scene(np.arange(70 * RATE) / RATE, deadline, IDLE)
    outcomes = simulate(points, table, policy("utility", **options), made)[10 * RATE :]
    joules = sum(JOULES[outcome.point] for outcome in outcomes)
    return joules / 60, np.mean([outcome.score for outcome in outcomes])


def test_what_is_spent_at_an_even_rate_is_the_power():
    now = [0.0]
    spending = Spending(lambda: now[0])
    for _ in range(6000):
        now[0] += 0.01
        spending.spend(0.05)
    assert spending.watts == pytest.approx(5.0, rel=0.01)
    now[0] += OVER
    assert spending.watts == pytest.approx(5.0 / np.e, rel=0.01)


@pytest.mark.parametrize("deadline", [0.05, np.inf])
@pytest.mark.parametrize("watts, at_least", [(0.5, 0.8), (0.2, 0.65)])
def test_runs_keep_to_the_watts_and_are_as_good_as_these_allow(
    points, table, deadline, watts, at_least
):
    assert spent(points, table, deadline)[0] == pytest.approx(1.0, rel=0.01)  # always the largest
    used, score = spent(points, table, deadline, watts=watts)
    assert used <= watts
    assert score > at_least


def test_what_cannot_be_kept_is_answered_at_the_thriftiest_point(points, table):
    used, score = spent(points, table, 0.05, watts=0.01)
    assert (used, score) == (pytest.approx(0.1), pytest.approx(0.6))


def test_without_a_counter_no_watts_can_be_kept(points, make):
    with pytest.raises(ElastiqError, match="what energy it takes"):
        made = scene(np.zeros(1), 1.0, IDLE)
        simulate(points, make.table(COSTS), policy("utility", watts=1.0), made)


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan")])
def test_there_is_no_running_on_nothing(watts):
    with pytest.raises(ElastiqError, match="watts"):
        policy("utility", watts=watts)
