"""Every backend and precision, on stages of several inputs and outputs: what drivers hand over."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest

from compiler import source
from compiler.eager import TorchEngine
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.progress import silent
from tests.conformance.test_backends import BACKENDS, installed, load
from tests.conftest import FAMILIES, MODELS

SAMPLES = 8
TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.2}  # of the largest output


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return source.load(f"{MODELS / request.param}.py:{request.param.capitalize()}")


@pytest.fixture(scope="module")
def family(model, store):
    """The stages of the model's first point, at every precision, and what each is fed."""
    point = model.points[:1]
    fp32 = trace(model, point, store, silent())
    feeds = Feeds(model, model.calibration())
    int8 = quantize(fp32, feeds, Method(), store, silent())
    made = {graph.stage: {"fp32": graph, "fp16": graph} for graph in fp32}
    for graph in int8:
        made[graph.stage]["int8"] = graph
    return made, {graph.stage: feeds.of(graph, SAMPLES).feeds for graph in fp32}


@pytest.mark.parametrize(("name", "precision"), BACKENDS, ids=map("-".join, BACKENDS))
def test_stages_answer_as_torch_does(model, family, name, precision, tmp_path):
    chosen, (made, feeds) = installed(name), family
    for stage, graphs in made.items():
        graph = graphs[precision]
        folder = tmp_path / stage
        folder.mkdir()
        chosen.build(graph, folder, chosen.Settings())
        engine = load(chosen, graph, folder)
        truth = TorchEngine(model.stages[graph.point][stage])
        for feed in feeds[stage]:
            answer, expected = engine(feed), truth(feed)
            assert set(expected) <= set(answer)
            for output, value in expected.items():
                limit = TOLERANCE[precision] * max(np.abs(value).max(), 1e-3)
                assert answer[output].shape == value.shape
                assert np.abs(answer[output] - value).max() <= limit, (stage, output)
        engine.close()
    assert len(list(chain(*feeds.values()))) >= len(made)
