"""Sessions through a worker: a sequence keeps its point, its glimpses and nobody else's."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import elastiq as device_side
from elastiq.dispatcher import Dispatcher
from elastiq.errors import DeadlineMissed, ElastiqError, SessionLost
from elastiq.policies import policy
from elastiq.records import Route
from elastiq.requests import Done
from elastiq.sessions import Sessions
from elastiq.worker import Worker
from tests.models.glimpses import CANDIDATES, GLIMPSES, Glimpses, sequences

PATIENCE = 30.0


class Heard:
    """A memory that is the list of all that was said."""

    def __init__(self):
        self.point, self.latest, self.said = None, None, []

    @property
    def size(self):
        return 8 * len(self.said)

    costliest = "9"

    def kind(self, inputs):
        return str(min(9, len(self.said) + 1))


class Engine:
    """Answers with all that was said in a session; can be held up."""

    def __init__(self):
        self.may_run, self.running = threading.Event(), threading.Event()
        self.may_run.set()
        self.points = []

    def __call__(self, point, requests, memory):
        self.running.set()
        assert self.may_run.wait(PATIENCE)
        self.points.append(point)
        (request,) = requests
        if memory is None:
            return Done([{"said": [request["x"]]}], ["a"])
        memory.said.append(request["x"])
        memory.latest = {"said": list(memory.said)}
        return Done([memory.latest], ["a"])


@pytest.fixture(scope="module")
def build(make):
    """A worker over two points; at one of them, the nth request of a session takes n seconds."""

    def made(engine, **limits):
        counts = range(1, 10)
        points = [
            make.point(name, score, routes={str(n): (Route(1.0, {name: runs(n)}),) for n in counts})
            for name, score, runs in (("late", 0.8, lambda n: 1), ("early", 0.9, lambda n: n))
        ]
        table = make.table({"late": 1.0, "early": 1.0})
        dispatcher = Dispatcher(points, table, policy("deadline"), lambda: 0.0, clock=make.clock())
        return Worker(dispatcher, engine, sessions=Sessions(Heard, **limits))

    return made


@pytest.fixture
def engine():
    return Engine()


def test_a_request_never_reaches_another_session_by_the_same_name(build, engine):
    with build(engine) as worker:
        first = worker.session("a")
        engine.may_run.clear()
        busy = worker.submit(say(0))
        assert engine.running.wait(PATIENCE)
        late = worker.submit(say(1), None, "a")
        first.close()
        second = worker.session("a")
        engine.may_run.set()
        busy.result(PATIENCE)
        with pytest.raises(SessionLost, match="another has begun"):
            late.result(PATIENCE)
        assert second.see(say(2)).outputs["said"] == [2]


def say(number):
    return {"x": number}


def test_a_session_goes_on_where_it_was(build, engine):
    with build(engine) as worker, worker.session() as one, worker.session() as other:
        assert one.see(say(1)).outputs["said"] == [1]
        assert other.see(say(2)).outputs["said"] == [2]
        assert one.see(say(3)).outputs["said"] == [1, 3]
        assert worker.submit(say(4)).result(PATIENCE).outputs["said"] == [4]


def test_a_sequence_stays_at_the_point_that_its_costliest_request_allows(build, engine):
    with build(engine) as worker:
        session = worker.session()
        assert session.see(say(1), deadline=100.0).point == "early"
        assert session.see(say(2), deadline=5.0).point == "early"
    with build(engine) as worker:
        session = worker.session()
        first = session.see(say(1), deadline=5.0)  # the ninth would take 9 s at `early`
        assert first.point == "late"
        later = session.see(say(2))
        assert later.point == "late"
        assert later.choice.decision.why == "where its session began"
        assert later.choice.kind == "2"


def test_with_no_time_for_another_glimpse_the_last_answer_is_given_again(build, engine):
    with build(engine) as worker:
        session = worker.session()
        for number in range(3):
            assert session.see(say(number), deadline=100.0).point == "early"
        again = session.see(say(3), deadline=1.0)  # the fourth takes 4 s, or half of it at best
        assert again.repeated and again.outputs["said"] == [0, 1, 2]
        after = session.see(say(4), deadline=100.0)
        assert not after.repeated and after.outputs["said"] == [0, 1, 2, 4]


def test_with_no_answer_yet_it_is_refused(build, engine):
    with build(engine) as worker:
        worker.submit(say(0)).result(PATIENCE)  # else it would be put to the test
        with pytest.raises(DeadlineMissed):
            worker.session().see(say(1), deadline=0.1)


def test_what_is_over_is_told(build, engine):
    with build(engine, limit=1) as worker:
        first = worker.session("mine")
        assert first.name == "mine"
        worker.session()
        with pytest.raises(SessionLost, match="mine"):
            first.see(say(1))
        with pytest.raises(ElastiqError, match="has begun already"):
            second = worker.session("yours")
            worker.session(second.name)


def test_workers_of_other_models_know_no_sessions(make):
    with Worker(make.dispatcher(), make.execute(lambda point, inputs: {})) as worker:
        with pytest.raises(ElastiqError, match="knows no sessions"):
            worker.session()
        with pytest.raises(ElastiqError, match="knows no sessions"):
            worker.submit({}, None, "mine").result(PATIENCE)


actions = st.lists(
    st.tuples(
        st.sampled_from(["begin", "say", "say", "say", "end", "alone"]), st.sampled_from("abcd")
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(actions)
def test_every_session_hears_its_own_and_all_of_it(build, actions):
    worker = build(Engine(), limit=3)
    said, futures = {}, []
    for number, (action, name) in enumerate(actions):
        if action == "begin":
            try:
                worker.session(name)
            except ElastiqError:
                continue
            said[name] = []
        elif action == "end":
            worker.end(name)
        elif action == "say":
            try:
                future = worker.submit(say(number), None, name)
            except SessionLost:
                continue
            said[name].append(number)
            futures.append((future, list(said[name])))
        else:
            futures.append((worker.submit(say(number)), [number]))
    worker.close()
    for future, expected in futures:
        try:
            assert future.result(0).outputs["said"] == expected
        except SessionLost:
            continue


def test_a_bundle_answers_glimpse_by_glimpse(family_bundle):
    """The engines that ship, against torch with all glimpses at once."""
    sample, model = sequences(11, 1), Glimpses()
    with device_side.open(family_bundle("glimpses")) as bundle, bundle.session() as session:
        for count in range(1, GLIMPSES + 1):
            glimpse = {name: array[:, count - 1] for name, array in sample.items()}
            answer = session.see(glimpse, deadline=PATIENCE)
            split = bundle.point(answer.point).settings["split"]
            so_far = {name: array[:, :count] for name, array in sample.items()}
            truth = model.whole(so_far, split)
            scale = np.abs(truth).max()
            np.testing.assert_allclose(answer.outputs["logits"], truth, atol=0.05 * scale)
            if count < GLIMPSES:
                assert 0 <= session.look() < CANDIDATES
        with pytest.raises(ElastiqError, match="at most 3 glimpses"):
            session.see(glimpse)


def test_it_looks_where_the_model_says(family_bundle):
    """Active exploration: each glimpse is where the model knew least."""
    places = np.arange(2)
    with device_side.open(family_bundle("glimpses")) as bundle, bundle.session() as session:
        looked, candidate = [], 0
        for _ in range(GLIMPSES):
            looked.append(candidate)
            patches = np.random.default_rng(candidate).standard_normal((1, 2, 6))
            session.see(
                {
                    "patches": patches.astype(np.float32),
                    "places": (2 * candidate + places)[None].astype(np.int64),
                }
            )
            if len(looked) < GLIMPSES:
                candidate = session.look(deadline=PATIENCE)
        assert len(set(looked)) == GLIMPSES


def test_a_wrong_glimpse_is_told_and_costs_nothing(family_bundle):
    sample = sequences(12, 1)
    with device_side.open(family_bundle("glimpses")) as bundle, bundle.session() as session:
        with pytest.raises(ElastiqError, match="this model takes"):
            session.see(sample)  # all at once is for a request that stands alone
        glimpse = {name: array[:, 0] for name, array in sample.items()}
        assert session.see(glimpse).choice.kind == "1"
        assert bundle.infer(sample)["logits"].shape == (1, 5)


def test_sessions_do_not_outgrow_their_room(family_bundle):
    with device_side.open(family_bundle("glimpses")) as bundle:
        worker = bundle.serve()
        try:
            sessions = worker._sessions
            sample = sequences(13, 1)
            for _ in range(200):
                session = worker.session()
                session.see({name: array[:, 0] for name, array in sample.items()})
            time.sleep(0.01)
            assert len(sessions) <= 64
            kept = sum(held.memory.size for held in sessions._held.values())
            assert kept == sessions.size <= 2**26
        finally:
            worker.close()
