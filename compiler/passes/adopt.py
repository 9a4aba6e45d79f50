"""Adopt: a ready ONNX file becomes a graph as if it had been traced."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import version_converter
from onnx.inliner import inline_local_functions

from compiler.onnx_files import OnnxModule, session
from compiler.passes import export_check
from elastiq.errors import ElastiqError

OLDEST = 13  # opset: since then, Q/DQ pairs know channels


def adopt(
    module: OnnxModule, example: dict[str, torch.Tensor], outputs: dict[str, np.ndarray], where: str
) -> tuple[onnx.ModelProto, float]:
    """The graph of a file, with the sizes of an example that gave `outputs`. Also returns the
    largest relative error of what it answers now."""
    model = inline_local_functions(module.model)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    for value in inputs:
        value.type.tensor_type.shape.CopyFrom(_shape(tuple(example[value.name].shape)))
    for value in graph.output:
        value.type.tensor_type.shape.CopyFrom(_shape(outputs[value.name].shape))
    for field, values in (("input", inputs), ("value_info", [])):  # inferred for any batch
        graph.ClearField(field)
        getattr(graph, field).extend(values)
    model = _recent(model, where)
    feed = {name: tensor.numpy() for name, tensor in example.items()}
    answers = session(model.SerializeToString(), module.path).run(list(outputs), feed)
    errors = map(export_check.relative_error, answers, outputs.values())
    worst = max(errors)
    if not worst <= export_check.TOLERANCE:
        raise ElastiqError(f"{where}: with fixed sizes it answers otherwise (error {worst:.2g})")
    return model, worst


def _shape(sizes: tuple[int, ...]) -> onnx.TensorShapeProto:
    dims = [onnx.TensorShapeProto.Dimension(dim_value=size) for size in sizes]
    return onnx.TensorShapeProto(dim=dims)


def _recent(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version >= OLDEST:
        return model
    try:
        return version_converter.convert_version(model, OLDEST)
    except Exception as e:  # the converter's errors are private
        raise ElastiqError(
            f"{where}: opset {version} cannot be brought to {OLDEST}: {e}. Export it anew"
        ) from e
