"""ONNX graphs on disk: each large tensor stands once in a file of its own, named by its digest."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
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
    (path.parent / LIST).write_text(json.dumps(sorted(used)))


def _externalise(tensor: TensorProto, data: bytes, weights: Path) -> str:
    sha = digest.of_bytes(data)
    target = weights / sha
    if not target.exists() or target.stat().st_size != len(data):
        digest.write_atomically(target, data)
    name, kind, shape = tensor.name, tensor.data_type, list(tensor.dims)
    tensor.Clear()
    tensor.name, tensor.data_type = name, kind
    tensor.dims.extend(shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", sha), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=key, value=value)
    return sha
