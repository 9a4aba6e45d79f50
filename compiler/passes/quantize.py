"""Quantize: FP32 graphs become INT8 ones, calibrated on the model's own data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from calibration import data, recipes
from compiler.passes import trace
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq.records import Graph
from targets import graphs


def quantize(
    model: SourceModel,
    traced: tuple[Graph, ...],
    recipe: str,
    samples: int,
    store: Store,
    progress: Progress,
) -> tuple[Graph, ...]:
    """One INT8 graph for each FP32 graph."""
    batches = model.calibration()
    quantized = []
    for graph in traced:
        with progress.task(f"quantize {graph.point} {graph.stage}") as task:
            where = f"{model.spec} at {graph.point}, stage {graph.stage!r}"
            calibration = data.prepare(batches, graph.inputs, samples, where)
            inputs = {
                "graph": graph.path.parent.name,
                "calibration": calibration.digest,
                "recipe": recipe,
                "tools": {tool: version(tool) for tool in ("onnx", "onnxruntime")},
            }
            entry, task.cached = store.produce(
                "quantize",
                inputs,
                partial(_quantize, graph, calibration, recipe),
            )
        quantized.append(replace(graph, precision="int8", path=entry / trace.FILE))
    return tuple(quantized)


def _quantize(graph: Graph, calibration: data.CalibrationData, recipe: str, folder: Path) -> None:
    model = recipes.recipe(recipe)(graphs.load(graph), calibration)
    graphs.save(model, folder / trace.FILE, graph.weights)
    trace.write_signature(folder, graph.inputs, graph.outputs)
