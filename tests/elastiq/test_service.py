"""How requests are answered, by a clock of their own: whom it gives up, and whom not."""

import numpy as np
import pytest

from elastiq.desk import Desk
from elastiq.dispatcher import Dispatcher
from elastiq.errors import DeadlineMissed
from elastiq.line import LOOK_AHEAD
from elastiq.policies import Decision
from elastiq.sessions import Sessions


def request(number):
    return {"x": np.full(3, number)}


def choices_take(seconds, dispatcher, clock):
    decide = dispatcher.decide

    def slowly(*how):
        choice = decide(*how)
        clock.now += seconds
        return choice

    dispatcher.decide = slowly


def test_nobody_is_asked_for_each_who_cannot_be_in_time_at_any_point(make):
    clock, ran = make.clock(0.0), []

    def answer(point, inputs):
        ran.append(int(inputs["x"][0]))
        return {}

    dispatcher = make.dispatcher(clock=clock)
    desk = Desk(dispatcher, make.execute(answer), clock=clock)
    asked = []
    decide = dispatcher.decide
    dispatcher.decide = lambda *how, **more: asked.append(how) or decide(*how, **more)
    lefts = [0.0004, 0.0006, 0.0, 0.0009, 0.05, 0.0005, 0.05]
    futures = [desk.submit(request(number), left) for number, left in enumerate(lefts)]
    futures[3].cancel()
    desk._service._last_run = 0.0  # none of them is a test of whether it is as slow as that
    desk.serve_one()
    assert (len(asked), ran, desk.waiting) == (1, [], 3)
    for place, why in enumerate(["0.4 ms are left", "0.6 ms are left", "the deadline passed"]):
        with pytest.raises(DeadlineMissed, match=why):
            futures[place].result(0)
    desk.serve_one()
    assert (len(asked), ran) == (2, [4])


def test_a_choice_looks_at_those_behind_who_still_wait(make):
    clock, told = make.clock(0.0), []
    dispatcher = make.dispatcher(clock=clock)
    desk = Desk(dispatcher, make.execute(lambda *run: {}), clock=clock)
    decide = dispatcher.decide
    dispatcher.decide = lambda slacks, *more, **how: (
        told.append(slacks) or decide(slacks, *more, **how)
    )
    futures = [desk.submit(request(0), left) for left in (1.0, 2.0, 3.0, 0.5, None, None)]
    futures[1].cancel()
    futures[5].cancel()
    clock.now += 0.5
    desk.serve_one()
    assert told == [[0.5, 2.5, None]]


def test_a_choice_knows_how_many_wait_and_how_many_may(make):
    """Of some it knows when they must be answered, and of the others that they are there."""
    policy = Seeing()
    points = [make.point("only", 0.5)]
    dispatcher = Dispatcher(points, make.table({"only": 0.001}), policy, float, limit=30)
    desk = Desk(dispatcher, make.execute(lambda *_: {}), limit=30)
    for number in range(30):
        desk.submit(request(number), 10.0)
    desk.serve_one()
    seen = policy.seen[-1]
    assert (len(seen.slacks), seen.beyond, seen.limit) == (1 + LOOK_AHEAD, 29 - LOOK_AHEAD, 30)
    while desk.waiting:
        desk.serve_one()
    assert policy.seen[-1].beyond == 0


class Seeing:
    """Puts down what it is shown."""

    name = "seeing"

    def __init__(self):
        self.seen = []

    def choose(self, options, situation):
        self.seen.append(situation)
        return Decision(0, "the only one")


@pytest.mark.parametrize(("left", "runs"), [(0.0011, True), (0.0009, False)])
def test_what_a_choice_takes_is_counted_once(make, left, runs):
    """A prediction has it in: what is left counts from before it."""
    clock, ran = make.clock(0.0), []
    dispatcher = make.dispatcher(clock=clock)
    desk = Desk(dispatcher, make.execute(lambda *run: ran.append(run) or {}), clock=clock)
    desk._service._last_run = 0.0
    choices_take(0.0002, dispatcher, clock)
    answer = desk.submit(request(0), left)
    desk.serve_one()
    assert bool(ran) == runs
    assert (answer.exception(0) is None) == runs


@pytest.fixture
def timed(make):
    """A desk where a choice takes 2 ms, a run 4 and to tell an answer 1; what it learns; and a way
    to hand in requests."""
    clock, learnt = make.clock(0.0), []
    dispatcher = make.dispatcher(clock=clock)
    dispatcher.learn = lambda choice, *times: learnt.append(times[:4])

    def pass_by(seconds):
        clock.now += seconds
        return {}

    desk = Desk(dispatcher, make.execute(lambda *run: pass_by(0.004)), clock=clock)
    choices_take(0.002, dispatcher, clock)

    def submit(**how):
        desk.submit({}, **how).add_done_callback(lambda _: pass_by(0.001))

    return desk, clock, learnt, submit


def test_what_passes_before_a_run_is_told_from_what_passes_between_two(timed):
    desk, clock, learnt, submit = timed
    submit()
    clock.now += 1.0  # it waits, which is neither
    submit()
    assert desk.serve_one() and desk.serve_one()
    assert learnt == [
        (pytest.approx(0.004), pytest.approx(0.002), None, None),
        (pytest.approx(0.004), pytest.approx(0.002), pytest.approx(0.001), None),
    ]


def test_nothing_passes_between_runs_when_nobody_waits(timed):
    desk, clock, learnt, submit = timed
    for _ in range(2):
        submit()
        assert desk.serve_one()
        clock.now += 0.5
    assert [between for _, _, between, _ in learnt] == [None, None]


def test_what_one_waits_who_finds_nobody_at_work_is_told(timed):
    desk, clock, learnt, submit = timed
    for slept in (0.5, 0.003, 0.006):  # at first nobody knows since when nobody was
        submit()
        clock.now += slept
        submit()  # who finds somebody, or as good as that
        assert desk.serve_one() and desk.serve_one()
    roused = [roused for *_, roused in learnt]
    assert roused == [None, None, pytest.approx(0.003), None, pytest.approx(0.006), None]


@pytest.mark.parametrize("left", [0.0071, 0.001])  # too little for a run, and none at all
def test_what_is_refused_between_two_runs_does_not_count(timed, left):
    desk, _, learnt, submit = timed
    submit()
    submit(deadline=left)
    submit()
    for _ in range(3):
        assert desk.serve_one()
    assert [between for _, _, between, _ in learnt] == [None, None]


def test_who_expires_during_a_choice_is_refused(make):
    clock = make.clock(0.0)
    dispatcher = make.dispatcher(clock=clock)
    desk = Desk(dispatcher, None, clock=clock)
    choices_take(1.0, dispatcher, clock)
    answer = desk.submit(request(0), 0.5)
    desk.serve_one()
    with pytest.raises(DeadlineMissed):
        answer.result(0)


class Memory:
    """What is kept of a session that is at the slower point."""

    latest, point, size = None, "large", 0

    def kind(self, inputs):
        return "whole"


def test_a_session_s_request_is_not_given_up_without_being_asked_for(make):
    """It may have the session's last answer instead."""
    desk = Desk(make.dispatcher(), None, sessions=Sessions(Memory), clock=make.clock(0.0))
    desk._service._last_run = 0.0
    first = desk.submit(request(1), 0.0005)
    with desk.session("a"):
        behind = desk.submit(request(2), 0.0005, session="a")
        desk.serve_one()
    with pytest.raises(DeadlineMissed):
        first.result(0)
    assert desk.waiting == 1 and not behind.done()


def test_for_a_session_s_request_nobody_else_is_given_up(make):
    """It takes what its session's point takes: others may well be in time."""
    desk = Desk(make.dispatcher(), None, sessions=Sessions(Memory), clock=make.clock(0.0))
    desk._service._last_run = 0.0
    with desk.session("a"):
        late = desk.submit(request(1), 0.0005, session="a")
        behind = desk.submit(request(2), 0.0006)
        desk.serve_one()
    with pytest.raises(DeadlineMissed):
        late.result(0)
    assert desk.waiting == 1 and not behind.done()
