"""ONNX graphs on disk: each large tensor stands once in a file of its own, named by its digest."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnxruntime
from onnx import ModelProto, TensorProto

from elastiq import digest
from elastiq.records import Graph

LIST = "weights.json"
SMALLEST_WEIGHT = 1024  # bytes; smaller tensors stay in the graph


def load(graph: Graph) -> ModelProto:
    """A graph with its tensors in memory."""
    model = onnx.load(graph.path, load_external_data=False)
    onnx.load_external_data_for_model(model, str(graph.weights))
    return model


def save(model: ModelProto, path: Path, weights: Path) -> None:
    """Write a graph; its large tensors go to `weights`, and their names to a list beside it."""
    used = set()
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ValueError(f"tensor {tensor.name} is not in memory")
        data = onnx.numpy_helper.to_array(tensor).tobytes()
        if len(data) >= SMALLEST_WEIGHT:
            used.add(_externalise(tensor, data, weights))
    path.write_bytes(model.SerializeToString(deterministic=True))
    list_weights(used, path.parent)


def fold_constants(model: ModelProto) -> None:
    """Replace what does not depend on the inputs by its value, whichever ops made it."""
    data = {value.name for value in model.graph.input}
    constant, kept = [], []
    for node in model.graph.node:  # in topological order
        if data.intersection(node.input) or not _foldable(node):
            data.update(node.output)
            kept.append(node)
        else:
            constant.append(node)
    read = {name for node in kept for name in node.input}
    read |= {output.name for output in model.graph.output}
    wanted = [name for node in constant for name in node.output if name in read]
    if wanted:
        model.graph.initializer.extend(_values(model, constant, wanted))
    used = [tensor for tensor in model.graph.initializer if tensor.name in read]
    for field, values in ((model.graph.node, kept), (model.graph.initializer, used)):
        copies = [copy.deepcopy(value) for value in values]
        del field[:]
        field.extend(copies)


def _foldable(node: onnx.NodeProto) -> bool:
    """Whether a node's value is fixed by its inputs; a body may read others, a source may draw."""
    has_body = any(attribute.HasField("g") for attribute in node.attribute)
    return not has_body and (bool(node.input) or node.op_type == "Constant")


def _values(model: ModelProto, nodes: list[onnx.NodeProto], wanted: list[str]) -> list[TensorProto]:
    part = onnx.ModelProto()
    part.CopyFrom(model)
    for field in ("node", "input", "output", "value_info"):
        part.graph.ClearField(field)
    part.graph.node.extend(nodes)
    part.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answers = session.run(wanted, {})
    return [onnx.numpy_helper.from_array(a, n) for a, n in zip(answers, wanted, strict=True)]


def keep_weight(data: bytes, weights: Path) -> str:
    """Put a tensor's bytes among the weights, once; the name they have there."""
    sha = digest.of_bytes(data)
    target = weights / sha
    if not target.exists() or target.stat().st_size != len(data):
        digest.write_atomically(target, data)
    return sha


def list_weights(names: Iterable[str], folder: Path) -> None:
    """Say which weights an engine or a graph in `folder` needs."""
    (folder / LIST).write_text(json.dumps(sorted(names)))


def listed_weights(folder: Path) -> set[str]:
    """The names that `list_weights` wrote."""
    return set(json.loads((folder / LIST).read_text()))


def _externalise(tensor: TensorProto, data: bytes, weights: Path) -> str:
    sha = keep_weight(data, weights)
    name, kind, shape = tensor.name, tensor.data_type, list(tensor.dims)
    tensor.Clear()
    tensor.name, tensor.data_type = name, kind
    tensor.dims.extend(shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", sha), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=key, value=value)
    return sha
