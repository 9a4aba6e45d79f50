"""How much each layer's quantization alone spoils a graph's outputs, on the calibration data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from onnx import ModelProto

from calibration.data import CalibrationData
from calibration.layers import give_back, quantized

SAMPLES = 64  # the order of layers settles with few
CLEAN = 120.0  # dB: no difference beyond rounding


@dataclass(frozen=True)
class Sensitivity:
    """What a layer costs when it is the only one in INT8."""

    layer: str
    sqnr: float  # dB, signal to quantization noise of the worst output
    loss: float  # points: how often the largest output moves elsewhere


def sensitivities(
    model: ModelProto, twin: ModelProto, data: CalibrationData
) -> tuple[Sensitivity, ...]:
    """Every quantized layer, the most sensitive first."""
    small = CalibrationData(data.feeds[:SAMPLES])
    truth = _outputs(twin, small)
    layers = list(quantized(model))
    found = []
    for layer in layers:
        alone = give_back(model, twin, [other for other in layers if other != layer])
        found.append(_compare(layer, _outputs(alone, small), truth))
    return tuple(sorted(found, key=lambda s: (s.sqnr, s.layer)))


def _outputs(model: ModelProto, data: CalibrationData) -> list[np.ndarray]:
    """What the numbers in a graph say, in floating point: no integer kernel has its say in this."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answers = [session.run(None, feed) for feed in data.feeds]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _compare(layer: str, found: list[np.ndarray], truth: list[np.ndarray]) -> Sensitivity:
    ratios, moved = [], 0.0
    for answer, wanted in zip(found, truth, strict=True):
        noise = float(np.square(answer.astype(np.float64) - wanted).sum())
        signal = float(np.square(wanted.astype(np.float64)).sum())
        ratios.append(min(CLEAN, 10 * np.log10(signal / noise)) if noise and signal else CLEAN)
        moved = max(moved, float((answer.argmax(-1) != wanted.argmax(-1)).mean()))
    return Sensitivity(layer, round(min(ratios), 2), round(100 * moved, 2))
