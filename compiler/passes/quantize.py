"""Quantize: FP32 graphs become INT8 ones, calibrated on the model's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from calibration import data, recipes
from calibration.data import Batch, CalibrationData
from compiler.passes import trace
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq.records import Graph
from targets import graphs

REVISION = 2  # of what this pass makes from the same inputs
TWIN = "twin"  # the folder of the graph as it was before its layers were quantized


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
            feeds = calibration(batches, graph, samples, where)
            inputs = {
                "graph": graph.path.parent.name,
                "calibration": feeds.digest,
                "recipe": recipe,
                "revision": REVISION,
                "tools": {tool: version(tool) for tool in ("onnx", "onnxruntime")},
            }
            entry, task.cached = store.produce(
                "quantize",
                inputs,
                partial(_quantize, graph, feeds, recipe),
            )
        quantized.append(replace(graph, precision="int8", path=entry / trace.FILE))
    return tuple(quantized)


def calibration(
    batches: Sequence[Batch], graph: Graph, samples: int, where: str
) -> CalibrationData:
    """The calibration data as a graph takes it."""
    return data.prepare(batches, graph.inputs, samples, where)


def twin(graph: Graph) -> Graph:
    """What an INT8 graph was before its layers were quantized: where they are given back from."""
    path = graph.path.parent / TWIN / trace.FILE
    return replace(graph, precision="fp32", path=path)


def _quantize(graph: Graph, calibration: CalibrationData, recipe: str, folder: Path) -> None:
    model = recipes.recipe(recipe)(graphs.load(graph), calibration)
    graphs.save(model, folder / trace.FILE, graph.weights)
    (folder / TWIN).mkdir()
    graphs.save(graphs.load(graph), folder / TWIN / trace.FILE, graph.weights)
    trace.write_signature(folder, graph.inputs, graph.outputs)
