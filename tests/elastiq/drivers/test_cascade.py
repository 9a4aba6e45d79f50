"""Cascade: the smallest engine that does what is asked for runs, and budgets hold on average."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compiler import eager, source
from elastiq.drivers import Run, driver
from elastiq.errors import ElastiqError
from tests.conftest import MODELS
from tests.models.buckets import BUCKETS, Buckets, images

CASCADE = driver("cascade", {"buckets": BUCKETS})


def seen(gates, kept, tokens=8):
    """What a policy network says that asks for these gates and so many tokens."""
    keep = np.where(np.arange(tokens) < kept, 1.0, -1.0)[None].astype(np.float32)
    usage = np.where(np.array(gates) > 0, 0.5, -0.5)[None].astype(np.float32)
    return {"keep": keep, "usage": usage}


@pytest.mark.parametrize(
    ("gates", "kept", "stage"),
    [
        ([1, 0, 0], 2, "bucket0"),
        ([0, 0, 0], 0, "bucket0"),
        ([1, 0, 0], 3, "bucket1"),
        ([0, 1, 0], 1, "bucket1"),
        ([0, 0, 1], 1, "bucket2"),
        ([1, 1, 1], 8, "bucket2"),
    ],
)
def test_the_smallest_that_covers_what_is_asked_for_runs(gates, kept, stage):
    assert CASCADE.bucket(seen(gates, kept), budget=1.0).stage == stage


def test_a_budget_caps_it():
    hungry = seen([1, 1, 1], 8)
    assert [CASCADE.bucket(hungry, b).stage for b in (0.01, 0.1, 0.3, 1.0)] == [
        "bucket0", "bucket0", "bucket1", "bucket2",
    ]  # fmt: skip
    modest = seen([1, 0, 0], 1)
    assert CASCADE.bucket(modest, 1.0).stage == "bucket0"


sizes = st.lists(
    st.tuples(st.integers(1, 16), st.integers(1, 8), st.floats(0.01, 1.0)), min_size=1, max_size=6
)


@given(sizes, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_mean_usage_stays_within_the_budget_and_more_allows_no_less(sizes, one, other):
    buckets = [
        {
            "stage": f"bucket{n}",
            "tokens": tokens,
            "gates": [1] * gates + [0] * (16 - gates),
            "share": share,
        }
        for n, (tokens, gates, share) in enumerate(sorted(sizes, key=lambda s: s[0] * s[1]))
    ]
    cascade = driver("cascade", {"buckets": buckets})
    usages = cascade.usages()
    low, high = sorted((one, other))
    assert cascade.largest(low) <= cascade.largest(high)
    most = cascade.largest(low)
    mean = np.average(np.minimum(usages, usages[most]), weights=[b["share"] for b in buckets])
    assert mean <= low + 1e-6 or most == 0
    assert cascade.largest(1.0) == len(buckets) - 1


@pytest.fixture(scope="module")
def model():
    return source.load(f"{MODELS / 'buckets.py'}:Buckets")


def test_it_answers_as_the_chosen_part_of_the_model_does(model):
    """Against torch: the best tokens, gathered in their places' order, through that bucket."""
    ours = Buckets()
    ready = eager.ready(model, model.points[-1])
    used = set()
    for sample in images(5, 40):
        run = Run(ready)
        (answer,) = model.driver.answer(run, [{"image": sample[None]}])
        policy, stage = run.ran
        assert policy == "policy"
        used.add(stage)
        bucket = next(b for b in BUCKETS if b["stage"] == stage)
        with torch.no_grad():
            state = ours.policy(torch.from_numpy(sample[None]))
            best = state["keep"][0].topk(bucket["tokens"]).indices.sort().values
            truth = ours.backbones[BUCKETS.index(bucket)](state["cls"], state["tokens"][:, best])
        np.testing.assert_allclose(answer["logits"], truth["logits"], rtol=1e-4, atol=1e-5)
    assert used == {"bucket0", "bucket1", "bucket2"}


def test_budgets_are_kept_on_real_inputs(model):
    usage = {b["stage"]: u for b, u in zip(BUCKETS, model.driver.usages(), strict=True)}
    means = []
    for point in model.points:
        ready, spent = eager.ready(model, point), []
        for sample in images(6, 60):
            run = Run(ready)
            model.driver.answer(run, [{"image": sample[None]}])
            spent.append(usage[run.ran[1]])
        means.append(np.mean(spent))
    assert means == sorted(means)
    assert means[0] <= 0.1 + 1e-9


def test_calibration_reaches_every_bucket(model):
    run = Run(eager.ready(model, model.points[0]))
    model.driver.rehearse(run, {"image": images(7, 1)})
    assert run.ran == ["policy", *(bucket["stage"] for bucket in BUCKETS)]


def test_one_input_at_a_time(model):
    with pytest.raises(ElastiqError, match="one input at a time"):
        model.driver.answer(Run(eager.ready(model, model.points[0])), [{"image": images(8, 2)}])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "KeyError: 'buckets'"),
        ({"buckets": []}, "at least one bucket"),
        ({"buckets": [{"stage": "b", "tokens": 1, "gates": [1]}]}, "'share' is missing"),
        ({"buckets": [BUCKETS[0], {**BUCKETS[1], "gates": [1]}]}, "the same gates"),
        ({"buckets": [{**BUCKETS[0], "gate": 1}]}, "did you mean|Did you mean"),
    ],
)
def test_settings_that_do_not_fit_are_told(settings, message):
    with pytest.raises(ElastiqError, match=message):
        driver("cascade", settings)
