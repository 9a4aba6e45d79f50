"""The planner of the figures: it wastes nothing, and knows no more than it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.planner import Law, Planner, _took
from elastiq.bound import best
from elastiq.latency import Latency
from elastiq.policies import Option
from elastiq.simulation import quantile

GIVEN = 10.0
OPTIONS = (
    Option("fast", 0.6, 1.0, 1.2, 1.5, 1.05),
    Option("slow", 0.9, 6.0, 6.6, 8.0, 6.2),
    Option("many", 0.6, 1.6, 1.8, 2.2, 1.65, 4),
)


def traffic(law, count):
    random = np.random.default_rng(3)
    return np.cumsum(law.gaps(random, (count,))), random.random(count)


def test_who_has_all_the_time_gets_the_best():
    law = Law(40 * GIVEN, 0.5)
    assert Planner(OPTIONS, GIVEN, law).earned(*traffic(law, 10)) == pytest.approx(0.9)


@pytest.mark.parametrize("cv", [1.0, 2.0])
def test_it_is_ahead_of_every_point_alone_and_behind_who_sees_the_future(cv):
    law = Law(2.0, cv)
    moments, luck = traffic(law, 120)

    def earned(*options):
        return Planner(options, GIVEN, law).earned(moments, luck)

    runs = np.array(
        [_took(np.tile((o.typical, o.likely, o.worst), (120, 1)), luck) for o in OPTIONS]
    )
    scores, takes = [o.score for o in OPTIONS], [o.takes for o in OPTIONS]
    bound = best(moments, GIVEN, runs.T, scores, takes, 0.0) / len(moments)
    assert max(earned(option) for option in OPTIONS) < earned(*OPTIONS) <= bound


def test_runs_take_what_they_take_in_simulations():
    shares = np.linspace(0.0, 0.999, 200)
    latency = Latency(1.0, 1.5, 3.0, 1.2, 1.2, 200, True)
    took = _took(np.tile((1.0, 1.5, 3.0), (200, 1)), shares)
    assert took == pytest.approx([quantile(latency, share) for share in shares])
