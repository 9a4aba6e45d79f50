"""INT8 beside FP32 at a realistic scale: what Elastiq builds, and what a user would do instead.

    python -m benchmarks precision

A Perceiver of 42 M parameters (224 x 224, dim 512, 12 layers, random weights), one thread, ONNX
Runtime. `plain` is a graph given to ONNX Runtime as it is: for INT8 that is the portable graph,
in the form that its own quantizer writes. With random weights the accuracy budget says nothing, so
the choice between the precisions is by speed alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from benchmarks.harness import Figure, at_least, at_most, interleaved
from benchmarks.making import made
from compiler.passes.compile import BuiltEngine
from elastiq.footprint import example
from elastiq.records import Graph
from targets import graphs

SETTINGS = {
    "model": "zoo.perceiver:realistic",
    "backends": ("onnxruntime",),
    "calibration_samples": 8,
    "accuracy_drop": 1000.0,
    "loads": (0.0,),
}
ROUNDS = 15
SAME = 1.05  # two measurements of one engine differ by as much as this


def run() -> list[Figure]:
    built = made(SETTINGS)
    assert built.choices is not None
    figures = []
    for point, choice in built.choices.items():
        engines = {e.graph.precision: e for e in built.engines if e.graph.point.name == point}
        figures += _at(point, engines, choice.candidate.precision)
    return figures


def _at(point: str, engines: dict[str, BuiltEngine], chosen: str) -> list[Figure]:
    feed = example(engines["fp32"].graph.inputs)
    runs = {precision: _engine(built, feed) for precision, built in engines.items()}
    runs |= {f"plain {p}": _session(built.graph, feed) for p, built in engines.items()}
    seconds = interleaved(runs, ROUNDS)
    answers = {name: run() for name, run in runs.items()}
    error = np.linalg.norm(answers["int8"] - answers["fp32"]) / np.linalg.norm(answers["fp32"])
    ratio = seconds[chosen] / min(seconds.values())
    return [
        *(Figure(f"{point}: {name}", 1000 * taken, "ms") for name, taken in seconds.items()),
        at_least(f"{point}: int8 speed-up", seconds["fp32"] / seconds["int8"], 1.0, "x"),
        at_most(f"{point}: {chosen}, which ships, against the fastest", ratio, SAME, "x"),
        Figure(f"{point}: int8 error", float(error), "rel. L2"),
    ]


def _engine(built: BuiltEngine, feed: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    engine = built.load(threads=1)
    return lambda: engine(feed)["logits"]


def _session(graph: Graph, feed: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    """The graph as a user would run it: ONNX Runtime's defaults, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graphs.load(graph).SerializeToString(), options)
    return lambda: np.asarray(session.run(["logits"], feed)[0])
