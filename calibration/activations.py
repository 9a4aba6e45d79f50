"""What flows inside a graph on the calibration data, one feed at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto

from calibration.data import CalibrationData


def outputs(
    model: ModelProto, names: Sequence[str], data: CalibrationData
) -> Iterator[list[np.ndarray]]:
    """The values of these names, for each feed; only one feed's are held in memory."""
    if not names:
        return
    open_graph = ModelProto()
    open_graph.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    open_graph.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name)
        for name in dict.fromkeys(names)
        if name not in known
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        open_graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for feed in data.feeds:
        yield session.run(list(names), feed)
