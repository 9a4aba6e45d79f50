"""Sequence: what was kept of earlier glimpses answers as if all were seen at once."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import eager, source
from elastiq.drivers import Remembering, Run, driver
from elastiq.errors import ElastiqError
from tests.conftest import MODELS
from tests.models.glimpses import CANDIDATES, GLIMPSES, TOKENS, Glimpses, sequences


@pytest.fixture(scope="module")
def model():
    return source.load(f"{MODELS / 'glimpses.py'}:Glimpses")


@pytest.fixture(scope="module", params=[0, 1], ids=["split", "whole"])
def point(request, model):
    return model.points[request.param]


def glimpse(sample, place):
    return {name: array[:, place] for name, array in sample.items()}


@pytest.mark.parametrize("count", range(1, GLIMPSES + 1))
def test_glimpse_by_glimpse_is_all_at_once(model, point, count):
    sample = sequences(3, 1, count)
    ready, memory = eager.ready(model, point), model.driver.begin()
    for place in range(count):
        answer = model.driver.step(Run(ready), memory, glimpse(sample, place))
    truth = Glimpses().whole(sample, dict(point.settings)["split"])
    np.testing.assert_allclose(answer["logits"], truth, rtol=1e-4, atol=1e-5)
    (whole,) = model.driver.answer(Run(ready), [sample])
    np.testing.assert_allclose(whole["logits"], truth, rtol=1e-4, atol=1e-5)


def test_a_new_glimpse_runs_the_iterator_on_itself_alone(model, point):
    ready, memory = eager.ready(model, point), model.driver.begin()
    sample = sequences(4, 1)
    for place in range(GLIMPSES):
        assert memory.kind(glimpse(sample, place)) == str(place + 1)
        run = Run(ready)
        model.driver.step(run, memory, glimpse(sample, place))
        assert run.ran == ["iterator", f"aggregate{place + 1}"]
    run = Run(ready)
    model.driver.answer(run, [sample])
    assert run.ran == ["iterator"] * GLIMPSES + [f"aggregate{GLIMPSES}"]


def test_the_kinds_of_requests_are_those_that_are_priced(model, point):
    steps = model.driver.steps(model.stages[point])
    assert steps["2"] == {"iterator": 1, "aggregate2": 1}
    assert steps["look1"] == {"look1": 1}
    assert f"look{GLIMPSES}" not in steps
    assert model.driver.begin().costliest in steps


def test_it_says_where_to_look_and_never_where_it_has_looked(model, point):
    for seed in range(10):
        sample = sequences(seed, 1)
        ready, memory = eager.ready(model, point), model.driver.begin()
        for place in range(GLIMPSES - 1):
            model.driver.step(Run(ready), memory, glimpse(sample, place))
            assert memory.kind({}) == f"look{place + 1}"
            answer = model.driver.step(Run(ready), memory, {})
            seen = set((sample["places"][0, : place + 1, 0] // TOKENS).tolist())
            chosen = int(answer["next"].item())
            assert chosen in set(range(CANDIDATES)) - seen
            assert answer["attention"][0].argmax() == chosen
            assert memory.count == place + 1  # looking is not seeing


def test_memory_grows_by_what_is_kept_and_by_no_more(model, point):
    ready, memory = eager.ready(model, point), model.driver.begin()
    sizes = []
    for place in range(GLIMPSES):
        model.driver.step(Run(ready), memory, glimpse(sequences(5, 1), place))
        sizes.append(memory.size)
    assert len(set(np.diff(sizes))) == 1


def test_what_cannot_be_answered_is_said(model, point):
    memory = model.driver.begin()
    with pytest.raises(ElastiqError, match="nothing was seen yet"):
        memory.kind({})
    ready = eager.ready(model, point)
    for place in range(GLIMPSES):
        model.driver.step(Run(ready), memory, glimpse(sequences(6, 1), place))
    with pytest.raises(ElastiqError, match=f"at most {GLIMPSES} glimpses"):
        memory.kind(glimpse(sequences(6, 1), 0))
    with pytest.raises(ElastiqError, match="does not say where to look after 3"):
        model.driver.step(Run(ready), memory, {})


def test_sessions_do_not_see_each_other(model, point):
    ready = eager.ready(model, point)
    samples = [sequences(seed, 1) for seed in (7, 8)]
    memories = [model.driver.begin() for _ in samples]
    for place in range(GLIMPSES):  # in turns
        answers = [
            model.driver.step(Run(ready), memory, glimpse(sample, place))
            for memory, sample in zip(memories, samples, strict=True)
        ]
    for sample, answer in zip(samples, answers, strict=True):
        truth = Glimpses().whole(sample, dict(point.settings)["split"])
        np.testing.assert_allclose(answer["logits"], truth, rtol=1e-4, atol=1e-5)


def test_shorter_sequences_are_requests_too_and_longer_ones_are_not(model, point):
    stages = {name: stage.specs for name, stage in model.stages[point].items()}

    def shapes(request):
        return [spec.shape[1] for spec in model.driver.inputs(stages, request)]

    assert shapes(None) == shapes(sequences(0, 1)) == [GLIMPSES] * 2
    assert shapes(sequences(0, 1, 2)) == [2, 2]
    assert shapes(sequences(0, 1, GLIMPSES + 1)) == [GLIMPSES] * 2  # and so a wrong shape
    assert shapes({"patches": np.zeros((1, 0, 2, 6))}) == [1, 1]


def test_only_drivers_of_sequences_remember():
    assert isinstance(driver("sequence", {"glimpses": 3}), Remembering)
    assert not isinstance(driver("oneshot", {}), Remembering)


def test_settings_that_do_not_fit_are_told():
    with pytest.raises(ElastiqError, match="sequence driver cannot use this driver_settings"):
        driver("sequence", {})
