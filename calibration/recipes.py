"""INT8 recipes: which ops are quantized, and what the rest of the graph is computed in."""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from calibration import ranges
from calibration.data import Batch, CalibrationData
from elastiq import device
from elastiq.device import Device
from elastiq.errors import unknown

ACTIVATION_STEPS, WEIGHT_STEPS = 127.5, 127  # from nothing to the limit, as the quantizer counts


@dataclass(frozen=True)
class Recipe:
    """Symmetric int8 for the products of data with a constant, and nothing else.

    Attention products, softmax, LayerNorm and residual adds stay in floating point: quantizing
    them is what breaks vision transformers, and loses the kernels that fuse them. Weights have a
    scale per channel that depends on them alone, so they are the same bytes at every point.
    """

    ops: tuple[str, ...]  # of these, the ones with constant weights
    half: bool = False  # the rest in FP16, whatever goes in and comes out
    bits: int = 8  # of the weights: 8, or 7

    def rest(self, model: ModelProto) -> ModelProto:
        """The graph in the precision of what is not quantized."""
        if not self.half:
            return model
        halved = convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)
        OnnxModel(halved).topological_sort()
        return halved

    def quantize(
        self, model: ModelProto, data: CalibrationData, method: str = ranges.DEFAULT
    ) -> ModelProto:
        """The QDQ graph of an FP32 graph."""
        chosen = self._chosen(model)
        if not chosen:  # no names would mean every node to the quantizer
            return self.rest(copy.deepcopy(model))
        with tempfile.TemporaryDirectory() as folder, _quiet():
            path = Path(folder) / "int8.onnx"
            quantize_static(
                copy.deepcopy(model),
                path,
                _Reader(data.feeds[:1]),  # the ranges are given below
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=self.bits < 8,
                op_types_to_quantize=list(self.ops),
                nodes_to_quantize=[node.name for node in chosen],
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,  # TensorRT takes no int32 ones
                    "OpTypesToExcludeOutputQuantization": list(self.ops),
                    "TensorQuantOverrides": self._ranges(model, chosen, data, method),
                },
            )
            quantized = onnx.load(path)
        _spare(quantized, self.ops)
        return self.rest(quantized)

    def _chosen(self, model: ModelProto) -> list[NodeProto]:
        data = {value.name for value in model.graph.input}
        for node in model.graph.node:  # in topological order
            if data.intersection(node.input):
                data.update(node.output)
        return [
            node
            for node in model.graph.node
            if node.op_type in self.ops and node.input[0] in data and node.input[1] not in data
        ]

    def _ranges(
        self, model: ModelProto, chosen: list[NodeProto], data: CalibrationData, method: str
    ) -> dict[str, list[dict[str, Any]]]:
        """What the quantizer shall not choose by itself, as it takes it."""
        limits = ranges.limits(model, [node.input[0] for node in chosen], data, method)
        if not self.half:
            return {name: [_symmetric(limit)] for name, limit in limits.items()}
        given = {n: [_symmetric(_in_half(x, ACTIVATION_STEPS))] for n, x in limits.items()}
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in chosen:
            axis = _outputs_of(node)
            weight = np.moveaxis(np.abs(numpy_helper.to_array(tensors[node.input[1]])), axis, 0)
            found = [_symmetric(_in_half(float(c.max()), WEIGHT_STEPS)) for c in weight]
            given[node.input[1]] = [{"axis": axis} | channel for channel in found]
        return given


def exact_bits(cpu: Device) -> int:
    """Of the weights that a CPU multiplies fast and exactly.

    With 8 where only 7 are exact, OpenVINO answers wrongly, and ONNX Runtime is told to take a
    slower kernel.
    """
    return 8 if cpu.exact_in_int8 else 7


RECIPES = {
    # The linear layers inside the network; not the first layer and the head, a Conv or Gemm.
    "portable": Recipe(("MatMul",)),
    # The same, in as many bits as this CPU is fastest with.
    "cpu": Recipe(("MatMul",), bits=exact_bits(device.this())),
    # What TensorRT has INT8 kernels for. It takes the rest's precision from the graph.
    "nvidia": Recipe(("Conv", "Gemm", "MatMul"), half=True),
}


def recipe(name: str) -> Recipe:
    """The recipe of a name."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Sequence[Batch]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Batch | None:
        return next(self._feeds, None)


def _symmetric(limit: float) -> dict[str, Any]:
    return {"rmin": np.float32(-limit), "rmax": np.float32(limit)}


def _in_half(limit: float, steps: float) -> float:
    """The least limit from this one on whose step is a normal number in FP16."""
    step = np.float16(max(limit / steps, float(np.finfo(np.float16).tiny)))
    if float(step) * steps < limit:
        step = np.nextafter(step, np.float16(np.inf))
    return float(step) * steps


def _outputs_of(node: NodeProto) -> int:
    """The axis of a node's weight that counts its outputs."""
    if node.op_type == "MatMul":
        return 1
    turned = node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute)
    return 1 if turned else 0


def _spare(model: ModelProto, quantized_ops: Sequence[str]) -> None:
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
