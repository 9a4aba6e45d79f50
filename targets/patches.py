"""Convolutions whose windows do not overlap, as vision transformers begin, as matrix products."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

CUT = (0, 2, 4, 1, 3, 5)  # images, rows, columns, channels, and the window's own two


def as_products(model: ModelProto) -> ModelProto:
    """The same function, whose cuts into patches are products; other convolutions stay."""
    made = ModelProto()
    made.CopyFrom(model)
    shapes = _shapes(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if _cuts(node, shapes):
            nodes += _product(node, shapes, made)
        else:
            nodes.append(node)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _shapes(model: ModelProto) -> dict[str, list[int]]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    return shapes | {tensor.name: list(tensor.dims) for tensor in inferred.initializer}


def _cuts(node: NodeProto, shapes: dict[str, list[int]]) -> bool:
    if node.op_type != "Conv" or node.domain:
        return False
    data, kernel = (shapes.get(name, []) for name in node.input[:2])
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return (
        len(data) == len(kernel) == 4
        and given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and given.get("group", 1) == 1
        and not any(given.get("pads", ()))
        and set(given.get("dilations", (1,))) == {1}
        and list(given.get("strides", (1, 1))) == kernel[2:]
        and not any(side % step for side, step in zip(data[2:], kernel[2:], strict=True))
    )


def _product(
    node: NodeProto, shapes: dict[str, list[int]], model: ModelProto
) -> Iterable[NodeProto]:
    name = node.name or node.output[0]
    (images, channels, height, width), (maps, _, *window) = (
        shapes[value] for value in node.input[:2]
    )
    rows, columns = height // window[0], width // window[1]

    def step(kind: str, given: list[str], part: str, **attributes: object) -> NodeProto:
        return helper.make_node(kind, given, [f"{name}.{part}"], f"{name}.{part}", **attributes)

    def reshaped(value: str, part: str, *shape: int) -> NodeProto:
        sizes = onnx.numpy_helper.from_array(np.array(shape, np.int64), f"{name}.{part}.shape")
        model.graph.initializer.append(sizes)
        return step("Reshape", [value, sizes.name], part)

    cells = rows * columns
    yield reshaped(node.input[0], "cut", images, channels, rows, window[0], columns, window[1])
    yield step("Transpose", [f"{name}.cut"], "sorted", perm=CUT)
    yield reshaped(f"{name}.sorted", "patches", images, cells, channels * window[0] * window[1])
    yield reshaped(node.input[1], "flat", maps, channels * window[0] * window[1])
    yield step("Transpose", [f"{name}.flat"], "filters", perm=(1, 0))
    yield step("MatMul", [f"{name}.patches", f"{name}.filters"], "product")
    product = f"{name}.product"
    if len(node.input) > 2:
        yield step("Add", [product, node.input[2]], "biased")
        product = f"{name}.biased"
    yield step("Transpose", [product], "maps", perm=(0, 2, 1))
    last = reshaped(f"{name}.maps", "answer", images, maps, rows, columns)
    last.output[0] = node.output[0]
    yield last
