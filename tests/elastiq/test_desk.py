"""The desk by a clock of its own: when it thinks, and whom it gives up without asking."""

from concurrent.futures import Future
from math import ceil
from types import SimpleNamespace

import numpy as np
import pytest

from elastiq.desk import BETWEEN, Desk
from elastiq.dispatcher import Dispatcher
from elastiq.errors import DeadlineMissed
from elastiq.policies import Decision
from elastiq.requests import Request
from elastiq.thoughts import HURRY, MUSED, SHARE


def request(number):
    return {"x": np.full(3, number)}


def test_to_think_takes_its_share_of_the_time_and_no_more(make):
    clock, took = make.clock(0.0), []

    class Thinker:
        astray = False

        def think(self):
            clock.now += 0.001
            took.append(0.001)
            return True

    desk = Desk(Thinker(), execute=None, clock=clock)

    def until_tired():
        took.clear()
        while desk.think():
            pass
        return sum(took)

    assert until_tired() == pytest.approx(MUSED, abs=0.0011)  # after any idle time
    for _ in range(3):
        clock.now += 1.0
        assert until_tired() == pytest.approx(SHARE, abs=0.0011)


class Lost:
    """Knows what to choose after so many thoughts; puts down after how many it chose."""

    name, left, step = "lost", 10, 6e-5

    def __init__(self, clock):
        self.clock, self.chose, self.thought = clock, [], 0

    @property
    def astray(self):
        return self.left > 0

    def think(self):
        self.clock.now += self.step
        self.thought += 1
        self.left -= 1
        return True

    def choose(self, options, situation):
        self.chose.append((self.thought, situation.slacks[0]))
        return Decision(0, "the first")


def lost(make, quickest):
    """A desk whose policy is lost, among points as slow as this."""
    clock = make.clock(0.0)
    policy = Lost(clock)
    points = [make.point("only", 0.5)]
    dispatcher = Dispatcher(points, make.table({"only": quickest}), policy, float, clock=clock)
    policy.chose.clear()
    return policy, Desk(dispatcher, make.execute(lambda *_: {}), clock=clock)


def test_where_a_choice_would_be_a_bad_one_it_thinks_first_whoever_waits(make):
    policy, desk = lost(make, quickest=1e-4)
    for number in range(3):
        desk.submit(request(number), deadline=1.0)
    while desk.waiting:
        desk.serve_one()
    each = ceil(HURRY / Lost.step)
    thoughts, left = zip(*policy.chose, strict=True)
    assert thoughts == (0, each, each, 2 * each, 2 * each, 10)  # before and after
    assert left == pytest.approx([1.0 - Lost.step * seen for seen in thoughts])


def test_beside_a_long_run_it_may_think_for_longer(make):
    policy, desk = lost(make, quickest=0.1)
    desk.submit(request(0), deadline=1.0)
    desk.serve_one()
    assert [seen for seen, _ in policy.chose] == [0, 10]


def test_it_does_not_think_for_who_asks_for_a_point(make):
    policy, desk = lost(make, quickest=0.1)
    desk.submit(request(0), deadline=1.0, point="only")
    desk.serve_one()
    assert (policy.thought, desk.waiting) == (0, 0)


def test_a_policy_that_fails_to_work_ahead_is_not_asked_again(make, caplog):
    policy, desk = lost(make, quickest=0.1)
    asked = []

    def think():
        asked.append(1)
        raise ValueError("no thoughts")

    policy.think = think
    for number in range(2 * BETWEEN):
        future = desk.submit(request(number), deadline=1.0)
        desk.serve_one()
        assert future.result(0).point == "only"
    assert not desk.think()
    assert len(asked) == len(caplog.records) == 1
    assert "no thoughts" in caplog.text


def test_nobody_is_asked_for_each_who_cannot_be_in_time_at_any_point(make):
    clock, ran = make.clock(0.0), []

    def answer(point, inputs):
        ran.append(int(inputs["x"][0]))
        return {}

    desk = Desk(make.dispatcher(clock=clock), make.execute(answer), clock=clock)
    asked = []
    decide = desk._dispatcher.decide
    desk._dispatcher.decide = lambda *how, **more: asked.append(how) or decide(*how, **more)
    lefts = [0.0004, 0.0006, 0.0, 0.0009, 0.05, 0.0005, 0.05]
    futures = [desk.submit(request(number), left) for number, left in enumerate(lefts)]
    futures[3].cancel()
    desk._last_run = 0.0  # none of them is a test of whether it is as slow as that
    desk.serve_one()
    assert (len(asked), ran, desk.waiting) == (1, [], 3)
    for place, why in enumerate(["0.4 ms are left", "0.6 ms are left", "the deadline passed"]):
        with pytest.raises(DeadlineMissed, match=why):
            futures[place].result(0)
    desk.serve_one()
    assert (len(asked), ran) == (2, [4])


def test_a_session_s_request_is_not_given_up_without_being_asked_for(make):
    """It may have the session's last answer instead."""
    desk = Desk(make.dispatcher(), execute=None, clock=make.clock(0.0))
    late = Request(request(1), 0.0, 0.001, Future(), session="a")
    desk._queue.add(late)
    assert desk._take_late(0.5) is None
    assert desk.waiting == 1


def test_for_a_session_s_request_nobody_else_is_given_up(make):
    """It takes what its session's point takes: others may well be in time."""
    desk = Desk(make.dispatcher(), execute=None, clock=make.clock(0.0))
    memory = SimpleNamespace(latest=None, point="large", kind=lambda inputs: "whole")
    desk._recall = lambda request: memory
    desk._last_run = 0.0
    late = Request(request(1), 0.0, 0.0005, Future(), session="a", memory=memory)
    behind = desk.submit(request(2), 0.0006)
    desk._answer(late, [0.0005, 0.0006], desk._listener.rhythm, 0.0)
    with pytest.raises(DeadlineMissed):
        late.future.result(0)
    assert desk.waiting == 1 and not behind.done()
