"""INT8 beside FP32 at a realistic scale: what Elastiq builds, and what a user would do instead.

    python -m benchmarks precision

A Perceiver of 42 M parameters (224 x 224, dim 512, 12 layers, random weights), one thread, ONNX
Runtime. `portable` is the same INT8 graph given to ONNX Runtime as it is, which is what its own
quantizer's documentation leads to.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime

from benchmarks.harness import Figure, at_least, at_most, interleaved, store
from compiler import source
from compiler.passes.compile import BuiltEngine, compile
from compiler.passes.profile import example
from compiler.passes.quantize import quantize
from compiler.passes.trace import trace
from compiler.progress import Progress
from elastiq.records import Graph
from targets import graphs

MODEL = "zoo.perceiver:realistic"
ROUNDS = 15
CALIBRATION = 8
SAME = 1.05  # two builds of the same speed differ by as much as this


def run() -> list[Figure]:
    kept = store()
    model = source.load(MODEL)
    progress = Progress(4 * len(model.points))
    fp32 = trace(model, model.points, kept, progress)
    int8 = quantize(model, fp32, "portable", CALIBRATION, kept, progress)
    engines = {
        engine.key: engine for engine in compile((*fp32, *int8), ("onnxruntime",), kept, progress)
    }
    figures = []
    for graph, lowered in zip(fp32, int8, strict=True):
        figures += _at(graph, lowered, engines)
    return figures


def _at(fp32: Graph, int8: Graph, engines: dict[str, BuiltEngine]) -> list[Figure]:
    ours = {e.graph.precision: e for e in engines.values() if e.graph.point == fp32.point}
    feed = example(fp32.inputs)
    runs = {precision: _engine(built, feed) for precision, built in ours.items()}
    runs["plain fp32"] = _session(fp32, feed)
    runs["plain int8"] = _session(int8, feed)
    seconds = interleaved(runs, ROUNDS)
    answers = {name: np.asarray(run()) for name, run in runs.items()}
    error = np.linalg.norm(answers["int8"] - answers["fp32"]) / np.linalg.norm(answers["fp32"])
    point = fp32.point.name
    fastest = min(seconds["plain fp32"], seconds["plain int8"])
    shipped = min(seconds["int8"], seconds["fp32"])
    return [
        *(Figure(f"{point}: {name}", 1000 * s, "ms") for name, s in seconds.items()),
        at_least(
            f"{point}: int8 speed-up over our fp32", seconds["fp32"] / seconds["int8"], 1.0, "x"
        ),
        at_most(f"{point}: what ships, against the faster plain one", shipped / fastest, SAME, "x"),
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
