"""A share to be in time: what becomes of requests is told to the policy, which heeds it."""

import numpy as np
import pytest

from elastiq import arrivals
from elastiq.desk import Desk
from elastiq.errors import ElastiqError, QueueFull
from elastiq.hog import IDLE
from elastiq.outcomes import IN_TIME
from elastiq.policies import policy
from elastiq.promise import IN_VAIN, OVER, REST, STEPS, Promise, worth
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


def test_it_is_worth_more_with_each_who_is_late_and_less_while_all_are_in_time():
    promise = Promise(0.99)
    began = promise.step
    promise.count(False)
    assert promise.step == began + 1
    assert worth(promise.step) == 2 * worth(began)
    for _ in range(2000):
        promise.count(True)
    assert promise.step == 0 and worth(0) == 0.0


def test_it_settles_where_little_more_than_the_share_is_in_time():
    promise, luck = Promise(0.95), np.random.default_rng(1)
    late = 0.2 * 0.5 ** np.arange(STEPS + 1)  # how likely that is, by step
    fates = []
    for draw in luck.random(20_000):
        fates.append(draw > late[promise.step])
        promise.count(fates[-1])
    assert 0.95 < np.mean(fates) < 0.97


def test_what_is_out_of_reach_is_given_up_and_tried_again():
    promise, steps = Promise(0.99), []
    for number in range(2 * (REST + IN_VAIN + OVER)):
        promise.count(number % 4 > 0)
        steps.append(promise.step)
    tried = np.array(steps) > 0
    assert tried.mean() < 0.2
    assert np.diff(tried.astype(int)).tolist().count(1) == 2  # once more, and again


def test_one_backlog_is_no_reason_to_give_up():
    """Where requests may wait for long, many of them are late before the first is known to be."""
    promise = Promise(0.99)
    for in_time in [True] * 500 + [False] * OVER + [True] * OVER:
        promise.count(in_time)
    assert promise.step > 0


def test_two_threads_that_count_the_last_of_a_rest_do_not_make_it_endless():
    promise = Promise(0.99)
    promise._resting = -1
    promise.count(True)
    assert promise.step > 0


def test_what_comes_into_reach_is_held_again():
    promise = Promise(0.99)
    for _ in range(IN_VAIN + OVER):
        promise.count(False)
    assert promise.step == 0
    for _ in range(REST):
        promise.count(True)
    promise.count(False)
    assert promise.step > 0


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
