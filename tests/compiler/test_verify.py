"""Verifying: what is kept of an engine's answers, and how surely its drop is known."""

from __future__ import annotations

import numpy as np
import pytest

from compiler import source
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import load_answers, verify
from compiler.progress import silent
from profiles.paired import margin
from tests.conftest import TINY


def verified(name, store):
    model = source.load(TINY.replace("Tiny", name))
    fp32 = trace(model, model.points, store, silent())
    int8 = quantize(fp32, Feeds(model, model.calibration()), Method(), store, silent())
    compiled = compile(int8, ("onnxruntime",), store, silent())
    return verify(model, compiled.engines, 1, store, silent()).verified


@pytest.mark.parametrize("name", ["Tiny", "Unmeasured"])
def test_the_interval_is_that_of_the_scores_kept(name, store):
    for found in verified(name, store):
        scores, reference = (load_answers(path)[2] for path in (found.answers, found.reference))
        assert found.quality.samples == len(scores) == len(reference)
        assert found.quality.margin == pytest.approx(margin(scores, reference))
        assert found.quality.drop == pytest.approx(100 * (reference - scores).mean())


def test_one_score_for_all_samples_is_not_taken_for_many(store):
    for found in verified("OneScore", store):
        assert found.quality.margin is None
        assert found.quality.samples == 64
        assert np.ptp(load_answers(found.answers)[2]) == 0
