"""The integer form: the same numbers as the portable graph, on CPUs with and without VNNI."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from calibration.data import CalibrationData
from calibration.recipes import Recipe
from compiler.passes import quantize, trace
from compiler.passes.feed import Feeds
from compiler.progress import silent
from elastiq.protocols import RunnerOptions
from elastiq.runners import onnxruntime as runner
from targets import graphs, vnni
from tests.calibration.test_recipes import product


@pytest.fixture(scope="module")
def graph(tiny, store):
    fp32 = trace.trace(tiny, tiny.points[1:], store, silent())
    feeds = Feeds(tiny, tiny.calibration())
    return quantize.quantize(fp32, feeds, quantize.Method(), store, silent())[0]


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(3)
    return [
        {"image": generator.standard_normal((1, 1, 16, 16)).astype(np.float32)} for _ in range(8)
    ]


def unfused(model):
    """A session that computes the graph as it is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def test_every_quantized_product_becomes_one_integer_product(graph):
    before, after = graphs.load(graph), vnni.lower(graphs.load(graph))
    makers = {out: node for node in before.graph.node for out in node.output}
    products = [
        node
        for node in before.graph.node
        if node.op_type == "MatMul" and makers[node.input[1]].op_type == "DequantizeLinear"
    ]
    fused = [node for node in after.graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(fused) == len(products) > 0
    assert not any(node.op_type == "DequantizeLinear" for node in after.graph.node)
    onnx.checker.check_model(after, full_check=False)


def test_products_in_fp16_are_left_alone(tiny, store):
    fp32 = trace.trace(tiny, tiny.points[1:], store, silent())
    method = quantize.Method("nvidia")
    (half,) = quantize.quantize(fp32, Feeds(tiny, tiny.calibration()), method, store, silent())
    kinds = [node.op_type for node in vnni.lower(graphs.load(half)).graph.node]
    assert "MatMulIntegerToFloat" not in kinds


def test_weights_keep_their_bytes(graph):
    def int8(model):
        tensors = (onnx.numpy_helper.to_array(t) for t in model.graph.initializer)
        return {t.tobytes() for t in tensors if t.dtype == np.int8 and t.size > 1}

    # Rows of zero points are gone; what remains are the weights.
    assert int8(vnni.lower(graphs.load(graph))) <= int8(graphs.load(graph))


def test_the_runner_computes_what_the_portable_graph_says(graph, images, tmp_path):
    """Without care, CPUs without VNNI saturate u8 x s8 sums and are wrong by 20 %."""
    truth = unfused(graphs.load(graph))
    graphs.save(vnni.lower(graphs.load(graph)), tmp_path / runner.FILE, graph.weights)
    engine = runner.load(tmp_path, RunnerOptions(graph.weights))
    for feed in images:
        expected = truth.run(None, feed)[0]
        actual = engine(feed)["logits"]
        assert np.abs(actual - expected).max() <= 0.02 * np.abs(expected).max()


def test_weights_of_seven_bits_are_exact_in_the_fastest_kernel():
    model = product(np.ones((64, 8), np.float32))
    largest = {"x": np.ones((1, 64), np.float32)}
    int8 = Recipe(("MatMul",), bits=7).quantize(model, CalibrationData((largest,)))
    session = onnxruntime.InferenceSession(vnni.lower(int8).SerializeToString())
    np.testing.assert_allclose(session.run(None, largest)[0], 64, rtol=0.01)


def test_extreme_values_do_not_saturate(tmp_path):
    """The largest activations times the largest weights: where u8 x s8 pairs overflow 16 bits."""
    weight = np.full((64, 8), 127, np.int8)
    node = onnx.helper.make_node(
        "MatMulIntegerToFloat", ["x", "w", "one", "ones", "zero"], ["y"], domain="com.microsoft"
    )
    constants = {
        "w": weight,
        "one": np.float32(1),
        "ones": np.ones(8, np.float32),
        "zero": np.uint8(128),
    }
    body = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [4, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 8])],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(body, opset_imports=opsets)
    model.ir_version = 10
    graphs.save(model, tmp_path / runner.FILE, tmp_path)
    engine = runner.load(tmp_path, RunnerOptions(tmp_path))
    answer = engine({"x": np.full((4, 64), 255, np.uint8)})["y"]
    np.testing.assert_array_equal(answer, np.full((4, 8), 127 * 127 * 64, np.float32))
