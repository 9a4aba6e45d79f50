"""INT8 recipes: which ops are quantized and how. Each takes an FP32 graph and gives a QDQ graph."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from calibration.data import Batch, CalibrationData
from elastiq.errors import unknown

Recipe = Callable[[ModelProto, CalibrationData], ModelProto]


class _Reader(CalibrationDataReader):
    def __init__(self, data: CalibrationData) -> None:
        self._feeds = iter(data.feeds)

    def get_next(self) -> Batch | None:
        return next(self._feeds, None)


def portable(model: ModelProto, data: CalibrationData) -> ModelProto:
    """Symmetric int8, per-channel weights, the linear layers inside the network only.

    Attention products, softmax, LayerNorm and residual adds stay in floating point: quantizing
    them is what breaks vision transformers. So do the first layer and the head (a Conv or Gemm).
    Weight scales depend on the weights alone, so INT8 weights are the same bytes at every point.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Reader(data),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=_data_by_data(model, constants),
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
            },
        )
        return onnx.load(path)


RECIPES: dict[str, Recipe] = {"portable": portable}


def recipe(name: str) -> Recipe:
    """The recipe of a name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def _data_by_data(model: ModelProto, constants: set[str]) -> list[str]:
    """The products without exactly one constant side: attention, and what folds to a constant."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and (node.input[1] not in constants or node.input[0] in constants)
    ]


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
