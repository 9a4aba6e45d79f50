"""Smoothing: the function keeps every bit, outliers leave the activations, points share weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.data import CalibrationData
from calibration.recipes import RECIPES
from calibration.smoothing import LARGEST, channels, shifts, smooth

WIDTH = 16
PORTABLE = RECIPES["portable"]


def normed(growth=1.0, residual=False, rows=1):
    """A LayerNorm read by two linear layers, and by a residual sum if asked."""
    generator = np.random.default_rng(0)
    gamma = np.ones(WIDTH, np.float32)
    gamma[5] = growth
    tensors = {"gamma": gamma, "beta": np.zeros(WIDTH, np.float32)}
    for name in ("a", "b"):
        weight = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32)
        weight[5] /= growth
        tensors[name] = weight
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gamma", "beta"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "a"], ["ya"], name="ma"),
        helper.make_node("MatMul", ["n", "b"], ["yb"], name="mb"),
        helper.make_node("Add", ["ya", "yb"], ["sum"], name="add"),
        helper.make_node("Add", ["sum", "n" if residual else "sum"], ["y"], name="residual"),
    ]
    shape = [rows, WIDTH]
    graph = helper.make_graph(
        nodes,
        "normed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def data(rows=1, seed=1):
    generator = np.random.default_rng(seed)
    shape = (rows, WIDTH)
    return CalibrationData(
        tuple({"x": generator.standard_normal(shape).astype(np.float32)} for _ in range(32))
    )


def answers(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.concatenate([session.run(None, feed)[0] for feed in feeds.feeds])


@pytest.mark.parametrize("growth", [1.0, 64.0, 1000.0])
def test_no_bit_of_the_function_changes(growth):
    model = normed(growth)
    smoothed = smooth(model, shifts([channels(model, data())]))
    np.testing.assert_array_equal(answers(smoothed, data()), answers(model, data()))


def test_an_outlier_channel_moves_into_the_weights_and_the_rest_stay():
    model = normed(256.0)
    by = shifts([channels(model, data())])["gamma"]
    assert by[5] >= 6
    assert np.abs(np.delete(by, 5)).max() <= 1


def test_int8_answers_better_for_it():
    model = normed(256.0)
    truth = answers(model, data())
    smoothed = smooth(model, shifts([channels(model, data())]))
    int8 = [PORTABLE.quantize(each, data()) for each in (model, smoothed)]
    plain, better = (np.linalg.norm(answers(each, data()) - truth) for each in int8)
    assert better < plain / 5


def test_a_norm_that_something_else_reads_is_left_alone():
    model = normed(256.0, residual=True)
    assert channels(model, data()) == {}
    assert smooth(model, {}).SerializeToString() == model.SerializeToString()


def test_all_points_get_the_same_weights_though_their_activations_differ():
    small, large = normed(64.0), normed(64.0, rows=4)
    shared = shifts([channels(small, data()), channels(large, data(4, seed=2))])
    tensors = [
        {
            t.name: t.SerializeToString()
            for t in PORTABLE.quantize(smooth(model, shared), feeds).graph.initializer
            if t.data_type == onnx.TensorProto.INT8 and t.dims
        }
        for model, feeds in ((small, data()), (large, data(4)))
    ]
    assert tensors[0] == tensors[1]
    assert len(tensors[0]) >= 2


def test_a_dead_channel_is_shifted_by_a_bounded_power():
    model = normed(0.0 + 1e-30)
    assert np.abs(shifts([channels(model, data())])["gamma"]).max() <= LARGEST


def test_a_graph_that_no_shift_names_stays_as_it_is():
    model = normed(256.0)
    assert smooth(model, {}).SerializeToString() == model.SerializeToString()
