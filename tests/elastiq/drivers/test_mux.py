"""Mux: every image's row goes to whoever sent it, whatever it was packed with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compiler import eager, source
from elastiq.drivers import Ready, Run, driver
from elastiq.records import Point, TensorSpec
from tests.conftest import MODELS
from tests.models.packed import AtPoint, images


class Doubles:
    """An engine of so many rows, which twice each of them."""

    def __init__(self):
        self.fed = []

    def __call__(self, inputs):
        self.fed.append(inputs["x"].copy())
        return {"y": 2 * inputs["x"]}


def test_where_a_run_takes_one_a_batch_is_answered_whole():
    """As verification asks torch: sample by sample, that takes many times as long."""
    run = Run(Ready({"main": Doubles()}, {}, 1))
    (answer,) = driver("batched", {}).answer(run, [{"x": np.arange(6.0).reshape(3, 2)}])
    assert answer["y"].tolist() == [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]]


@given(st.integers(1, 8), st.data())
def test_everybody_gets_their_own_row(takes, data):
    count = data.draw(st.integers(1, takes))
    engine = Doubles()
    run = Run(Ready({"main": engine}, {}, takes))
    requests = [{"x": np.full((1, 2), number, np.float32)} for number in range(count)]
    answers = driver("mux", {}).answer(run, requests)
    assert [answer["y"].tolist() for answer in answers] == [[[2.0 * n] * 2] for n in range(count)]
    (fed,) = engine.fed
    assert fed.shape == (takes, 2)
    assert fed[:count, 0].tolist() == list(range(count))
    assert set(fed[:, 0]) == set(range(count))  # nothing but what was sent
    assert run.ran == ["main"]


def test_a_request_is_one_row_of_what_the_engine_takes():
    stages = {"main": (TensorSpec("image", "float32", (4, 1, 6, 8)),)}
    mux = driver("mux", {})
    assert mux.inputs(stages) == (TensorSpec("image", "float32", (1, 1, 6, 8)),)
    assert mux.takes(stages) == 4


@pytest.fixture(scope="module")
def model():
    return source.load(f"{MODELS / 'packed.py'}:Packed")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_it_answers_as_the_model_does(model, count):
    ready = eager.ready(model, Point.of({"images": count}))
    samples = images(3, count)
    answers = model.driver.answer(Run(ready), [{"image": one[None]} for one in samples])
    with torch.no_grad():
        truth = model.stages[Point.of({"images": count})]["main"].module(torch.from_numpy(samples))
    found = np.concatenate([answer["logits"] for answer in answers])
    np.testing.assert_allclose(found, truth["logits"].numpy(), rtol=1e-5, atol=1e-6)


def test_room_that_nobody_needs_is_filled_with_repeats(model):
    point = Point.of({"images": 4})
    samples = images(4, 3)
    requests = [{"image": one[None]} for one in samples]
    answers = model.driver.answer(Run(eager.ready(model, point)), requests)
    padded = torch.from_numpy(samples[[0, 1, 2, 0]])
    with torch.no_grad():
        truth = model.stages[point]["main"].module(padded)["logits"].numpy()
    assert isinstance(model.stages[point]["main"].module, torch.nn.Module)
    assert AtPoint.__name__ == type(model.stages[point]["main"].module).__name__
    found = np.concatenate([answer["logits"] for answer in answers])
    np.testing.assert_allclose(found, truth[:3], rtol=1e-5, atol=1e-6)
