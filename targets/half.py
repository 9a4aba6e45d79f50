"""Graphs in half precision, as GPUs want them: inputs and outputs stay as they were.

Large tensors keep their bytes and are cast where they are used, which a compiler does once: so
they stay the files that other graphs use too.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from elastiq.errors import ElastiqError
from targets.graphs import SMALLEST_WEIGHT

SURE = 0.01  # a scale may lose that share of itself


def lower(model: ModelProto) -> ModelProto:
    """The same graph, whose floating point is half as wide."""
    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    renamed: dict[str, str] = {}
    casts: list[NodeProto] = []
    scales = {node.input[1] for node in graph.node if node.op_type in QUANTIZING}
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            casts.append(_cast(value.name, renamed))
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            if array.nbytes >= SMALLEST_WEIGHT and tensor.name not in scales:
                casts.append(_cast(tensor.name, renamed))
            else:
                _check(tensor.name, array, tensor.name in scales)
                half = numpy_helper.from_array(array.astype(np.float16), tensor.name)
                tensor.CopyFrom(half)
    nodes = [*casts, *_inside(graph.node, renamed)]
    for value in graph.output:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            nodes += _back(nodes, value.name)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return made


QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


def _cast(name: str, renamed: dict[str, str]) -> NodeProto:
    renamed[name] = f"{name}.half"
    return helper.make_node("Cast", [name], [renamed[name]], renamed[name], to=TensorProto.FLOAT16)


def _check(name: str, array: np.ndarray, scale: bool) -> None:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16).astype(np.float32)
    if not np.isfinite(half).all():
        raise ElastiqError(f"tensor {name!r} is too large for half precision; build in fp32")
    if scale and (np.abs(half - array) > SURE * np.abs(array)).any():
        raise ElastiqError(f"scale {name!r} is too small for half precision; build in fp32")


def _inside(nodes: Iterable[NodeProto], renamed: dict[str, str]) -> Iterable[NodeProto]:
    for node in nodes:
        inputs = [renamed.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        yield node


def _back(nodes: list[NodeProto], name: str) -> list[NodeProto]:
    """Give an output its own type again; what else reads it reads it as it was made."""
    narrow = f"{name}.half"
    for node in nodes:
        for names in (node.input, node.output):
            for place, given in enumerate(names):
                if given == name:
                    names[place] = narrow
    return [helper.make_node("Cast", [narrow], [name], f"{name}.wide", to=TensorProto.FLOAT)]
