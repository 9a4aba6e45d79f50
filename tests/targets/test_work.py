"""What graphs have to compute: held against torch's own counter, and by hand."""

from __future__ import annotations

from math import prod

import onnx
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from elastiq.records import Graph, Point
from targets.work import PRODUCTS, work
from tests.models.tiny import Tiny


def graph(tmp_path, nodes, inputs, output, weights=()):
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()]
    made = helper.make_graph(
        nodes, "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [helper.make_tensor(n, kind, dims, [1] * prod(dims)) for n, kind, dims in weights],
    )  # fmt: skip
    path = tmp_path / "graph.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), path)
    return Graph(Point.of({"q": 1}), "main", "fp32", path, tmp_path, (), ())


def test_a_product_is_its_multiplications_and_additions(tmp_path):
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    (kernel,) = work(graph(tmp_path, [node], {"a": [2, 3, 4], "b": [4, 5]}, [2, 3, 5]))
    assert kernel.operations == 2 * (2 * 3 * 5) * 4
    assert (kernel.wide, kernel.narrow) == (24 + 20 + 30, 0)
    assert not kernel.integer


def test_a_convolution_is_one_product_per_output_and_tap(tmp_path):
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[4, 4])
    (kernel,) = work(
        graph(tmp_path, [node], {"x": [1, 3, 8, 8], "w": [16, 3, 4, 4]}, [1, 16, 2, 2])
    )
    assert kernel.operations == 2 * (16 * 2 * 2) * (3 * 4 * 4)


def test_views_and_what_is_pointwise_are_no_kernels_of_their_own(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["product"]),
        helper.make_node("Relu", ["product"], ["positive"]),
        helper.make_node("Transpose", ["positive"], ["turned"]),
        helper.make_node("Softmax", ["turned"], ["y"]),
    ]
    kernels = work(graph(tmp_path, nodes, {"a": [3, 4], "b": [4, 5]}, [5, 3]))
    assert [kernel.operations for kernel in kernels] == [2 * 15 * 4, 15]


def test_products_of_dequantized_values_are_integers(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["narrow"]),
        helper.make_node("DequantizeLinear", ["narrow", "scale", "zero"], ["wide"]),
        helper.make_node("Transpose", ["wide"], ["turned"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["weights"]),
        helper.make_node("MatMul", ["turned", "weights"], ["y"]),
    ]
    weights = (
        ("scale", TensorProto.FLOAT, []),
        ("zero", TensorProto.INT8, []),
        ("w", TensorProto.INT8, [4, 5]),
    )
    (kernel,) = work(graph(tmp_path, nodes, {"a": [4, 3]}, [3, 5], weights))
    assert kernel.integer
    assert (kernel.narrow, kernel.wide) == (12 + 20, 15)


def test_the_products_of_a_traced_model_are_those_that_torch_counts(store, tiny):
    from compiler.passes.trace import trace
    from compiler.progress import silent

    for traced in trace(tiny, tiny.points, store, silent()):
        model = onnx.load(traced.path, load_external_data=False)
        products = {node.name for node in model.graph.node if node.op_type in PRODUCTS}
        counted = sum(kernel.operations for kernel in work(traced) if kernel.name in products)
        settings = dict(traced.point.settings)
        module, inputs = Tiny().stages(settings)["main"]
        module.requires_grad_(False)
        with FlopCounterMode(display=False) as counter:
            module(**inputs)
        # The queries' projection is a constant in the graph.
        assert 0.9 * counter.get_total_flops() <= counted <= counter.get_total_flops()
