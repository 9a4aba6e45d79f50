"""ONNX Runtime for CPUs: graphs optimised ahead of time, INT8 as integer products."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from elastiq.records import Graph
from elastiq.runners.onnxruntime import FILE
from targets.tools import tools

name = "onnxruntime"
runner = "onnxruntime"
precisions = frozenset({"fp32", "fp16", "int8"})
on_device = False
joins = False
integer_products = True

TOOLS = {"onnxruntime": ("1.23", "2"), "onnxscript": ("0.5", "1")}
REVISION = 2  # of what is made of the same graph


@dataclass(frozen=True)
class Settings:
    """None."""


def toolchain() -> str:
    return f"{tools(TOOLS, 'compile')}, revision {REVISION}"


def build(graph: Graph, out: Path, settings: Settings) -> None:
    import onnx
    import onnxruntime

    from targets import graphs, half, vnni
    from targets.refusal import refusal

    original = model = graphs.load(graph)
    if graph.precision == "int8":
        model = vnni.lower(model)
    elif graph.precision == "fp16":
        model = half.lower(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # No hardware layouts yet: those are the device's own, and the runner's session adds them.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / FILE
        options.optimized_model_filepath = str(optimised)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as e:  # the runtime's own errors share no base class
            raise refusal("ONNX Runtime", graph, original, e) from e
        graphs.save(onnx.load(optimised), out / FILE, graph.weights)
