"""A bundle that serves: the worker, its dispatcher and the load monitor, over real engines."""

import threading
import time

import numpy as np
import pytest

import elastiq as device_side
from elastiq.errors import ElastiqError
from elastiq.load import LoadMonitor

PATIENCE = 30.0


@pytest.fixture
def bundle(tiny_bundle):
    with device_side.open(tiny_bundle) as bundle:
        yield bundle


@pytest.mark.parametrize("of", ["tiny_bundle", "motley_bundle"])
def test_answers_are_those_that_were_verified(of, request):
    with device_side.open(request.getfixturevalue(of)) as bundle, bundle.serve() as worker:
        samples = bundle.samples()
        for number in range(len(samples)):
            answer = worker.submit(samples.input(number), PATIENCE).result(PATIENCE)
            for name, golden in samples.outputs[answer.point].items():
                found = answer.outputs[name]
                np.testing.assert_allclose(found, golden[number : number + 1], atol=1e-4)


def test_only_points_of_the_scores_asked_for_are_chosen_from(bundle):
    points, sample = bundle.manifest.points, bundle.samples().input(0)
    best = max(point.score for point in points)
    with bundle.serve(least_score=best, wait=False) as worker:
        answer = worker.submit(sample).result(PATIENCE)
        assert answer.choice.option.score == best
    lesser = {point.name for point in points if point.score < best}
    if lesser:
        with bundle.serve(most_score=best - 1e-9) as worker:
            assert worker.submit(sample).result(PATIENCE).point in lesser
    with pytest.raises(ElastiqError, match="no point has a score from 2 to inf"):
        bundle.serve(least_score=2.0)


def test_infer_answers_at_the_best_point_when_there_is_time(bundle):
    samples = bundle.samples()
    answer = bundle.infer(samples.input(0))
    best = max(bundle.manifest.points, key=lambda point: point.score).name
    for name, golden in samples.outputs[best].items():
        np.testing.assert_allclose(answer[name], golden[:1], atol=1e-4)


def test_a_wrong_input_is_its_requesters_fault_only(bundle):
    right = bundle.samples().input(0)
    with bundle.serve() as worker:
        wrong = worker.submit({"image": np.zeros(3)})
        with pytest.raises(ElastiqError, match="this model takes"):
            wrong.result(PATIENCE)
        assert worker.submit(right).result(PATIENCE).outputs


def test_closing_a_worker_stops_its_monitor(bundle):
    bundle.serve().close()
    left = {thread.name for thread in threading.enumerate()}
    assert not left & {"elastiq-worker", "elastiq-load"}


def test_workers_that_share_a_monitor_leave_it_running(bundle):
    with LoadMonitor() as load, bundle.serve(load=load) as one:
        bundle.serve(load=load).close()
        assert [thread.name for thread in threading.enumerate()].count("elastiq-load") == 1
        answer = one.submit(bundle.samples().input(0), PATIENCE).result(PATIENCE)
        assert answer.choice.load.age < PATIENCE


def test_a_bundle_can_be_closed_while_it_answers(bundle):
    """Closing waits for a request that may itself need the bundle to load an engine."""
    inputs, execute = bundle.samples().input(0), bundle._run
    running = threading.Event()

    def slowly(*request):
        running.set()
        time.sleep(0.2)  # until close() has begun, whatever it holds by then
        return execute(*request)

    bundle.infer(inputs)
    bundle._worker._service._execute = slowly
    future = bundle._worker.submit(inputs)
    assert running.wait(PATIENCE)
    closer = threading.Thread(target=bundle.close, daemon=True)
    closer.start()
    closer.join(PATIENCE)
    assert not closer.is_alive()
    assert future.result(0).outputs
