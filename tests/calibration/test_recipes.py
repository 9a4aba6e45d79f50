"""The recipes: symmetric, per channel, near the weights, and the same at every point."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from calibration.data import CalibrationData
from calibration.layers import QUANTIZERS, give_back
from calibration.layers import quantized as layers
from calibration.recipes import RECIPES, Recipe, exact_bits
from compiler.passes import quantize, trace
from compiler.passes.feed import Feeds
from compiler.progress import silent
from elastiq.device import Device
from targets import graphs


def product(weight):
    """A graph of one product with a constant."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, rows])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def feeds(seed, width, count=8):
    generator = np.random.default_rng(seed)
    return [{"x": generator.standard_normal((1, width)).astype(np.float32)} for _ in range(count)]


def parts(model):
    """Initializers, and per quantized tensor its scale and zero point."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


weights = st.tuples(st.integers(2, 12), st.integers(1, 9), st.integers(0, 99), st.floats(1e-3, 1e3))


def drawn(spec):
    rows, columns, seed, size = spec
    return (size * np.random.default_rng(seed).standard_normal((rows, columns))).astype(np.float32)


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=15, deadline=None)
@given(weights, st.integers(0, 9))
def test_scales_are_positive_zero_points_zero_and_weights_within_half_a_step(name, spec, seed):
    weight = drawn(spec)
    data = CalibrationData(tuple(feeds(seed, len(weight))))
    found = parts(RECIPES[name].quantize(product(weight), data))
    scales = {name: value for name, value in found.items() if name.endswith("_scale")}
    assert len(scales) == 2
    for name, scale in scales.items():
        assert np.isfinite(scale).all()
        assert (scale > 0).all()
        assert not found[name.replace("_scale", "_zero_point")].any()
    step = found["w_scale"].astype(np.float64)
    assert step.shape == (weight.shape[1],)
    restored = found["w_quantized"].astype(np.float64) * step
    assert (np.abs(restored - weight) <= 0.5001 * step + 1e-9).all()


@settings(max_examples=10, deadline=None)
@given(weights, st.permutations(range(8)))
def test_the_order_of_calibration_does_not_matter(spec, order):
    weight = drawn(spec)
    data = feeds(0, len(weight))
    straight, shuffled = (
        RECIPES["portable"].quantize(product(weight), CalibrationData(tuple(each)))
        for each in (data, [data[i] for i in order])
    )
    assert straight.SerializeToString() == shuffled.SerializeToString()


@settings(max_examples=10, deadline=None)
@given(weights)
def test_the_quantized_graph_computes_what_its_numbers_say(spec):
    weight = drawn(spec)
    data = CalibrationData(tuple(feeds(0, len(weight))))
    model = RECIPES["portable"].quantize(product(weight), data)
    found = parts(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    for feed in feeds(1, len(weight), 3):
        scale = found["x_scale"].astype(np.float64)
        steps = np.clip(np.rint(feed["x"] / found["x_scale"]), -128, 127)
        expected = (steps * scale) @ (found["w_quantized"].astype(np.float64) * found["w_scale"])
        np.testing.assert_allclose(session.run(None, feed)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("flags", "bits"), [(("avx2",), 7), (("avx2", "avx_vnni"), 8)])
def test_cpus_that_saturate_get_weights_of_seven_bits(flags, bits):
    assert exact_bits(Device("a CPU", 2, flags, "x86_64", 8)) == bits


@settings(max_examples=10, deadline=None)
@given(weights)
def test_weights_of_seven_bits_stay_within_them(spec):
    weight = drawn(spec)
    data = CalibrationData(tuple(feeds(0, len(weight))))
    found = parts(Recipe(("MatMul",), bits=7).quantize(product(weight), data))
    assert np.abs(found["w_quantized"].astype(int)).max() == 64


@pytest.fixture(scope="module")
def fp32(tiny, store):
    return trace.trace(tiny, tiny.points, store, silent())


@pytest.fixture(scope="module", params=RECIPES)
def quantized(tiny, store, fp32, request):
    method = quantize.Method(request.param)
    return quantize.quantize(fp32, Feeds(tiny, tiny.calibration()), method, store, silent())


@pytest.fixture(scope="module")
def halved(tiny, store, fp32):
    method = quantize.Method("nvidia")
    return quantize.quantize(fp32, Feeds(tiny, tiny.calibration()), method, store, silent())


def int8_weights(graph):
    """The files of a graph's INT8 weights."""
    model = onnx.load(graph.path, load_external_data=False)
    return {
        entry.value
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
        for entry in tensor.external_data
        if entry.key == "location"
    }


def norms(model):
    return sum(node.op_type == "LayerNormalization" for node in model.graph.node)


def answers(model, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def test_int8_weights_are_the_same_bytes_at_every_point(quantized):
    first, second = map(int8_weights, quantized)
    assert first == second != set()


def test_attention_softmax_norms_and_sums_stay_in_floating_point(quantized):
    for graph in quantized:
        model = graphs.load(graph)
        makers = {out: node.op_type for node in model.graph.node for out in node.output}
        for node in model.graph.node:
            if node.op_type in ("Softmax", "LayerNormalization", "Add", "Gelu"):
                assert all(makers.get(name) != "DequantizeLinear" for name in node.input), node.name


def test_all_zero_points_are_zero(quantized):
    for graph in quantized:
        model = graphs.load(graph)
        found = parts(model)
        for node in (n for n in model.graph.node if n.op_type in QUANTIZERS):
            zero = found[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


def test_tensorrt_gets_its_products_in_int8_and_the_rest_in_fp16(halved, fp32):
    for graph, original in zip(halved, fp32, strict=True):
        model, before = graphs.load(graph), graphs.load(original)
        makers = {out: node.op_type for node in model.graph.node for out in node.output}
        for node in model.graph.node:
            constant = len(node.input) > 1 and makers.get(node.input[1]) == "DequantizeLinear"
            if constant:
                assert node.op_type in ("Conv", "Gemm", "MatMul")
                assert makers[node.input[0]] == "DequantizeLinear"
        kinds = {str(value.dtype) for value in parts(model).values()}
        assert {"int8", "float16"} <= kinds
        assert "float32" not in kinds
        assert norms(model) == norms(before) > 0
        assert model.opset_import[0].version <= 20
        for value in (*model.graph.input, *model.graph.output):
            assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_tensorrts_graph_answers_as_the_model_does_and_gives_layers_back(halved, fp32, tiny):
    images = [{"image": image[None]} for image in tiny.calibration()[0]["image"]]
    for graph, original in zip(halved, fp32, strict=True):
        truth = answers(graphs.load(original), images)
        model, twin = graphs.load(graph), graphs.load(quantize.twin(graph))
        size = np.linalg.norm(truth)
        assert np.linalg.norm(answers(model, images) - truth) < 0.05 * size
        mixed = give_back(model, twin, list(layers(model))[:2])
        assert len(layers(mixed)) == len(layers(model)) - 2
        assert np.linalg.norm(answers(mixed, images) - truth) < 0.05 * size
        whole = give_back(model, twin, layers(model))
        assert np.linalg.norm(answers(whole, images) - truth) < 0.005 * size


@pytest.mark.parametrize("name", ["portable", "cpu"])
def test_where_nothing_is_to_be_quantized_nothing_is(name):
    """A constant times data, as a question to tokens is, and no other product."""
    value = onnx.helper.make_tensor_value_info
    ask = onnx.numpy_helper.from_array(np.ones((2, 3), np.float32), "ask")
    node = onnx.helper.make_node("MatMul", ["ask", "x"], ["y"])
    ends = [[value("x", 1, [3, 4])], [value("y", 1, [2, 4])]]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "main", *ends, [ask]))
    feeds = CalibrationData(({"x": np.ones((3, 4), np.float32)},))
    assert RECIPES[name].quantize(model, feeds) == model
