"""The layers that a recipe quantized: their names, and giving some of them back."""

from __future__ import annotations

import copy
from collections.abc import Collection

from onnx import ModelProto, NodeProto

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def quantized(model: ModelProto) -> dict[str, NodeProto]:
    """The nodes that read quantized values, by the name of their layer, in the graph's order."""
    backs = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    found: dict[str, NodeProto] = {}
    for node in model.graph.node:
        if node.op_type not in QUANTIZERS and backs.intersection(node.input):
            name = _name(model, node)
            found[node.name if name in found else name] = node
    return found


def give_back(model: ModelProto, twin: ModelProto, layers: Collection[str]) -> ModelProto:
    """The model with these layers as they are in its twin, the same graph before quantizing."""
    mixed = ModelProto()
    mixed.CopyFrom(model)
    originals = {node.name: node for node in twin.graph.node}
    for name, node in quantized(mixed).items():
        if name in layers:
            node.input[:] = originals[node.name].input
    known = {tensor.name for tensor in mixed.graph.initializer}
    read = {name for node in mixed.graph.node for name in node.input}
    mixed.graph.initializer.extend(
        t for t in twin.graph.initializer if t.name in read and t.name not in known
    )
    _prune(mixed)
    return mixed


def _name(model: ModelProto, node: NodeProto) -> str:
    """The module's name where the layer has a bias, which the tracer names after it."""
    tensors = {tensor.name for tensor in model.graph.initializer}
    for reader in model.graph.node:
        if reader.op_type == "Add" and node.output[0] in reader.input:
            for name in reader.input:
                if name in tensors and name.endswith(".bias"):
                    return name.removesuffix(".bias")
    return node.name


def _prune(model: ModelProto) -> None:
    """Remove the quantizers and tensors that nothing reads any more."""
    wanted = {output.name for output in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    for field, values in ((model.graph.node, kept[::-1]), (model.graph.initializer, tensors)):
        copies = [copy.deepcopy(value) for value in values]
        del field[:]
        field.extend(copies)
