"""The graphs of all points as one: the same answers at each size, or a refusal that says why."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.unify import unify
from compiler.progress import silent
from targets import graphs, half, ranges


@pytest.fixture(scope="module")
def traced(tiny, store):
    return trace(tiny, tiny.points, store, silent())


@pytest.fixture(scope="module")
def int8(tiny, traced, store):
    made = quantize(traced, Feeds(tiny, tiny.calibration()), Method(), store, silent())
    return unify(made, store, silent())


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # As the graph says: fused integer kernels round otherwise, and saturate on some CPUs.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_one_graph_answers_as_each_points_own(traced, int8, precision):
    models = [graphs.load(graph) for graph in (int8 if precision == "int8" else traced)]
    joined = ranges.merged(models)
    made, lower = joined.model, half.lower if precision == "fp16" else lambda model: model
    image = np.random.default_rng(0).standard_normal((1, 1, 16, 16)).astype(np.float32)
    for model, value in zip(models, joined.values, strict=True):
        answer = run(lower(made), {"image": image, joined.knob: value})
        np.testing.assert_allclose(answer, run(lower(model), {"image": image}), atol=1e-3)


def test_the_largest_points_tensors_stand_in_it_once(traced):
    models = [graphs.load(graph) for graph in traced]
    joined = ranges.merged(models)
    sizes = [sum(len(t.raw_data) for t in m.graph.initializer) for m in (joined.model, models[-1])]
    assert sizes[0] <= sizes[1] + 200  # the numbers that cut them


def test_graphs_that_differ_otherwise_are_not_joined(traced):
    models = [graphs.load(graph) for graph in traced]
    with pytest.raises(ranges.NotAlike, match="one point"):
        ranges.merged(models[:1])
    weight = next(t for t in models[0].graph.initializer if len(t.dims) == 2)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 1, weight.name))
    with pytest.raises(ranges.NotAlike, match="differs in more"):
        ranges.merged(models)
    models = [graphs.load(graph) for graph in traced]
    models[0].graph.node[3].op_type = "Tanh"
    with pytest.raises(ranges.NotAlike, match="differs"):
        ranges.merged(models)


def test_unified_scales_are_the_largest_of_all_points(int8):
    found = []
    for graph in int8:
        model = graphs.load(graph)
        names = [n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear"]
        constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        found.append([float(constants[name]) for name in names])
    assert found[0] == found[1]
    assert found[0]
