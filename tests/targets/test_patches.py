"""Cutting into patches as a product: the same answers, and only where windows do not overlap."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from targets import patches


def convolution(stride, bias=True, size=16, **attributes):
    generator = np.random.default_rng(0)
    weights = {"w": generator.standard_normal((6, 3, 4, 4)).astype(np.float32)}
    if bias:
        weights["b"] = generator.standard_normal(6).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", *weights], ["y"], "cut", strides=[stride] * 2, **attributes
    )
    body = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3, size, size])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def run(model):
    x = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("bias", [True, False])
def test_patches_are_a_product_that_answers_the_same(bias):
    model = convolution(stride=4, bias=bias)
    made = patches.as_products(model)
    assert "Conv" not in {node.op_type for node in made.graph.node}
    np.testing.assert_allclose(run(made), run(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("stride", "attributes"),
    [(2, {}), (4, {"pads": [0, 0, 4, 4]}), (4, {"dilations": [2, 2]}), (4, {"size": 18})],
)
def test_other_convolutions_stay(stride, attributes):
    model = convolution(stride, **attributes)
    assert patches.as_products(model) == model
