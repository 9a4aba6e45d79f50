"""Simulated replays: the product's own desk and policies, by a clock of their own."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.arrivals import gamma, step
from elastiq.hog import IDLE, read
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.outcomes import IN_TIME, REFUSED, summarize
from elastiq.policies import Decision, policy
from elastiq.records import WHOLE, Route
from elastiq.rehearsal import FURTHER, Beside
from elastiq.rests import NOTHING, flat
from elastiq.service import TRIED, WRONG
from elastiq.simulation import Costs, quantile, scene, simulate

COSTS = {"small": 0.001, "middle": 0.002, "large": 0.004}
NONE = Beside(handing=NOTHING, after=0.0)
SOON_COLD = (0.0, 0.0015, *(0.003,) * 4)  # within few milliseconds
SCORES = {"small": 0.6, "middle": 0.8, "large": 0.9}


@pytest.fixture
def points(make):
    return [make.point(name, score) for name, score in SCORES.items()]


def steady(slowdown=1.0):
    """A table without tails."""
    rows = [
        Row(name, load, Latency(*[cost * times] * 5, 200, True))
        for name, cost in COSTS.items()
        for load, times in ((0.0, 1.0), (1.0, slowdown))
    ]
    return LatencyTable("test", True, {}, tuple(rows))


def report(points, table, made, name="utility", **options):
    return summarize(name, simulate(points, table, policy(name, **options), made))


def test_who_comes_alone_is_answered_as_fast_as_the_table_says(points):
    made = scene(np.array([0.0, 1.0, 2.0]), 0.1, IDLE, beside=NONE)
    outcomes = simulate(points, steady(), policy("fixed", point="middle"), made)
    assert [outcome.state for outcome in outcomes] == [IN_TIME] * 3
    assert [outcome.latency for outcome in outcomes] == pytest.approx([0.002] * 3)
    assert [outcome.score for outcome in outcomes] == [0.8] * 3


def test_who_comes_together_waits_and_who_waits_too_long_is_refused(points):
    made = scene(np.zeros(4), 0.0105, IDLE, beside=NONE)
    outcomes = simulate(points, steady(), policy("fixed", point="large"), made)
    assert [outcome.latency for outcome in outcomes[:2]] == pytest.approx([0.004, 0.008])
    assert [outcome.state for outcome in outcomes[2:]] == [REFUSED, REFUSED]


@pytest.mark.parametrize(("name", "more"), [("fixed", {"point": "small"}), ("utility", {})])
def test_somebody_makes_a_start_that_takes_longer_than_anybody_is_given(points, name, more):
    """Where others come soon, who are in time for it; who comes alone is refused as any other."""
    beside = NONE._replace(waking=(0.0, 0.004, *(0.012,) * 4))
    gaps = np.random.default_rng(0).exponential(0.003, 1000)
    soon = scene(np.cumsum(gaps), 0.008, IDLE, beside=beside)
    assert report(points, steady(), soon, name, **more).attainment > 0.6
    alone = scene(np.arange(100) / 50, 0.008, IDLE, beside=beside)
    assert report(points, steady(), alone, name, **more).refused >= 40


def test_others_make_runs_longer_from_their_moment_on(points):
    made = scene(np.arange(20) / 10, 0.1, read("0:0,1:1"), beside=NONE)
    outcomes = simulate(points, steady(3.0), policy("fixed", point="small"), made)
    assert [outcome.latency for outcome in outcomes[:10]] == pytest.approx([0.001] * 10)
    assert [outcome.latency for outcome in outcomes[10:]] == pytest.approx([0.003] * 10)


def test_the_dispatcher_sees_a_load_that_comes(points):
    """It waits as long as sensors take to tell, and not for ever."""
    made = scene(np.arange(300) / 100, 0.0085, read("0:0,1:1"), beside=NONE)
    outcomes = simulate(points, steady(3.0), policy("deadline"), made)
    assert {outcome.point for outcome in outcomes[:100]} == {"large"}
    assert "large" not in {outcome.point for outcome in outcomes[150:]}
    assert all(outcome.state == IN_TIME for outcome in outcomes[150:])


@pytest.mark.parametrize("name", ["utility", "deadline", "slackfit"])
def test_it_comes_out_the_same_every_time(points, make, name):
    table = make.table(COSTS)
    made = scene(gamma(400.0, 2.0, seed=1), 0.01, read("0.3"), seed=1)
    assert simulate(points, table, policy(name), made) == simulate(
        points, table, policy(name), made
    )


def test_under_a_burst_choosing_beats_every_fixed_point(points):
    moments = step(250.0, 20.0, seed=3)
    made = scene(moments, 0.008, IDLE)
    ours = report(points, steady(), made)
    fixed = [report(points, steady(), made, "fixed", point=name) for name in COSTS]
    assert ours.effective_accuracy > max(r.effective_accuracy for r in fixed)
    assert ours.requests == len(moments) == ours.in_time + ours.late + ours.refused


def test_in_clumps_choosing_beats_every_fixed_point_however_long_the_deadline(points):
    """Of those who come at once, sixteen say nothing of how many come while one may wait."""
    ahead = []
    for seed in range(4):
        made = scene(gamma(175.0, 11.0, seed, cv=4.0), 0.2, IDLE, seed=seed)
        fixed = [report(points, steady(), made, "fixed", point=name) for name in COSTS]
        best = max(r.effective_accuracy for r in fixed)
        ahead.append(report(points, steady(), made).effective_accuracy - best)
    assert sum(ahead) > 0.0


def test_requests_are_answered_together_where_a_point_takes_several(make):
    points = [make.point("one", 0.9), make.point("four", 0.8, takes=4)]
    table = make.table({"one": 0.004, "four": 0.004})
    made = scene(np.zeros(8), 0.0101, IDLE, beside=NONE)
    assert report(points, table, made, "fixed", point="one").in_time == 2
    assert report(points, table, made, "fixed", point="four").in_time == 8


def test_what_a_device_takes_beside_its_table_is_taken(points):
    waking = (0.0, 0.0001, 0.0004, 0.0004, 0.0004, 0.0004)
    beside = Beside(1.5, 0.0002, waking, handing=flat(0.0001), after=0.0008)
    made = scene(np.array([0.1, 0.101, 1.0]), 0.1, IDLE, beside=beside)
    outcomes = simulate(points, steady(), policy("fixed", point="small"), made)
    first = 0.0001 + 0.0015 + 0.0002 + 0.0004
    # The second came meanwhile, and begins once the first is over and done with: hardly colder.
    second = first + 0.0008 + 0.0015 + 0.0002 + 0.8 * 0.0001 - 0.001
    assert [outcome.latency for outcome in outcomes] == pytest.approx([first, second, first])


def test_requests_that_come_at_once_are_sent_one_after_the_other(points):
    made = scene(np.zeros(4), 0.1, IDLE, beside=NONE._replace(sending=0.02))
    outcomes = simulate(points, steady(), policy("fixed", point="small"), made)
    latencies = [outcome.latency for outcome in outcomes]
    assert latencies == pytest.approx([0.02 * place + COSTS["small"] for place in range(4)])
    made = scene(np.zeros(4), 0.05, IDLE, beside=NONE._replace(sending=0.02))
    outcomes = simulate(points, steady(), policy("fixed", point="small"), made)
    assert [outcome.state for outcome in outcomes] == [IN_TIME] * 3 + [REFUSED]


@pytest.mark.parametrize(("apart", "moved", "stayed"), [(1e-9, 0.0002, 0.0), (1.0, 0.0005, 0.0003)])
def test_a_change_of_points_takes_what_it_does_on_the_device(points, apart, moved, stayed):
    """The more, the longer the other engine did not run; and one that stays gets cold as well."""

    class Alternating:
        name = "alternating"

        def __init__(self):
            self.turn = 0

        def choose(self, options, situation):
            self.turn += 1
            return Decision(self.turn // 2 % 2, "its turn")

    moments = 1.0 + apart * np.arange(6)
    returning = (0.0002,) * 4 + (0.0005,) * 2
    made = scene(moments, 0.1, IDLE, beside=NONE._replace(returning=returning))
    outcomes = simulate(points, steady(), Alternating(), made)
    more = [outcome.took - COSTS[outcome.point] for outcome in outcomes]
    names = [outcome.point for outcome in outcomes]
    expected = [0.0003]  # the first of all moved from nowhere
    for place, (before, point) in enumerate(pairwise(names), 1):
        known = moved if point in names[:place] else 0.0005
        expected.append(stayed if point == before else known)
    assert more == pytest.approx(expected) and {stayed, moved, 0.0005} <= set(expected)


@pytest.mark.parametrize("kind, options", [("fixed", {"point": "small"}), ("utility", {})])
def test_a_device_too_cold_to_be_in_time_is_warmed_by_those_who_come(points, kind, options):
    """Bursts, before each of which caches go so cold that no run is in time: who refuses all that
    come then never has a warm run again."""
    bursts = 0.04 * np.arange(60)[:, None] + 0.0015 * np.arange(15)
    made = scene(bursts.ravel(), 0.003, IDLE, beside=NONE._replace(waking=SOON_COLD))
    found = report(points, steady(), made, kind, **options)
    assert 0.75 < found.in_time / found.requests < 14.5 / 15


@pytest.mark.parametrize("times", [1.1, WRONG, 4.0 * WRONG])
def test_what_would_take_much_less_than_it_does_is_tried_the_more_rarely(points, times):
    every, run = 0.0005, COSTS["small"]
    made = scene(every * np.arange(4000), run / times, IDLE, beside=NONE)
    outcomes = simulate(points, steady(), policy("utility"), made)
    ran = sum(outcome.state != REFUSED for outcome in outcomes)
    expected = 4000 * every / (TRIED * max(1.0, times / WRONG) ** 2 * run)
    assert 0.7 * expected <= ran <= expected + 1


def test_those_answered_together_are_so_at_once_and_hold_up_the_next_run_little_more(make):
    points = [make.point("four", 0.8, takes=4)]
    made = scene(np.zeros(5), 0.1, IDLE, beside=Beside(after=0.0008))
    table = make.table({"four": 0.004})
    outcomes = simulate(points, table, policy("fixed", point="four"), made)
    runs = [outcome.latency - outcome.took for outcome in outcomes]
    assert runs[:4] == pytest.approx([0.0] * 4)
    assert runs[4] == pytest.approx(outcomes[0].took + 0.0008 * (1.0 + 3 * FURTHER))


@given(st.floats(0.0, 0.999), st.floats(0.0, 0.999))
def test_an_unluckier_run_is_no_shorter(first, second):
    latency = Latency(0.001, 0.0015, 0.004, 0.0012, 0.01, 200, True)
    low, high = sorted((first, second))
    assert 0.001 <= quantile(latency, low) <= quantile(latency, high) <= 0.004
    assert quantile(latency, 0.9) == pytest.approx(0.0015)


@pytest.mark.parametrize("shares", [(1.0,), (0.7, 0.3), (0.5, 0.2, 0.4)])
def test_a_law_has_runs_as_long_as_they_are_or_shorter_by_little(make, shares):
    ways = tuple(Route(part, {"one": 1 + place}) for place, part in enumerate(shares))
    point = make.point("one", 0.8, routes={WHOLE: ways})
    rows = (Row("one", 0.0, Latency(0.001, 0.0015, 0.004, 0.0012, 0.001, 200, True)),)
    costs = Costs([point], LatencyTable("test", True, {}, rows))
    law = costs.law("one", 0.0)
    draws = np.random.default_rng(0).random((4000, 2)).tolist()
    drawn = np.array([costs("one", 0.0, luck)[0] for luck in draws])
    assert sum(chance for _, chance in law) == pytest.approx(1.0)
    for length in np.linspace(0.0005, 0.012, 40):
        known = sum(chance for run, chance in law if run > length)
        assert known - 0.02 <= (drawn > length).mean() <= known + 0.05
