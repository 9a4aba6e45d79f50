"""The bound of a replay: no contender passes it, but by luck."""

from __future__ import annotations

import numpy as np
import pytest

from elastiq.arrivals import gamma, poisson
from elastiq.bound import Bound, bound, seen
from elastiq.hog import IDLE, read
from elastiq.outcomes import IN_TIME, REFUSED, Outcome, summarize
from elastiq.policies import policy
from elastiq.rehearsal import Beside
from elastiq.rests import NOTHING
from elastiq.simulation import scene, simulate

COSTS = {"small": 0.001, "middle": 0.002, "large": 0.004}
SCORES = {"small": 0.6, "middle": 0.8, "large": 0.9}
CONTENDERS = [("utility", {}), ("deadline", {}), ("slackfit", {})] + [
    ("fixed", {"point": name}) for name in COSTS
]


@pytest.fixture
def points(make):
    return [make.point(name, score) for name, score in SCORES.items()]


def earned(points, table, made, name, options):
    return summarize(name, simulate(points, table, policy(name, **options), made))


@pytest.mark.parametrize("hog", ["0", "0:0,1:0.8"])
@pytest.mark.parametrize("rate", [100.0, 400.0, 1500.0])
def test_nobody_passes_it_where_runs_have_no_luck(points, make, monkeypatch, rate, hog):
    monkeypatch.setattr("elastiq.simulation.quantile", lambda latency, share: latency.p90)
    table = make.table(COSTS, 3.0)
    made = scene(poisson(rate, 2.0, seed=2), 0.01, read(hog), seed=2)
    highest = bound(points, table, made)
    assert 0 < highest.effective_accuracy <= highest.attainment <= 1 + 1e-9
    for name, options in CONTENDERS:
        found = earned(points, table, made, name, options)
        assert found.effective_accuracy <= highest.effective_accuracy + 1e-9
        assert found.attainment <= highest.attainment + 1e-9
        if rate == 100.0 and name == "utility":
            assert found.effective_accuracy > 0.9 * highest.effective_accuracy


@pytest.mark.parametrize("rate, cv", [(300.0, 1.0), (900.0, 1.0), (400.0, 4.0)])
def test_nobody_passes_it_on_average(points, make, rate, cv):
    """What every run takes is luck, which nobody has all of the time."""
    table = make.table(COSTS)
    moments = gamma(rate, 1.0, seed=3, cv=cv)
    scenes = [scene(moments, 0.008, IDLE, seed) for seed in range(8)]
    highest = bound(points, table, scenes[0])
    assert bound(points, table, scenes[1]) == highest
    for name, options in CONTENDERS:
        found = [earned(points, table, made, name, options) for made in scenes]
        assert np.mean([one.effective_accuracy for one in found]) <= highest.effective_accuracy
        assert np.mean([one.attainment for one in found]) <= highest.attainment


def test_a_load_that_falls_in_time_is_waited_for(points, make):
    """Nobody could be in time at the load when they come, and all are once it has gone."""
    table = make.table(COSTS, 20.0)
    made = scene(
        np.array([0.0, 0.001]), 0.01, read("0:1,0.005:0"), beside=Beside(handing=NOTHING, after=0.0)
    )
    assert bound(points, table, made).attainment == pytest.approx(1.0)


def test_runs_that_were_seen_are_taken_to_come_again():
    """Two come at once, and one comes in time after the other only if that was fast."""
    moments = np.repeat(np.arange(20) * 0.02, 2)
    took = [0.004, 0.008] * 20
    alone = [Outcome(IN_TIME, 0.0, run, "only", 0.9, took=run, beside=0.0) for run in took]
    never = [Outcome(REFUSED, 0.0)] * 40
    found = seen(moments, 0.0085, [alone, never], [0.9, 0.5], [1, 1])
    assert found.attainment == pytest.approx((1 + 0.5 * 0.5) / 2, abs=0.01)
    assert found.effective_accuracy == pytest.approx(0.9 * found.attainment)
    assert seen(moments, 0.0085, [never], [0.9], [1]) == Bound(0.0, 0.0)
