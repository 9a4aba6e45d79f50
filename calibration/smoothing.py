"""Smoothing: outlier channels move from activations, which share a scale, into the weights.

A linear layer behind a LayerNorm computes the same when the norm gives on a channel at 1/s of its
size and the layer's weights take it s times larger (SmoothQuant, https://arxiv.org/abs/2211.10438).
Here s is a power of two, so that no bit of the FP32 function changes, and the same at every point,
so that the INT8 weights are the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from calibration.activations import outputs
from calibration.data import CalibrationData

Channels = dict[str, np.ndarray]  # by the name of a LayerNorm's scale
LARGEST = 10  # a shift by more than 2^10 would move the trouble into the weights


def channels(model: ModelProto, data: CalibrationData) -> Channels:
    """The largest size of every channel that a LayerNorm gives on, and of the weights it meets."""
    norms = _smoothable(model)
    weights = _weights(model)
    sizes = {scale: np.zeros(len(weight), np.float32) for scale, weight in weights.items()}
    for values in outputs(model, [norm.output[0] for norm, _ in norms.values()], data):
        for scale, value in zip(norms, values, strict=True):
            found = np.abs(value).reshape(-1, value.shape[-1]).max(0)
            sizes[scale] = np.maximum(sizes[scale], found)
    return {scale: np.stack([sizes[scale], weights[scale]]) for scale in norms}


def shifts(found: Iterable[Channels]) -> Channels:
    """Per channel the power of two to divide by, for all points: half of what sets it apart.

    The other half stays, as in SmoothQuant, since weights have outliers too. A channel that is as
    large as most others is not touched.
    """
    largest: Channels = {}
    for one in found:
        for scale, pair in one.items():
            largest[scale] = np.maximum(largest.get(scale, pair), pair)
    return {scale: _shift(*pair) for scale, pair in largest.items()}


def smooth(model: ModelProto, by: Channels) -> ModelProto:
    """The same function, with the channels shifted."""
    smoothed = ModelProto()
    smoothed.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in smoothed.graph.initializer}
    found = _smoothable(smoothed)
    for scale, shift in by.items():
        norm, readers = found[scale]
        factor = np.exp2(shift).astype(np.float32)
        for name in norm.input[1:]:
            _scale(tensors[name], 1 / factor)
        for name in {reader.input[1] for reader in readers}:
            _scale(tensors[name], factor[:, None])
    return smoothed


def _scale(tensor: TensorProto, factor: np.ndarray) -> None:
    scaled = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))


def _shift(sizes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float32).tiny
    apart = 0.5 * (np.log2(np.maximum(sizes, tiny)) - np.log2(np.maximum(weights, tiny)))
    return np.clip(np.rint(apart - np.median(apart)), -LARGEST, LARGEST).astype(np.int8)


def _weights(model: ModelProto) -> Channels:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    return {
        scale: np.max(
            [np.abs(numpy_helper.to_array(tensors[r.input[1]])).max(1) for r in readers], axis=0
        )
        for scale, (_, readers) in _smoothable(model).items()
    }


def _smoothable(model: ModelProto) -> Mapping[str, tuple[NodeProto, list[NodeProto]]]:
    """By the name of its scale, each LayerNorm that only linear layers read, and those layers."""
    tensors = {tensor.name for tensor in model.graph.initializer}
    uses = [name for node in model.graph.node for name in node.input]
    outputs_of_graph = {output.name for output in model.graph.output}
    found = {}
    for norm in model.graph.node:
        if norm.op_type != "LayerNormalization" or norm.output[0] in outputs_of_graph:
            continue
        readers = [node for node in model.graph.node if norm.output[0] in node.input]
        own = [*norm.input[1:], *(r.input[1] for r in readers if len(r.input) > 1)]
        linear = all(r.op_type == "MatMul" and r.input[0] == norm.output[0] for r in readers)
        if readers and linear and all(n in tensors and uses.count(n) == 1 for n in own):
            found[norm.input[1]] = (norm, readers)
    return found
