"""Quantize: FP32 graphs become INT8 ones, calibrated on the model's own data."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from calibration import data, recipes, smoothing
from calibration.data import Batch, CalibrationData
from calibration.ranges import DEFAULT
from calibration.smoothing import Channels
from compiler.passes import trace
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq import arrays
from elastiq.records import Graph
from targets import graphs

CHANNELS = "channels.npz"
TOOLS = {tool: version(tool) for tool in ("onnx", "onnxruntime")}
REVISION = 3  # of what this pass makes from the same inputs
TWIN = "twin"  # the folder of the graph as it was before its layers were quantized


def quantize(
    model: SourceModel,
    traced: tuple[Graph, ...],
    recipe: str,
    samples: int,
    store: Store,
    progress: Progress,
    ranges: str = DEFAULT,
    smooth: bool = True,
    batches: Sequence[Batch] | None = None,
) -> tuple[Graph, ...]:
    """One INT8 graph for each FP32 graph."""
    batches = model.calibration() if batches is None else batches
    seen = {}
    for graph in traced:
        where = f"{model.spec} at {graph.point}, stage {graph.stage!r}"
        seen[graph] = calibration(batches, graph, samples, where)
    shifts = _shifts(seen, store, progress) if smooth else {}
    quantized = []
    for graph, feeds in seen.items():
        by = shifts.get(graph, {})
        with progress.task(f"quantize {graph.point} {graph.stage}") as task:
            inputs = {
                "graph": graph.path.parent.name,
                "calibration": feeds.digest,
                "recipe": recipe,
                "ranges": ranges,
                "shifts": {name: shift.tolist() for name, shift in by.items()},
                "revision": REVISION,
                "tools": TOOLS,
            }
            make = partial(_quantize, graph, feeds, recipe, ranges, by)
            entry, task.cached = store.produce("quantize", inputs, make)
        quantized.append(replace(graph, precision="int8", path=entry / trace.FILE))
    return tuple(quantized)


def _shifts(
    seen: Mapping[Graph, CalibrationData], store: Store, progress: Progress
) -> dict[Graph, Channels]:
    """By how much each graph's outlier channels are shifted: the same at every point of a stage."""
    found: dict[Graph, Channels] = {}
    for graph, feeds in seen.items():
        with progress.task(f"smooth {graph.point} {graph.stage}") as task:
            inputs = {"graph": graph.path.parent.name, "calibration": feeds.digest, "tools": TOOLS}
            make = partial(_channels, graph, feeds)
            entry, task.cached = store.produce("channels", inputs, make)
        found[graph] = arrays.load(entry / CHANNELS)
    shared = {
        stage: smoothing.shifts(one for graph, one in found.items() if graph.stage == stage)
        for stage in {graph.stage for graph in found}
    }
    return {graph: {n: shared[graph.stage][n] for n in one} for graph, one in found.items()}


def _channels(graph: Graph, feeds: CalibrationData, folder: Path) -> None:
    arrays.save(folder / CHANNELS, smoothing.channels(graphs.load(graph), feeds))


def calibration(
    batches: Sequence[Batch], graph: Graph, samples: int, where: str
) -> CalibrationData:
    """The calibration data as a graph takes it."""
    return data.prepare(batches, graph.inputs, samples, where)


def twin(graph: Graph) -> Graph:
    """What an INT8 graph was before its layers were quantized: where they are given back from."""
    path = graph.path.parent / TWIN / trace.FILE
    return replace(graph, precision="fp32", path=path)


def _quantize(
    graph: Graph,
    feeds: CalibrationData,
    recipe: str,
    ranges: str,
    by: Channels,
    folder: Path,
) -> None:
    original = smoothing.smooth(graphs.load(graph), by)
    (folder / TWIN).mkdir()
    model = recipes.recipe(recipe)(copy.deepcopy(original), feeds, ranges)
    graphs.save(original, folder / TWIN / trace.FILE, graph.weights)
    graphs.save(model, folder / trace.FILE, graph.weights)
    trace.write_signature(folder, graph.inputs, graph.outputs)
