"""Quantize: FP32 graphs become INT8 ones, inside the ranges that calibration data shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from calibration import ranges, recipes, smoothing, sources
from calibration.data import Batch, CalibrationData
from calibration.smoothing import Channels
from compiler.passes import trace
from compiler.passes.feed import Feeds
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq import arrays, digest
from elastiq.records import Graph, TensorSpec
from targets import graphs

CHANNELS = "channels.npz"
TOOLS = {tool: version(tool) for tool in ("onnx", "onnxruntime")}
REVISION = 6  # of what this pass makes from the same inputs
TWIN = "twin"  # the folder of the graph as it was before its layers were quantized


@dataclass(frozen=True)
class Method:
    """How to quantize."""

    recipe: str = "portable"
    ranges: str = ranges.DEFAULT
    smooth: bool = True
    samples: int = 128


def read_batches(model: SourceModel, path: str, samples: int) -> list[Batch]:
    """The batches to calibrate on: from a file or folder if one is named, else the model's own."""
    given = model.data_config
    how = None if given is None else sources.Preprocessing.of(given)
    inputs = _inputs(model)
    batches = sources.read(Path(path), inputs, samples, how) if path else model.calibration(samples)
    if how:
        for batch in batches:
            sources.check_range(batch, inputs, how, path or model.spec)
    return batches


def quantize(
    traced: tuple[Graph, ...],
    feeds: Feeds,
    method: Method,
    store: Store,
    progress: Progress,
) -> tuple[Graph, ...]:
    """One INT8 graph for each FP32 graph."""
    once = {graph.path: graph for graph in reversed(traced)}  # one may stand at several points
    seen = {graph: feeds.of(graph, method.samples) for graph in reversed(once.values())}
    shifts = _shifts(seen, store, progress) if method.smooth else {}
    made: dict[Path, Path] = {}
    for graph, data in seen.items():
        by = shifts.get(graph, {})
        with progress.task(f"quantize {graph.point} {graph.stage}") as task:
            inputs = {
                "graph": graph.path.parent.name,
                "calibration": data.digest,
                "recipe": asdict(recipes.recipe(method.recipe)),
                "ranges": method.ranges,
                "shifts": {name: shift.tolist() for name, shift in by.items()},
                "revision": REVISION,
                "tools": TOOLS,
            }
            make = partial(_quantize, graph, data, method, by)
            entry, task.cached = store.produce("quantize", inputs, make)
        made[graph.path] = entry / trace.FILE
    return tuple(replace(graph, precision="int8", path=made[graph.path]) for graph in traced)


def twin(graph: Graph) -> Graph:
    """What an INT8 graph was before its layers were quantized: where they are given back from."""
    path = graph.path.parent / TWIN / trace.FILE
    return replace(graph, precision="fp32", path=path)


def _inputs(model: SourceModel) -> tuple[TensorSpec, ...]:
    """What the model takes from outside."""
    return model.request(model.points[0])


def _shifts(
    seen: Mapping[Graph, CalibrationData], store: Store, progress: Progress
) -> dict[Graph, Channels]:
    """By how much each graph's outlier channels are shifted: the same wherever a layer stands."""
    found: dict[Graph, Channels] = {}
    for graph, data in seen.items():
        with progress.task(f"smooth {graph.point} {graph.stage}") as task:
            inputs = {"graph": graph.path.parent.name, "calibration": data.digest, "tools": TOOLS}
            make = partial(_channels, graph, data)
            entry, task.cached = store.produce("channels", inputs, make)
        found[graph] = arrays.load(entry / CHANNELS)
    shared = smoothing.shifts(
        {_layer(pair): pair for pair in one.values()} for one in found.values()
    )
    return {
        graph: {name: shared[_layer(pair)] for name, pair in one.items()}
        for graph, one in found.items()
    }


def _layer(channels: np.ndarray) -> str:
    """A layer by its weights: another stage may know it, or another one, by the same name."""
    _, weights = channels
    return digest.of_bytes(weights.tobytes())


def _channels(graph: Graph, data: CalibrationData, folder: Path) -> None:
    arrays.save(folder / CHANNELS, smoothing.channels(graphs.load(graph), data))


def _quantize(
    graph: Graph, data: CalibrationData, method: Method, by: Channels, folder: Path
) -> None:
    recipe = recipes.recipe(method.recipe)
    original = smoothing.smooth(graphs.load(graph), by)
    model = recipe.quantize(original, data, method.ranges)
    (folder / TWIN).mkdir()
    graphs.save(recipe.rest(original), folder / TWIN / trace.FILE, graph.weights)
    graphs.save(model, folder / trace.FILE, graph.weights)
    trace.write_signature(folder, graph.inputs, graph.outputs)
