"""The worker: every request gets its own answer, once, whatever happens around it."""

import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.dispatcher import Dispatcher
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull
from elastiq.requests import PRIORITIES, Done
from elastiq.worker import Worker

PATIENCE = 30.0  # seconds until a test that hangs is given up


def request(number):
    return {"x": np.full(3, number)}


class Engine:
    """Returns what it is given, and can be held up and made to fail."""

    def __init__(self, fail_on=()):
        self.ran = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Event()
        self._fail_on = set(fail_on)

    def __call__(self, point, requests, memory=None):
        self.running.set()
        assert self.may_run.wait(PATIENCE)
        return Done([self.answer(request) for request in requests], ["main"])

    def answer(self, inputs):
        number = int(inputs["x"][0])
        self.ran.append(number)
        if number in self._fail_on:
            raise RuntimeError(f"engine failed on {number}")
        return {"y": inputs["x"]}

    def hold(self):
        self.may_run.clear()
        self.running.clear()


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def worker(make, engine):
    with Worker(make.dispatcher(), engine, limit=4) as worker:
        yield worker
        engine.may_run.set()


def occupy(worker, engine):
    """A request that the engine is busy with until it may run."""
    engine.hold()
    future = worker.submit(request(0))
    assert engine.running.wait(PATIENCE)
    return future


def test_an_answer_says_what_how_and_how_long(worker):
    answer = worker.submit(request(7), deadline=PATIENCE).result(PATIENCE)
    assert answer.outputs["y"].tolist() == [7, 7, 7]
    assert answer.point == answer.choice.point == "large"
    assert answer.waited >= 0 and answer.took > 0


def test_first_come_first_served(worker, engine):
    first = occupy(worker, engine)
    futures = [first, *(worker.submit(request(number)) for number in (1, 2, 3))]
    engine.may_run.set()
    wait(futures, PATIENCE)
    assert engine.ran == [0, 1, 2, 3]


def test_a_full_queue_refuses_at_the_door(worker, engine):
    occupy(worker, engine)
    futures = [worker.submit(request(number)) for number in range(1, 5)]
    with pytest.raises(QueueFull, match="4 requests"):
        worker.submit(request(5))
    assert worker.waiting == 4
    engine.may_run.set()
    assert [int(f.result(PATIENCE).outputs["y"][0]) for f in futures] == [1, 2, 3, 4]


def test_the_urgent_are_served_first(worker, engine):
    first = occupy(worker, engine)
    order = [(1, 3), (2, 2), (3, 1), (4, 2)]
    futures = [worker.submit(request(number), priority=priority) for number, priority in order]
    engine.may_run.set()
    wait([first, *futures], PATIENCE)
    assert engine.ran == [0, 3, 2, 4, 1]


def test_where_all_places_are_taken_the_urgent_displaces_the_last_of_the_least(worker, engine):
    occupy(worker, engine)
    kept = [worker.submit(request(1), priority=3), worker.submit(request(2))]
    last = worker.submit(request(3), priority=3)
    kept += [worker.submit(request(number), priority=1) for number in (4, 5)]
    with pytest.raises(QueueFull, match="higher priority"):
        last.result(PATIENCE)
    with pytest.raises(QueueFull, match="4 requests"):
        worker.submit(request(6), priority=3)
    engine.may_run.set()
    wait(kept, PATIENCE)
    assert engine.ran == [0, 4, 5, 2, 1]


@pytest.mark.parametrize("priority", [0, 4, -1])
def test_a_priority_that_is_not_there_is_refused(worker, priority):
    with pytest.raises(ElastiqError, match="priority"):
        worker.submit(request(1), priority=priority)


def test_those_who_gave_up_make_room_at_the_door(worker, engine):
    occupy(worker, engine)
    cancelled = worker.submit(request(1))
    expired = worker.submit(request(2), deadline=0.001)
    kept = [worker.submit(request(number)) for number in (3, 4)]
    assert cancelled.cancel()
    time.sleep(0.01)
    late = worker.submit(request(5))
    assert worker.waiting == 3
    with pytest.raises(DeadlineMissed):
        expired.result(PATIENCE)
    engine.may_run.set()
    wait([*kept, late], PATIENCE)
    assert engine.ran == [0, 3, 4, 5]


def test_an_expired_request_never_touches_an_engine(worker, engine):
    occupy(worker, engine)
    futures = [worker.submit(request(1), deadline=0.001), worker.submit(request(2), deadline=-1)]
    time.sleep(0.01)
    engine.may_run.set()
    for future in futures:
        with pytest.raises(DeadlineMissed, match="in the queue"):
            future.result(PATIENCE)
    assert engine.ran == [0]


def test_a_deadline_that_is_no_number_is_refused(worker):
    with pytest.raises(ElastiqError, match="not a number"):
        worker.submit(request(1), deadline=float("nan"))


def test_a_failing_engine_fails_its_own_request_only(make):
    with Worker(make.dispatcher(), Engine(fail_on={1})) as worker:
        futures = [worker.submit(request(number)) for number in range(3)]
        with pytest.raises(RuntimeError, match="failed on 1"):
            futures[1].result(PATIENCE)
        assert [int(futures[n].result(PATIENCE).outputs["y"][0]) for n in (0, 2)] == [0, 2]


def test_even_an_engine_that_wants_to_exit_does_not_end_the_worker(make):
    def exits(point, requests, memory):
        raise SystemExit(1)

    with Worker(make.dispatcher(), exits) as worker:
        for _ in range(2):
            with pytest.raises(SystemExit):
                worker.submit(request(1)).result(PATIENCE)


def test_a_cancelled_request_is_not_run(worker, engine):
    occupy(worker, engine)
    future = worker.submit(request(1))
    assert future.cancel()
    engine.may_run.set()
    worker.submit(request(2)).result(PATIENCE)
    assert engine.ran == [0, 2]


def test_a_running_request_cannot_be_cancelled(worker, engine):
    future = occupy(worker, engine)
    assert not future.cancel()
    engine.may_run.set()
    assert future.result(PATIENCE).outputs["y"][0] == 0


def test_a_request_answered_by_somebody_else_does_not_end_the_worker(worker, engine):
    first = occupy(worker, engine)
    first.set_result(None)
    second = worker.submit(request(1))
    second.set_result(None)
    engine.may_run.set()
    assert worker.submit(request(2)).result(PATIENCE).outputs["y"][0] == 2


def test_the_dispatcher_is_told_of_those_who_wait(worker, engine):
    occupy(worker, engine)
    worker.submit(request(1), deadline=PATIENCE).add_done_callback(lambda f: None)
    first = worker.submit(request(2))
    worker.submit(request(3), deadline=PATIENCE).cancel()
    last = worker.submit(request(4), deadline=PATIENCE)
    engine.may_run.set()
    head, behind = first.result(PATIENCE).choice.situation.slacks
    assert head is None and 0 < behind < PATIENCE
    assert last.result(PATIENCE).choice.situation.pace > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_worker_that_is_gone(make, engine):
    class Failing(Worker):
        def serve_one(self):
            if engine.running.is_set():
                raise MemoryError
            return super().serve_one()

    worker = Failing(make.dispatcher(), engine)
    first, behind = occupy(worker, engine), worker.submit(request(1))
    engine.may_run.set()
    assert first.result(PATIENCE)
    with pytest.raises(CancelledError):
        behind.result(PATIENCE)
    with pytest.raises(ElastiqError, match="closed"):
        worker.submit(request(2))
    worker.close()


def test_closing_answers_everybody_first(make, engine):
    worker = Worker(make.dispatcher(), engine)
    occupy(worker, engine)
    futures = [worker.submit(request(number)) for number in (1, 2)]
    closer = threading.Thread(target=worker.close)
    closer.start()
    engine.may_run.set()
    closer.join(PATIENCE)
    assert not closer.is_alive()
    assert [int(f.result(0).outputs["y"][0]) for f in futures] == [1, 2]
    with pytest.raises(ElastiqError, match="closed"):
        worker.submit(request(3))


def test_closing_at_once_cancels_everybody_but_the_one_that_runs(make, engine):
    closed = []
    worker = Worker(make.dispatcher(), engine, on_close=lambda: closed.append(True))
    running = occupy(worker, engine)
    futures = [worker.submit(request(number)) for number in (1, 2)]
    threading.Timer(0.05, engine.may_run.set).start()
    worker.close(drain=False)
    worker.close()
    assert running.result(0).outputs["y"][0] == 0
    assert all(future.cancelled() for future in futures)
    assert wait(futures, 0).not_done == set()
    assert closed == [True]


def test_an_error_in_the_block_does_not_wait_for_the_queue(make, engine):
    engine.may_run.set()
    with pytest.raises(KeyError), Worker(make.dispatcher(), engine):
        raise KeyError
    assert threading.active_count() < 10


def test_a_callback_may_use_the_worker_and_even_close_it(make, engine):
    worker = Worker(make.dispatcher(), engine)
    again = []
    first = worker.submit(request(1))
    first.add_done_callback(lambda f: again.append(worker.submit(request(2))))
    wait([first], PATIENCE)
    second = worker.submit(request(3))
    second.add_done_callback(lambda f: worker.close())
    second.result(PATIENCE)
    worker._thread.join(PATIENCE)
    assert again[0].result(PATIENCE).outputs["y"][0] == 2


def test_who_asks_while_others_are_served_waits_for_his_turn(worker, engine):
    first = occupy(worker, engine)
    behind = worker.submit(request(1))
    answers = []
    asking = threading.Thread(target=lambda: answers.append(worker.ask(request(2))))
    asking.start()
    while worker.waiting < 2:
        time.sleep(0.001)
    engine.may_run.set()
    asking.join(PATIENCE)
    assert first.done() and behind.done()
    assert engine.ran == [0, 1, 2] and answers[0].outputs["y"][0] == 2


def test_the_policy_works_ahead_for_those_who_only_ever_ask(make, engine, monkeypatch):
    puzzled, thought = threading.Event(), threading.Event()
    pending = property(lambda _: puzzled.is_set() and not thought.is_set())
    monkeypatch.setattr(Dispatcher, "pending", pending)
    monkeypatch.setattr(Dispatcher, "think", lambda _: thought.set())
    with Worker(make.dispatcher(), engine) as worker:
        worker.submit(request(1)).result(PATIENCE)
        time.sleep(0.05)  # until the worker waits
        puzzled.set()
        worker.ask(request(2))
        assert thought.wait(PATIENCE)


class Slow(Worker):
    """Comes to the desk when it is told to."""

    def __init__(self, *how, **more):
        self.may_come = threading.Event()
        super().__init__(*how, **more)

    def serve_one(self):
        assert self.may_come.wait(PATIENCE)
        return super().serve_one()


def test_closing_waits_for_who_serves_himself(make, engine):
    closed = []
    worker = Slow(make.dispatcher(), engine, on_close=lambda: closed.append(True))
    engine.hold()
    future = worker.submit(request(1))
    waiting = threading.Thread(target=future.result)
    waiting.start()
    assert engine.running.wait(PATIENCE)
    closer = threading.Thread(target=worker.close)
    closer.start()
    worker.may_come.set()
    closer.join(0.1)
    assert closer.is_alive() and not closed
    engine.may_run.set()
    for thread in (closer, waiting):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert closed == [True] and future.result(0).outputs["y"][0] == 1


def test_who_serves_himself_may_close_the_worker(make, engine):
    worker = Slow(make.dispatcher(), engine)
    future = worker.submit(request(1))
    future.add_done_callback(lambda _: worker.close())
    assert future.result().outputs["y"][0] == 1
    with pytest.raises(ElastiqError, match="closed"):
        worker.submit(request(2))
    worker.may_come.set()
    worker.close()


def test_what_interrupts_who_serves_himself_ends_nobody_else(make, engine):
    def interrupted(point, requests, memory=None):
        if int(requests[0]["x"][0]) == 1:
            raise KeyboardInterrupt
        return engine(point, requests)

    worker = Slow(make.dispatcher(), interrupted)
    future, behind = worker.submit(request(1)), worker.submit(request(2))
    with pytest.raises(KeyboardInterrupt):
        future.result()
    worker.may_come.set()
    assert behind.result(PATIENCE).outputs["y"][0] == 2
    worker.close()


@pytest.mark.parametrize("patience", [PATIENCE, None])
def test_an_idle_worker_holds_on_to_nothing(worker, patience):
    inputs = request(1)
    kept = weakref.ref(inputs["x"])
    gc.disable()  # nor may it take the collector to let go
    try:
        worker.submit(inputs).result(patience)
        del inputs
        worker.submit(request(2)).result(patience)
        assert kept() is None
    finally:
        gc.enable()


actions = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.none() | st.sampled_from([-1.0, 0.0, 0.0005, 10.0])),
        st.tuples(st.just("hurry"), st.sampled_from(PRIORITIES)),
        st.tuples(st.just("fail"), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 100)),
        st.tuples(st.just("pause"), st.floats(0.0, 0.002)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(actions, st.integers(1, 8), st.booleans())
def test_nothing_is_lost_doubled_or_misdelivered(make, actions, limit, drain):
    failing = {number for number, (kind, _) in enumerate(actions) if kind == "fail"}
    engine = Engine(fail_on=failing)
    worker = Worker(make.dispatcher(), engine, limit=limit)
    futures, refused = {}, set()
    for number, (kind, detail) in enumerate(actions):
        if kind in ("submit", "fail", "hurry"):
            wish = {"priority" if kind == "hurry" else "deadline": detail}
            try:
                futures[number] = worker.submit(request(number), **wish)
            except QueueFull:
                refused.add(number)
        elif kind == "cancel" and futures:
            list(futures.values())[detail % len(futures)].cancel()
        elif kind == "pause":
            time.sleep(detail)
        assert worker.waiting <= limit
    worker.close(drain)
    assert wait(futures.values(), 0).not_done == set()
    for number, future in futures.items():
        _check(number, future, engine.ran.count(number), number in failing)
    assert not refused & set(engine.ran)


def _check(number, future, runs, fails):
    try:
        answer = future.result(0)
    except (CancelledError, DeadlineMissed, QueueFull):
        assert runs == 0
    except RuntimeError as e:
        assert fails and runs == 1 and str(e).endswith(f" {number}")
    else:
        assert not fails and runs == 1 and set(answer.outputs["y"].tolist()) == {number}


@pytest.mark.parametrize("patience", [PATIENCE, None])
def test_many_threads_at_once_get_each_its_own(make, patience):
    with Worker(make.dispatcher(), Engine(), limit=1000) as worker:
        wrong = []

        def client(base):
            for number in range(base, base + 100):
                answer = worker.submit(request(number)).result(patience)
                if int(answer.outputs["y"][0]) != number:
                    wrong.append(number)

        clients = [threading.Thread(target=client, args=(1000 * n,)) for n in range(6)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in clients)
        assert wrong == []
