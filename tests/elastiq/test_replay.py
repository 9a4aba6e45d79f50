"""Replays: real threads, real time, and engines that spin for a known share of it."""

import hashlib
import itertools
import threading
import time

import numpy as np
import pytest

from elastiq import arrivals
from elastiq.dispatcher import Dispatcher
from elastiq.errors import ElastiqError
from elastiq.latency import LatencyTable, Row
from elastiq.load import LoadMonitor
from elastiq.measure import measure
from elastiq.outcomes import IN_TIME, LATE, REFUSED, Outcome, summarize, table
from elastiq.policies import policy
from elastiq.records import PointRecord, StageRecord
from elastiq.replay import replay
from elastiq.samples import Samples
from elastiq.worker import Worker

COUNT = 20
SCORES = {"q=4": 0.70, "q=8": 0.78, "q=16": 0.84, "q=32": 0.88, "q=64": 0.90}


@pytest.fixture(scope="module")
def samples():
    x = np.random.default_rng(0).normal(size=(COUNT, 4)).astype(np.float32)
    return Samples(
        inputs={"x": x},
        scores={name: np.full(COUNT, score) for name, score in SCORES.items()},
        outputs={name: {"y": place * x} for place, name in enumerate(SCORES)},
    )


def answer(name, inputs):
    return {"y": list(SCORES).index(name) * inputs["x"]}


def spin(name):
    """Work that leaves the interpreter to others, as an engine does; it doubles at each point."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1500 * 2 ** list(SCORES).index(name))


@pytest.fixture
def fixed(make):
    """Makes a worker that is always at one point, with an engine of the test's own."""
    workers = []

    def build(execute, name="q=16", limit=64):
        costs = dict.fromkeys(SCORES, 0.001)
        workers.append(
            Worker(make.dispatcher(costs, "fixed", point=name), make.execute(execute), limit)
        )
        return workers[-1]

    yield build
    for worker in workers:
        worker.close(drain=False)


def test_right_answers_in_time_count_in_full(fixed, samples):
    report = replay({"a": fixed(answer)}, np.linspace(0, 0.2, 30), samples, deadline=10.0)["a"]
    assert (report.requests, report.in_time, report.differing) == (30, 30, 0)
    assert report.attainment == 1.0
    assert report.accuracy == pytest.approx(0.84)
    assert report.effective_accuracy == pytest.approx(0.84)
    assert report.points == {"q=16": 1.0}
    assert 0 < report.p50 <= report.p99
    assert 0 <= report.sender_p50 <= report.sender_p99 <= report.sender_worst


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: y + 0.1,
        lambda y: y * np.nan,
        lambda y: y[0],
    ],
)
def test_an_answer_that_verification_did_not_see_is_wrong(fixed, samples, spoil):
    def execute(name, inputs):
        return {"y": spoil(answer(name, inputs)["y"])}

    report = replay({"a": fixed(execute)}, np.linspace(0, 0.1, 10), samples, 10.0)["a"]
    assert report.differing == report.in_time == 10
    assert report.effective_accuracy == report.accuracy == 0.0


def test_an_answer_in_company_counts_for_what_it_comes_to(fixed, samples):
    """Its numbers are others than verification saw; where its largest stands tells what it says."""

    def moved(name, inputs):
        return {"y": 1.5 * answer(name, inputs)["y"]}

    def other(name, inputs):
        return {"y": -answer(name, inputs)["y"]}

    moments = np.linspace(0, 0.1, 10)
    report = replay({"a": fixed(moved)}, moments, samples, 10.0, mixes=True)["a"]
    assert (report.differing, report.in_time) == (0, 10)
    assert report.accuracy == pytest.approx(0.84)
    report = replay({"a": fixed(other)}, moments, samples, 10.0, mixes=True)["a"]
    assert report.differing > 0
    # The others say what q=4 said in verification, and were scored as it was.
    assert report.accuracy == pytest.approx(0.70 * (10 - report.differing) / 10)
    report = replay({"a": fixed(moved)}, moments, samples, 10.0)["a"]
    assert report.differing == 10


def test_an_output_that_is_missing_is_wrong_too(fixed, samples):
    worker = fixed(lambda name, inputs: {})
    assert replay({"a": worker}, np.zeros(3), samples, 10.0)["a"].differing == 3


def test_a_failing_engine_is_counted(fixed, samples):
    def execute(name, inputs):
        raise RuntimeError

    report = replay({"a": fixed(execute)}, np.linspace(0, 0.1, 5), samples, 10.0)["a"]
    assert (report.failed, report.attainment, report.accuracy) == (5, 0.0, None)


def test_requests_go_out_at_their_moments_whatever_became_of_the_first(fixed, samples):
    """Everybody is sent while the first still runs, and pays for it in latency."""
    seen = threading.Event()

    def execute(name, inputs):
        if not seen.is_set():
            seen.set()
            time.sleep(0.3)
        return answer(name, inputs)

    report = replay({"a": fixed(execute)}, np.linspace(0, 0.1, 11), samples, 0.25)["a"]
    assert report.late == 1  # the first
    assert report.refused >= 1  # those whose deadline passed behind it
    assert report.late + report.refused + report.in_time == 11


def test_a_full_queue_counts_as_refused(fixed, samples):
    worker = fixed(lambda name, inputs: time.sleep(0.2) or answer(name, inputs), limit=1)
    report = replay({"a": worker}, np.linspace(0, 0.05, 6), samples, 10.0)["a"]
    assert report.refused >= 3
    assert report.in_time == 6 - report.refused


def test_contenders_take_turns_with_the_same_traffic(fixed, samples):
    turns = []

    def contender(name):
        def execute(point, inputs):
            turns.append((name, inputs["x"].tobytes()))
            return answer(point, inputs)

        return fixed(execute)

    replay({n: contender(n) for n in "ab"}, np.linspace(0, 2.0, 21), samples, 10.0)
    sent = {n: [x for name, x in turns if name == n] for n in "ab"}
    assert sent["a"] == sent["b"] and len(sent["a"]) == 21
    order = [name for name, _ in itertools.groupby(turns, key=lambda turn: turn[0])]
    assert "".join(order) == "ababa"  # who begins alternates: ab ba ab ba


@pytest.mark.parametrize(("moments", "deadline"), [([], 1.0), ([0.0], 0.0), ([0.0], float("nan"))])
def test_nonsense_is_refused(fixed, samples, moments, deadline):
    with pytest.raises(ElastiqError):
        replay({"a": fixed(answer)}, np.array(moments), samples, deadline)


def test_the_figures_are_what_they_say():
    outcomes = [
        Outcome(IN_TIME, 0.0, 0.010, "a", 1.0),
        Outcome(LATE, 0.0, 0.030, "b", 1.0),
        Outcome(IN_TIME, 0.0, 0.020, "b", 0.0, differing=True),
        Outcome(REFUSED, 0.1),
    ]
    report = summarize("x", outcomes)
    assert report.attainment == 0.5
    assert report.accuracy == pytest.approx(2 / 3)
    assert report.effective_accuracy == 0.25
    assert report.p50 == 0.020
    assert report.shifts == 1
    assert report.points == {"a": 1 / 3, "b": 2 / 3}
    assert report.sender_worst == 0.1
    assert "x" in table([report])[1] and "100.00 ms at worst" in table([report])[-1]


def overload(make, samples):
    """Twice what the costliest of five spinning engines can do, for the policy and each point."""
    measured = measure({name: lambda name=name: spin(name) for name in SCORES}, seconds=0.3)
    rows = tuple(Row(name, 0.0, latency) for name, latency in measured.items())
    table = LatencyTable("test", True, {}, rows)
    records = [record(name, score) for name, score in SCORES.items()]
    cost = measured["q=64"].p50

    def execute(name, inputs):
        spin(name)
        return answer(name, inputs)

    with LoadMonitor() as monitor:
        policies = {name: policy("fixed", point=name) for name in SCORES}
        policies["deadline"] = policy("deadline")
        workers = {
            name: Worker(Dispatcher(records, table, chosen, monitor), make.execute(execute))
            for name, chosen in policies.items()
        }
        moments = arrivals.step(1.0 / cost, 1.5, seed=3)  # a burst at twice its capacity
        try:
            return replay(workers, moments, samples, deadline=2.0 * cost)
        finally:
            for worker in workers.values():
                worker.close()


def record(name, score):
    return PointRecord(name, {}, score, {"main": StageRecord((), (), name, "")})


def test_under_overload_the_dispatcher_beats_every_fixed_point(make, samples):
    # Somebody else's work on a shared machine may spoil one replay, but not three in a row.
    for _ in range(3):
        reports = overload(make, samples)
        best = max(reports.values(), key=lambda report: report.effective_accuracy)
        if best.name == "deadline":
            break
    assert best.name == "deadline", "\n".join(table(reports.values()))
    assert reports["deadline"].differing == 0
