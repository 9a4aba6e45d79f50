"""Giving layers back: exactly those, in their old numbers; and the order of sensitivity."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.data import CalibrationData
from calibration.layers import give_back, quantized
from calibration.recipes import RECIPES
from calibration.sensitivity import CLEAN, sensitivities

WIDTH = 16


def chain(spread=(1.0, 1.0, 1.0)):
    """Three linear layers; `spread` is how much larger one input channel of each is."""
    generator = np.random.default_rng(0)
    nodes, tensors, last = [], [], "x"
    for place, growth in enumerate(spread):
        grow = np.ones(WIDTH, np.float32)
        grow[3] = growth
        weight = generator.standard_normal((WIDTH, WIDTH)).astype(np.float32) / 4
        for name, value in (
            (f"grow{place}", grow),
            (f"layer{place}.weight", weight / grow[:, None]),
            (f"layer{place}.bias", generator.standard_normal(WIDTH).astype(np.float32)),
        ):
            tensors.append(numpy_helper.from_array(value, name))
        nodes += [
            helper.make_node("Mul", [last, f"grow{place}"], [f"g{place}"], name=f"mul{place}"),
            helper.make_node(
                "MatMul", [f"g{place}", f"layer{place}.weight"], [f"m{place}"], name=f"mm{place}"
            ),
            helper.make_node(
                "Add", [f"m{place}", f"layer{place}.bias"], [f"y{place}"], name=f"add{place}"
            ),
        ]
        last = f"y{place}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, WIDTH])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


def int8(model):
    return RECIPES["portable"].quantize(model, data())


def data(count=32):
    generator = np.random.default_rng(1)
    return CalibrationData(
        tuple({"x": generator.standard_normal((1, WIDTH)).astype(np.float32)} for _ in range(count))
    )


def answers(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.concatenate([session.run(None, feed)[0] for feed in data().feeds])


def test_layers_are_named_after_their_modules():
    assert list(quantized(int8(chain()))) == ["layer0", "layer1", "layer2"]


def test_with_all_layers_back_the_graph_is_what_it_was():
    mixed = give_back(int8(chain()), chain(), ["layer0", "layer1", "layer2"])
    onnx.checker.check_model(mixed)
    assert not quantized(mixed)
    assert not [node for node in mixed.graph.node if "Quantize" in node.op_type]
    np.testing.assert_array_equal(answers(mixed), answers(chain()))


def test_only_the_layers_named_are_given_back_and_the_rest_keep_their_bytes():
    whole = int8(chain())
    mixed = give_back(whole, chain(), ["layer1"])
    onnx.checker.check_model(mixed)
    assert list(quantized(mixed)) == ["layer0", "layer2"]
    before, after = (
        {t.name: t.SerializeToString() for t in m.graph.initializer} for m in (whole, mixed)
    )
    for name in after.keys() & before.keys():
        assert after[name] == before[name]
    assert after.keys() - before.keys() == {"layer1.weight"}


@pytest.mark.parametrize("worst", [0, 1, 2])
def test_the_layer_with_an_outlier_channel_is_the_most_sensitive(worst):
    spread = [1.0, 1.0, 1.0]
    spread[worst] = 256.0
    model = chain(spread)
    ranked = sensitivities(int8(model), model, data())
    assert ranked[0].layer == f"layer{worst}"
    assert ranked[0].sqnr < ranked[1].sqnr - 6
    assert all(0 <= s.loss <= 100 and s.sqnr < CLEAN for s in ranked)
