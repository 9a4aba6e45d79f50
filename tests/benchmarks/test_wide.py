"""The widened Perceiver is the trained one: the same answers, for more work."""

from __future__ import annotations

import pytest
import torch

from benchmarks import wide
from zoo import digits
from zoo.perceiver import SMALL, DigitsPerceiver


@pytest.fixture(scope="module")
def models():
    return DigitsPerceiver().perceiver, wide.model().perceiver


@pytest.mark.parametrize("queries", SMALL.queries)
def test_it_answers_as_the_trained_one(models, queries):
    narrow, broad = models
    images = digits.test_set().image[:8]
    with torch.inference_mode():
        torch.testing.assert_close(
            broad(images, queries), narrow(images, queries), rtol=1e-3, atol=1e-3
        )


def test_it_has_the_weights_of_a_larger_one(models):
    small, large = (sum(p.numel() for p in model.parameters()) for model in models)
    assert large > 0.8 * wide.TIMES**2 * small
