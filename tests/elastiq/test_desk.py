"""The desk: when it thinks, and that who waits there serves himself if nobody else does."""

import threading
from math import ceil

import numpy as np
import pytest

from elastiq.desk import BETWEEN, Desk
from elastiq.dispatcher import OVERDUE, RENEWED, Dispatcher
from elastiq.errors import ElastiqError
from elastiq.policies import Decision
from elastiq.thoughts import (
    AT_FIRST,
    HURRIED,
    HURRY,
    HURRY_SHARE,
    IN_SILENCE,
    MUSED,
    SHARE,
    SILENCE,
    Thoughts,
)


def request(number):
    return {"x": np.full(3, number)}


class Tireless:
    """Always has something to think of; puts down how long that took."""

    pending = True

    def __init__(self, clock, took):
        self.clock, self.took = clock, took

    def think(self):
        self.clock.now += 0.001
        self.took.append(0.001)


@pytest.mark.parametrize(("silence", "share"), [(0.0, SHARE), (2 * SILENCE, IN_SILENCE)])
def test_to_think_takes_its_share_of_the_time_and_no_more(make, silence, share):
    clock, took = make.clock(0.0), []
    thoughts = Thoughts(Tireless(clock, took), clock)

    def until_tired():
        took.clear()
        while thoughts.due():
            thoughts.think(silence=silence)
        return sum(took)

    mused = MUSED / SHARE * share / (1.0 - share)  # for time goes by meanwhile
    assert until_tired() == pytest.approx(AT_FIRST + mused, abs=0.0021)
    clock.now += 1000.0
    assert until_tired() == pytest.approx(mused, abs=0.0011)  # after any idle time
    lately = 0.0
    for _ in range(20):
        clock.now += 0.3
        lately += until_tired()
    assert lately == pytest.approx(20 * 0.3 * share / (1.0 - share), abs=0.0011)
    assert 0.0 < thoughts.until_due() <= 0.001 / share
    clock.now += thoughts.until_due()
    assert thoughts.until_due() == 0.0 and thoughts.due()


def test_in_a_silence_it_thinks_more_than_while_requests_come(make):
    clock, took = make.clock(0.0), []
    desk = Desk(Tireless(clock, took), execute=None, clock=clock)
    while desk.think():
        pass
    for silence, least, most in ((SILENCE / 2, 0.0, 1.5), (2 * SILENCE, 3.0, 30.0)):
        clock.now += 1.0
        took.clear()
        desk._line._listener.hear(clock.now - silence, None)
        while desk.think():
            pass
        assert least * MUSED < sum(took) < most * MUSED


def test_a_worker_that_has_something_to_think_of_wakes_for_it(make):
    clock = make.clock(0.0)
    tireless = Tireless(clock, [])
    desk = Desk(tireless, execute=None, clock=clock)
    while desk.think():
        pass
    assert desk._patience() == pytest.approx(desk._thoughts.until_due())
    tireless.pending = False
    assert desk._patience() == -1


def test_beside_others_who_wait_it_thinks_no_more_than_usually_from_the_first(make):
    clock, took = make.clock(0.0), []
    thoughts = Thoughts(Tireless(clock, took), clock)
    for _ in range(1000):
        clock.now += 0.001
        thoughts.think(others_wait=True)
    assert sum(took) == pytest.approx(MUSED + clock.now * SHARE, abs=0.0021)
    took.clear()
    for _ in range(1000):
        thoughts.think()
    assert sum(took) >= AT_FIRST


class Lost:
    """Knows what to choose after so many thoughts; puts down after how many it chose."""

    name, left, step = "lost", 10, 6e-5

    def __init__(self, clock):
        self.clock, self.chose, self.thought = clock, [], 0

    @property
    def astray(self):
        return self.left > 0

    pending = astray

    def think(self):
        self.clock.now += self.step
        self.thought += 1
        self.left -= 1

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


@pytest.mark.parametrize("quickest", [1e-4, 0.1])
def test_of_all_time_others_wait_for_thoughts_for_a_small_part(make, quickest):
    """Or for a tenth of each run, if that is more."""
    policy, desk = lost(make, quickest)
    policy.left, begun = 10**9, desk._clock()
    for number in range(3000):
        desk.submit(request(number), deadline=1.0)
        desk._serve()
    passed = desk._clock() - begun
    most = HURRIED + HURRY_SHARE * passed if quickest < HURRY else 3000 * 0.1 * quickest
    assert 0.5 * most < Lost.step * policy.thought < 1.2 * most + HURRY


def test_it_does_not_think_for_who_asks_for_a_point(make):
    policy, desk = lost(make, quickest=0.1)
    desk.submit(request(0), deadline=1.0, point="only")
    desk.serve_one()
    assert (policy.thought, desk.waiting) == (0, 0)


@pytest.mark.parametrize("part", ["pending", "think"])
def test_a_policy_that_fails_to_work_ahead_is_not_asked_again(make, caplog, monkeypatch, part):
    policy, desk = lost(make, quickest=0.1)
    asked = []

    def fail(_):
        asked.append(1)
        raise ValueError("no thoughts")

    monkeypatch.setattr(Lost, part, property(fail) if part == "pending" else fail)
    for number in range(2 * BETWEEN):
        future = desk.submit(request(number), deadline=1.0)
        desk.serve_one()
        assert future.result(0).point == "only"
    assert not desk.think()
    assert len(asked) == len(caplog.records) == 1
    assert "no thoughts" in caplog.text
    # Once for each, and once more for the one before which it failed.
    assert len(policy.chose) <= 2 * BETWEEN + 1


def test_it_looks_about_before_anybody_comes(make):
    clock, looks = make.clock(0.0), []
    desk = Desk(make.dispatcher(clock=clock), make.execute(lambda *_: {}), clock=clock)
    desk._dispatcher._load = lambda: looks.append(len(desk._line)) or 0.0
    for _ in range(3):
        clock.now += 2 * RENEWED
        desk._work_ahead()
        desk.submit(request(0), deadline=1.0)
        assert desk.serve_one()
    assert looks == [0, 0, 0]


def test_in_a_silence_it_plans_for_who_ends_it(make, monkeypatch):
    clock, heard = make.clock(0.0), []
    desk = Desk(make.dispatcher(clock=clock), make.execute(lambda *_: {}), clock=clock)
    hear = Dispatcher._hear
    monkeypatch.setattr(Dispatcher, "_hear", lambda *told: heard.append(clock.now) or hear(*told))
    for _ in range(100):
        clock.now += 0.001
        desk.submit(request(0), deadline=1.0)
        assert desk.serve_one()
    heard.clear()
    desk._dispatcher._renewed = clock.now  # it is not for the device's sake
    clock.now += 0.02
    desk._work_ahead()
    assert len(heard) == 1
    desk.submit(request(0), deadline=1.0)
    assert desk.serve_one() and len(heard) == 1


def test_a_worker_wakes_in_a_silence_while_there_is_news_of_it(make, monkeypatch):
    clock, waits = make.clock(0.0), []
    desk = Desk(make.dispatcher(clock=clock), make.execute(lambda *_: {}), clock=clock)

    def wait(seconds):
        waits.append(seconds)
        clock.now += seconds
        if seconds < 0:
            desk.close()

    for _ in range(2):
        clock.now += 0.01
        desk.submit(request(0), deadline=0.05)
        assert desk.serve_one()
    monkeypatch.setattr(desk._line, "wait", wait)
    assert not desk.serve_one()
    assert waits[-1] == -1 and len(waits) > 3 and 0.12 < sum(waits[:-1]) < 0.25


def test_a_look_that_fails_is_told_to_who_comes_next_and_to_nobody_after(make):
    clock, works = make.clock(0.0), []
    desk = Desk(make.dispatcher(clock=clock), make.execute(lambda *_: {}), clock=clock)
    desk._dispatcher._load = lambda: works[0]
    clock.now += 2 * OVERDUE
    desk._work_ahead()
    unlucky = desk.submit(request(0), deadline=1.0)
    assert desk.serve_one()
    works.append(0.0)
    desk._work_ahead()
    lucky = desk.submit(request(1), deadline=1.0)
    assert desk.serve_one()
    assert isinstance(unlucky.exception(0), IndexError) and lucky.exception(0) is None


def test_who_waits_serves_himself_where_nobody_does(make):
    ran = []

    def answer(point, inputs):
        ran.append((int(inputs["x"][0]), threading.get_ident()))
        return {}

    desk = Desk(make.dispatcher(), make.execute(answer))
    first, second = desk.submit(request(1)), desk.submit(request(2))
    for future in (second, first):  # the one is not first, the other may be late for something
        with pytest.raises(TimeoutError):
            future.result(0)
    assert not desk._serve_now(second) and ran == []
    assert first.exception() is None and second.result().point == "large"
    assert ran == [(1, threading.get_ident()), (2, threading.get_ident())]


def test_who_asks_is_served_in_his_own_thread_where_nobody_serves(make):
    ran = []

    def answer(point, inputs):
        ran.append(threading.get_ident())
        return inputs

    desk = Desk(make.dispatcher(), make.execute(answer))
    answer = desk.ask(request(7), deadline=1.0, point="small")
    assert (answer.point, int(answer.outputs["x"][0])) == ("small", 7)
    assert ran == [threading.get_ident()]
    with pytest.raises(ElastiqError, match="huge"):
        desk.ask(request(7), point="huge")


def test_nobody_serves_himself_while_somebody_serves(make):
    desk = Desk(make.dispatcher(), make.execute(lambda *_: {}))
    inside = []

    def ask_again(_):
        behind = desk.submit(request(2))
        inside.append((behind, desk._serve_now(behind)))

    first = desk.submit(request(1))
    first.add_done_callback(ask_again)
    first.result()
    [(behind, served)] = inside
    assert not served and not behind.done()
    assert behind.result().point == "large"
