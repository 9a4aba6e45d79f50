"""What the knob buys: accuracy and latency of the trained Perceiver at each query count.

    python -m benchmarks elasticity

Beside it a control of the same size that was trained with all queries at every step, for as many
such steps as the nested model had, and truncated.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.harness import Figure, at_least, at_most, interleaved, store
from compiler import source
from compiler.passes.compile import compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import verify
from compiler.progress import Progress
from elastiq.footprint import example

MODEL = "zoo.perceiver:model"
CONTROL = Path(__file__).parent.parent / "zoo" / "checkpoints" / "perceiver-control.json"
ROUNDS = 200


def run() -> list[Figure]:
    kept, model = store(), source.load(MODEL)
    progress = Progress(6 * len(model.points))
    fp32 = trace(model, model.points, kept, progress)
    graphs = (*fp32, *quantize(fp32, Feeds(model, model.calibration()), Method(), kept, progress))
    engines = compile(graphs, ("onnxruntime",), kept, progress).engines
    quality = {
        v.variant.engines["main"].key: v.quality
        for v in verify(model, engines, 1, kept, progress).verified
    }
    runs = {}
    for built in engines:
        engine, feed = built.load(threads=1), example(built.graph.inputs)
        runs[built.key] = lambda engine=engine, feed=feed: engine(feed)
    seconds = interleaved(runs, ROUNDS)
    figures = []
    for key, found in quality.items():
        figures.append(Figure(f"{key}: score", 100 * found.score, "%"))
        figures.append(Figure(f"{key}: median", 1000 * seconds[key], "ms"))
        if key.endswith("int8"):
            figures.append(at_most(f"{key}: drop against torch", found.drop, 0.5, "points"))
    return figures + _knob({key: 100 * q.score for key, q in quality.items()}, seconds)


def _knob(score: dict[str, float], seconds: dict[str, float]) -> list[Figure]:
    def key(queries: int) -> str:
        return f"queries={queries}/main/onnxruntime/fp32"

    control = json.loads(CONTROL.read_text())["test_accuracy"]
    half = score[key(64)] - score[key(32)]
    lost = 100 * (control["queries=64"] - control["queries=32"])
    return [
        at_most("half the queries cost", half, 1.0, "points"),
        at_least("the fewest cost", score[key(64)] - score[key(4)], 3.0, "points"),
        at_least("they cost the truncated control more by", lost - half, 3.0, "points"),
        at_least("half the queries are faster by", seconds[key(64)] / seconds[key(32)], 1.5, "x"),
        Figure("the fewest are faster by", seconds[key(64)] / seconds[key(4)], "x"),
    ]
