"""INT8 inside the accuracy budget, beside other quantizers at their own defaults.

    python -m benchmarks quantization

The trained Perceiver, alone and with outlier channels (`benchmarks/outliers.py`), at every point:
what Elastiq's INT8 costs in accuracy on 4,000 test samples, and what plain min-max and the peers'
defaults cost. Then speed at a realistic scale, one thread, ONNX Runtime. Peers that are not
installed here run in the environment that $ELASTIQ_PEERS names, or are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks import peers
from benchmarks.harness import Figure, at_least, at_most, interleaved, store
from compiler import source
from compiler.passes.budget import Spending, keep_to_budget
from compiler.passes.compile import BuiltEngine, compile
from compiler.passes.profile import example
from compiler.passes.quantize import calibration, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import Verified, verify
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq.records import Graph
from targets import graphs
from zoo import digits

EASY, HARD, LARGE = "zoo.perceiver:model", "benchmarks.outliers:model", "zoo.perceiver:realistic"
SAMPLES, LARGE_SAMPLES = 128, 8
SPENDING = Spending(drop=0.5, seconds=600.0, samples=SAMPLES, threads=1)
ROUNDS = 15
SAME = 1.05  # two builds of the same speed differ by as much as this
PEERS = os.environ.get("ELASTIQ_PEERS", "")


def run() -> list[Figure]:
    kept, progress = store(), Progress(60)
    figures = []
    for spec in (EASY, HARD):
        figures += _accuracy(source.load(spec), spec == HARD, kept, progress)
    return figures + _speed(source.load(LARGE), kept, progress)


def _accuracy(model: SourceModel, hard: bool, kept: Store, progress: Progress) -> list[Figure]:
    fp32 = trace(model, model.points, kept, progress)
    ours = _engines(model, quantize(model, fp32, "portable", SAMPLES, kept, progress), kept)
    ours = keep_to_budget(model, ours, SPENDING, kept, progress)
    minmax = quantize(model, fp32, "portable", SAMPLES, kept, progress, "minmax", smooth=False)
    plain = _engines(model, minmax, kept)
    test = digits.test_set()
    figures = []
    for graph, mine, theirs in zip(fp32, ours, plain, strict=True):
        where = f"{model.name} {graph.point}"
        lost = at_least if hard else _shown
        note = f" ({mine.note.split(' (')[0]})" if mine.note else ""
        figures += [
            at_most(f"{where}: Elastiq{note}", mine.quality.drop, 0.5, "points"),
            Figure(f"{where}: half its 95 % interval", mine.quality.margin or 0.0, "points"),
            lost(f"{where}: plain min-max", theirs.quality.drop, 5.0, "points"),
        ]
        for name, answer in _peers(model, graph, SAMPLES).items():
            logits = np.concatenate([answer({"image": x[None].numpy()}) for x in test.image])
            score = float((logits.argmax(1) == test.label.numpy()).mean())
            lost_points = 100 * (mine.quality.reference_score - score)
            figures.append(Figure(f"{where}: {name}'s default", lost_points, "points"))
    return [*figures, _once(model.name, [v.variant.engines["main"].graph for v in ours])]


def _shown(name: str, value: float, _: float, unit: str) -> Figure:
    return Figure(name, value, unit)


def _engines(model: SourceModel, int8: tuple[Graph, ...], kept: Store) -> tuple[Verified, ...]:
    progress = Progress(len(int8) * 2)
    engines = compile(int8, ("onnxruntime",), kept, progress)
    return verify(model, engines, SPENDING.threads, kept, progress)


def _once(name: str, int8: list[Graph]) -> Figure:
    """How many times the INT8 weights of the largest point all points together store."""
    sizes: list[dict[str, int]] = [_int8_weights(graph) for graph in int8]
    together = {sha: size for found in sizes for sha, size in found.items()}
    largest = max(sum(found.values()) for found in sizes)
    return at_most(
        f"{name}: INT8 weights of all points", sum(together.values()) / largest, 1.5, "x of one"
    )


def _int8_weights(graph: Graph) -> dict[str, int]:
    model = onnx.load(graph.path, load_external_data=False)
    return {
        entry.value: (graph.weights / entry.value).stat().st_size
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _speed(model: SourceModel, kept: Store, progress: Progress) -> list[Figure]:
    fp32 = trace(model, model.points, kept, progress)
    int8 = quantize(model, fp32, "portable", LARGE_SAMPLES, kept, progress)
    figures = []
    for pair in zip(fp32, int8, strict=True):
        built = compile(pair, ("onnxruntime",), kept, progress)
        feed = example(pair[0].inputs)
        runs = {engine.graph.precision: _built(engine, feed) for engine in built}
        for name, answer in _peers(model, pair[0], LARGE_SAMPLES).items():
            runs[name] = lambda answer=answer, feed=feed: answer(feed)
        seconds = interleaved(runs, ROUNDS)
        where = f"{model.name} of 42 M, {pair[0].point}"
        ships = min(seconds["int8"], seconds["fp32"])
        figures += [
            Figure(f"{where}: fp32", 1000 * seconds["fp32"], "ms"),
            Figure(f"{where}: int8", 1000 * seconds["int8"], "ms"),
            at_least(f"{where}: int8 over fp32", seconds["fp32"] / seconds["int8"], 1.0, "x"),
            *(
                at_most(f"{where}: what ships, against {name}'s default", ships / s, SAME, "x")
                for name, s in seconds.items()
                if name in peers.PEERS
            ),
        ]
    return figures


def _built(engine: BuiltEngine, feed: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    loaded = engine.load(threads=1)
    return lambda: loaded(feed)["logits"]


def _peers(
    model: SourceModel, graph: Graph, samples: int
) -> dict[str, Callable[[dict[str, np.ndarray]], np.ndarray]]:
    """What each peer that can run here makes of a graph, loaded as its user would load it."""
    data = calibration(model.calibration(), graph, samples, model.spec)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(graphs.load(graph), folder / "in.onnx")
        arrays = {k: np.concatenate([f[k] for f in data.feeds]) for k in data.feeds[0]}
        np.savez(folder / "feeds.npz", **arrays)
        for peer in peers.PEERS:
            python = sys.executable if peer == "onnxruntime" else PEERS
            if python:
                out = folder / f"{peer}.onnx"
                command = [python, peers.__file__, peer, "in.onnx", "feeds.npz", str(out)]
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                found[peer] = _session(out)
    return found


def _session(path: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options)
    return lambda feed: np.asarray(session.run(["logits"], feed)[0])
