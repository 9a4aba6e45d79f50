"""A share to be in time: what became of requests is followed, and the dispatcher heeds it."""

import numpy as np
import pytest

from elastiq import arrivals
from elastiq.desk import Desk
from elastiq.errors import ElastiqError, QueueFull
from elastiq.hog import IDLE
from elastiq.outcomes import IN_TIME
from elastiq.policies import policy
from elastiq.punctuality import OVER, Punctuality
from elastiq.requests import Done
from elastiq.simulation import scene, simulate

COSTS = {"small": 0.001, "middle": 0.003, "large": 0.008}  # seconds
SCORES = {"small": 0.8, "middle": 0.9, "large": 0.95}
DEADLINE = 0.02
REQUEST = {"x": np.zeros(1)}


def played(make, rate, cv, seed=1, **options):
    """The shares in time, and in time and right, of uneven traffic."""
    points = [make.point(name, score) for name, score in SCORES.items()]
    made = scene(arrivals.gamma(rate, 3000 / rate, seed=seed, cv=cv), DEADLINE, IDLE)
    outcomes = simulate(points, make.table(COSTS), policy("utility", **options), made)
    in_time = [outcome for outcome in outcomes if outcome.state == IN_TIME]
    return len(in_time) / len(outcomes), sum(one.score for one in in_time) / len(outcomes)


def test_the_share_is_of_requests_lately():
    punctuality = Punctuality()
    assert punctuality.share == 1.0
    for number in range(8 * OVER):
        punctuality.count(number % 4 > 0)
    assert punctuality.share == pytest.approx(0.75, abs=0.01)


def test_a_share_that_can_be_held_is_held_for_some_accuracy(make):
    seeds = range(1, 9)
    plain, right = np.mean([played(make, 200, 3.0, seed) for seed in seeds], axis=0)
    told, less_right = np.mean(
        [played(make, 200, 3.0, seed, in_time=0.99) for seed in seeds], axis=0
    )
    assert plain < 0.99 < told
    assert right - 0.05 < less_right < right


def test_a_share_that_is_out_of_reach_changes_little(make):
    plain, right = played(make, 600, 6.0)
    _, told_right = played(make, 600, 6.0, in_time=0.99)
    assert plain < 0.8
    assert told_right == pytest.approx(right, abs=0.02)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_not_every_share_can_be_asked_for(share):
    with pytest.raises(ElastiqError, match="in_time"):
        policy("utility", in_time=share)


def test_requests_that_any_point_might_answer_count_by_whether_they_are_in_time(make):
    dispatcher, counted = make.dispatcher(name="fixed", point="small"), []
    dispatcher.settle = counted.append
    clock = make.clock(step=0.0)

    def run(point, requests, memory):
        clock.now += 2.0
        return Done([{} for _ in requests], ["main"])

    desk = Desk(dispatcher, run, clock=clock)
    for deadline, point in ((3.0, None), (1.0, None), (0.0, None), (None, None), (1.0, "small")):
        future = desk.submit(REQUEST, deadline, point=point)
        assert desk.serve_one()
        assert future.done()
    assert counted == [True, False, False]
    desk.submit(REQUEST, 0.0).cancel()
    desk.submit(REQUEST, 3.0)
    assert desk.serve_one() and desk.serve_one()
    assert counted == [True, False, False, True]


def test_who_is_turned_away_at_the_door_counts_as_late(make):
    dispatcher, counted = make.dispatcher(), []
    dispatcher.settle = counted.append
    desk = Desk(dispatcher, lambda *_: Done([{}]), limit=1)
    desk.submit(REQUEST, 1.0)
    with pytest.raises(QueueFull):
        desk.submit(REQUEST, 1.0)
    urgent = desk.submit(REQUEST, 1.0, priority=1)
    assert counted == [False, False]
    assert not urgent.done()
