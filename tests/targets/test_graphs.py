"""Graphs on disk: tensors stand once and come back whole; every constant is folded."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from elastiq.records import Graph, Point
from targets import graphs


def model(nodes, constants, inputs=(("x", [2, 40]),), output="y"):
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, s) for name, s in inputs],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    made.ir_version = 10
    return made


def run(made, x):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]


@pytest.fixture
def weight():
    return np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)


def test_a_graph_comes_back_as_it_was_saved(tmp_path, weight):
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    before = made.SerializeToString()
    graphs.save(made, tmp_path / "g.onnx", tmp_path)
    (name,) = json.loads((tmp_path / "weights.json").read_text())
    assert (tmp_path / name).read_bytes() == weight.tobytes()
    assert (tmp_path / "g.onnx").stat().st_size < 500
    back = graphs.load(
        Graph(Point.of({"q": 1}), "main", "fp32", tmp_path / "g.onnx", tmp_path, (), ())
    )
    x = np.ones((2, 40), np.float32)
    np.testing.assert_array_equal(run(back, x), run(onnx.load_from_string(before), x))


def test_the_same_bytes_are_stored_once(tmp_path, weight):
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("MatMul", ["h", "b"], ["y"]),
    ]
    graphs.save(model(nodes, {"a": weight, "b": weight}), tmp_path / "g.onnx", tmp_path)
    assert len(json.loads((tmp_path / "weights.json").read_text())) == 1


def test_a_weight_cut_short_by_a_power_cut_is_written_again(tmp_path, weight):
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    graphs.save(onnx.load_from_string(made.SerializeToString()), tmp_path / "g.onnx", tmp_path)
    (name,) = json.loads((tmp_path / "weights.json").read_text())
    (tmp_path / name).write_bytes(b"short")
    graphs.save(made, tmp_path / "g.onnx", tmp_path)
    assert (tmp_path / name).read_bytes() == weight.tobytes()


def test_constants_are_folded_through_ops_with_many_outputs(weight):
    """What torch's own exporter leaves of nn.MultiheadAttention: its projections are split."""
    nodes = [
        helper.make_node("Split", ["w"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("MatMul", ["x", "c"], ["y"]),
    ]
    made = model(nodes, {"w": weight})
    x = np.random.default_rng(1).standard_normal((2, 40)).astype(np.float32)
    before = run(made, x)
    graphs.fold_constants(made)
    assert [node.op_type for node in made.graph.node] == ["MatMul"]
    assert [tensor.name for tensor in made.graph.initializer] == ["c"]
    np.testing.assert_allclose(run(made, x), before, rtol=1e-6)


def test_what_draws_or_has_a_body_is_never_folded(weight):
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("If", ["yes"], ["seen"], then_branch=body, else_branch=body),
        helper.make_node("RandomNormal", [], ["noise"], shape=[2, 40]),
        helper.make_node("Mul", ["noise", "zero"], ["nothing"]),
        helper.make_node("Add", ["seen", "nothing"], ["y"]),
    ]
    made = model(nodes, {"yes": np.array(True), "zero": np.float32(0)})
    graphs.fold_constants(made)
    assert [node.op_type for node in made.graph.node] == ["If", "RandomNormal", "Mul", "Add"]
    x = np.ones((2, 40), np.float32)
    np.testing.assert_array_equal(run(made, x), x)


def test_an_output_that_is_a_constant_is_kept(weight):
    made = model([helper.make_node("Neg", ["w"], ["y"])], {"w": weight})
    graphs.fold_constants(made)
    assert [tensor.name for tensor in made.graph.initializer] == ["y"]
