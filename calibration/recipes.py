"""INT8 recipes: which ops are quantized and how. Each takes an FP32 graph and gives a QDQ graph."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from calibration import ranges
from calibration.data import Batch, CalibrationData
from elastiq.errors import unknown

Recipe = Callable[[ModelProto, CalibrationData, str], ModelProto]


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Sequence[Batch]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Batch | None:
        return next(self._feeds, None)


def portable(model: ModelProto, data: CalibrationData, method: str = ranges.DEFAULT) -> ModelProto:
    """Symmetric int8, per-channel weights, the linear layers inside the network only.

    Attention products, softmax, LayerNorm and residual adds stay in floating point: quantizing
    them is what breaks vision transformers. So do the first layer and the head (a Conv or Gemm).
    Weight scales depend on the weights alone, so INT8 weights are the same bytes at every point.
    """
    left_out = _unquantized(model)
    products = [node for node in model.graph.node if node.op_type == "MatMul"]
    read = [node.input[0] for node in products if node.name not in left_out]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Reader(data.feeds[:1]),  # the ranges are given below
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=left_out,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
                "TensorQuantOverrides": _given(ranges.limits(model, read, data, method)),
            },
        )
        quantized = onnx.load(path)
    _spare(quantized, {"MatMul"})
    return quantized


RECIPES: dict[str, Recipe] = {"portable": portable}


def recipe(name: str) -> Recipe:
    """The recipe of a name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def _given(limits: Mapping[str, float]) -> dict[str, list[dict[str, Any]]]:
    """Ranges as the quantizer takes them."""
    return {
        name: [{"rmin": np.float32(-limit), "rmax": np.float32(limit)}]
        for name, limit in limits.items()
    }


def _unquantized(model: ModelProto) -> list[str]:
    """The products that are not of data with a constant: attention, and what folds away."""
    data = {value.name for value in model.graph.input}
    for node in model.graph.node:  # in topological order
        if data.intersection(node.input):
            data.update(node.output)
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and (node.input[0] not in data or node.input[1] in data)
    ]


def _spare(model: ModelProto, quantized_ops: set[str]) -> None:
    """Let every other reader of a quantized value, a residual add say, read it unrounded."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in {*quantized_ops, "QuantizeLinear", "DequantizeLinear"}:
            continue
        for place, name in enumerate(node.input):
            back = makers.get(name)
            if back is not None and back.op_type == "DequantizeLinear":
                quantize = makers.get(back.input[0])
                if quantize is not None:  # else it is a weight
                    node.input[place] = quantize.input[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer advises on its root logger what this recipe decides otherwise on purpose."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
