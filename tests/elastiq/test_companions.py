"""Requests that are answered together: how many the queue says, and to each its own answer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.dispatcher import Dispatcher
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull
from elastiq.policies import policy
from elastiq.requests import Done
from elastiq.worker import Worker

PATIENCE = 30.0
# Seconds, in which the table tells of no time that passes here: engines return at once.
COSTS = {"images=4": 1.6, "images=2": 1.2, "images=1": 1.0}


@pytest.fixture(scope="module")
def packing(make):
    """A dispatcher whose points take four, two and one, each less exact than the next."""

    def build(name="utility", **options):
        points = [
            make.point(point, 0.9 + 0.01 * place, takes=int(point[-1]))
            for place, point in enumerate(COSTS)
        ]
        chosen = policy(name, **options)
        return Dispatcher(points, make.table(COSTS), chosen, lambda: 0.0, clock=make.clock())

    return build


class Engine:
    """Returns to each what it sent; -1 is a wrong input, -2 spoils the whole run."""

    def __init__(self):
        self.ran = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Event()

    def __call__(self, point, requests, memory=None):
        self.running.set()
        assert self.may_run.wait(PATIENCE)
        numbers = [int(request["x"][0]) for request in requests]
        assert len(numbers) <= int(point[-1])
        self.ran.append((point, numbers))
        if -2 in numbers:
            raise RuntimeError("the engine failed")
        wrong = ElastiqError("a wrong input")
        return Done([wrong if n == -1 else {"y": n} for n in numbers], ["main"])


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def worker(packing, engine):
    with Worker(packing(), engine, limit=32) as worker:
        yield worker
        engine.may_run.set()


def request(number):
    return {"x": np.full(1, number)}


def while_busy(worker, engine, numbers, deadline=None):
    """Send these while the engine is held up by a first one."""
    engine.may_run.clear()
    engine.running.clear()
    first = worker.submit(request(0))
    assert engine.running.wait(PATIENCE)
    futures = [worker.submit(request(number), deadline) for number in numbers]
    return first, futures


def test_a_lone_request_is_answered_alone_and_at_once(worker, engine):
    for number in range(5):
        answer = worker.submit(request(number), deadline=10.0).result(PATIENCE)
        assert (answer.outputs["y"], answer.point) == (number, "images=1")
    assert [numbers for _, numbers in engine.ran] == [[0], [1], [2], [3], [4]]


def test_those_who_wait_are_packed_in_order(packing, engine):
    with Worker(packing("fixed", point="images=4"), engine) as worker:
        first, futures = while_busy(worker, engine, range(1, 7))
        engine.may_run.set()
        answers = [future.result(PATIENCE) for future in (first, *futures)]
    assert [answer.outputs["y"] for answer in answers] == list(range(7))
    assert [numbers for _, numbers in engine.ran] == [[0], [1, 2, 3, 4], [5, 6]]


def test_under_pressure_more_are_packed(worker, engine):
    """Twelve who have time for about four runs: one after another would be too slow."""
    _, futures = while_busy(worker, engine, range(1, 13), deadline=6.0)
    engine.may_run.set()
    wait(futures, PATIENCE)
    assert max(len(numbers) for _, numbers in engine.ran) == 4


def test_a_wrong_input_spoils_nobody_elses_answer(packing, engine):
    with Worker(packing("fixed", point="images=4"), engine) as worker:
        _, futures = while_busy(worker, engine, [1, -1, 2])
        engine.may_run.set()
        assert [futures[place].result(PATIENCE).outputs["y"] for place in (0, 2)] == [1, 2]
        with pytest.raises(ElastiqError, match="a wrong input"):
            futures[1].result(PATIENCE)


def test_a_failing_run_fails_all_who_were_in_it_and_nobody_else(packing, engine):
    with Worker(packing("fixed", point="images=2"), engine) as worker:
        _, futures = while_busy(worker, engine, [1, -2, 2])
        engine.may_run.set()
        for future in futures[:2]:
            with pytest.raises(RuntimeError, match="the engine failed"):
                future.result(PATIENCE)
        assert futures[2].result(PATIENCE).outputs["y"] == 2


def test_an_answer_too_few_is_an_error_for_all_and_the_worker_goes_on(packing, engine):
    def forgetful(point, requests, memory=None):
        done = engine(point, requests)
        return done._replace(answers=done.answers[:1])

    with Worker(packing("fixed", point="images=2"), forgetful) as worker:
        first, futures = while_busy(worker, engine, [1, 2, 3])
        engine.may_run.set()
        assert first.result(PATIENCE).outputs["y"] == 0
        for future in futures[:2]:
            with pytest.raises(ValueError, match="zip"):
                future.result(PATIENCE)
        assert futures[2].result(PATIENCE).outputs["y"] == 3


actions = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.none() | st.sampled_from([-1.0, 0.0005, 1.1, 3.0, 10.0])),
        st.tuples(st.just("cancel"), st.integers(0, 100)),
        st.tuples(st.just("pause"), st.floats(0.0, 0.002)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(actions, st.sampled_from(["utility", "deadline"]), st.booleans())
def test_no_request_is_lost_doubled_or_given_anothers_answer(packing, actions, name, drain):
    engine = Engine()
    worker = Worker(packing(name), engine, limit=16)
    futures = {}
    for number, (kind, detail) in enumerate(actions):
        if kind == "submit":
            try:
                futures[number] = worker.submit(request(number), detail)
            except QueueFull:
                assert worker.waiting <= 16
        elif kind == "cancel" and futures:
            list(futures.values())[detail % len(futures)].cancel()
        elif kind == "pause":
            time.sleep(detail)
    worker.close(drain)
    assert wait(futures.values(), 0).not_done == set()
    ran = [number for _, numbers in engine.ran for number in numbers]
    for number, future in futures.items():
        try:
            assert future.result(0).outputs["y"] == number
        except (CancelledError, DeadlineMissed):
            assert number not in ran
        else:
            assert ran.count(number) == 1
    assert set(ran) <= set(futures)
