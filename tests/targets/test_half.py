"""Half precision: the same answers to its precision, the same ends, the same bytes of weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from elastiq.errors import ElastiqError
from targets import half


def model(weight, nodes=None, **constants):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 40]) for name in "xy"]
    nodes = nodes or [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    tensors = {"w": weight, **constants}
    body = helper.make_graph(
        nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(v, n) for n, v in tensors.items()]
    )
    made = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 10
    return made


@pytest.fixture
def weight():
    return np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)


def run(made, x):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]


def test_it_answers_the_same_and_keeps_its_ends_and_weights(weight):
    original = model(weight)
    made = half.lower(original)
    onnx.checker.check_model(made, full_check=True)
    x = np.random.default_rng(1).standard_normal((2, 40)).astype(np.float32)
    answer, truth = run(made, x), run(original, x)
    assert answer.dtype == np.float32
    assert 0 < np.abs(answer - truth).max() < 1e-2 * np.abs(truth).max()
    assert numpy_helper.to_array(made.graph.initializer[0]).tobytes() == weight.tobytes()
    assert original == model(weight)


def test_a_cast_to_what_was_full_precision_is_one_to_half(weight):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    onnx.checker.check_model(half.lower(model(weight, nodes)), full_check=True)


def test_what_half_precision_cannot_hold_is_refused_by_name(weight):
    nodes = [
        helper.make_node("Mul", ["x", "c"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    with pytest.raises(ElastiqError, match="'c' is too large"):
        half.lower(model(weight, nodes, c=np.float32([1e6])))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    with pytest.raises(ElastiqError, match="scale 's' is too small"):
        half.lower(model(weight, nodes, s=np.float32(4e-8), z=np.int8(0)))
