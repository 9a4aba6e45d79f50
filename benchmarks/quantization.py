"""INT8 inside the accuracy budget, beside other quantizers at their own defaults.

    python -m benchmarks quantization

The trained Perceiver, alone and with outlier channels (`benchmarks/outliers.py`), at every point:
what Elastiq's INT8 costs in accuracy on 4,000 test samples, and what plain min-max costs; at the
cheapest and the costliest point also what the peers' defaults cost.

Then speed and error (relative L2 of the outputs against FP32) at a realistic scale, on one thread,
of the recipe that a build takes and of the portable one; at the costliest point beside the peers.

Peers run in ONNX Runtime as its defaults are. Those that do not fit into one environment have their
own, which the first run makes, in `$ELASTIQ_PEERS` or in the store. NNCF's bias correction is off,
since it fails on these graphs.

The goals of speed are meant for CPUs with VNNI, where one instruction does what takes three without
it (no `vnni` among the flags), so that INT8 gains less there. The fast kernels without it also
saturate: with weights of 8 bits answers are right only through slower ones, which Elastiq's engines
of the portable recipe ask for. The peers' sessions do not, which is part of their errors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks import environments, peers
from benchmarks.harness import Figure, at_least, at_most, interleaved, store
from calibration.data import CalibrationData, prepare
from compiler import source
from compiler.answering import in_turn
from compiler.passes.budget import Spending, keep_to_budget
from compiler.passes.compile import BuiltEngine, compile
from compiler.passes.feed import Feeds
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import Recorder, Verified, verify
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq.footprint import example
from elastiq.protocols import Arrays
from elastiq.records import Graph
from targets import graphs
from targets.devices import target

EASY, HARD, LARGE = "zoo.perceiver:model", "benchmarks.outliers:model", "zoo.perceiver:realistic"
SAMPLES, LARGE_SAMPLES = 128, 8
RECIPE, PORTABLE = target("cpu-x86").recipe, "portable"
MINMAX = Method(ranges="minmax", smooth=False, samples=SAMPLES)
SPENDING = Spending(drop=0.5, seconds=3600.0, threads=1)
SPEED_UP = {"onnxruntime": 1.0, "openvino": 2.5}  # of INT8 over FP32, the least of each backend
LAST_SPEED_UP = {"onnxruntime": 2.0}  # the same at the costliest point
ROUNDS = 15
SAME = 1.05  # two measurements of one engine differ by as much as this

Answer = Callable[[Arrays], dict[str, np.ndarray]]


def run() -> list[Figure]:
    kept = store()
    figures = []
    with Progress(200) as progress:
        for spec in (EASY, HARD):
            figures += _accuracy(source.load(spec), spec == HARD, kept, progress)
        return figures + _speed(source.load(LARGE), kept, progress)


def _accuracy(model: SourceModel, hard: bool, kept: Store, progress: Progress) -> list[Figure]:
    fp32 = trace(model, model.points, kept, progress)
    batches = model.calibration(SAMPLES)
    feeds = Feeds(model, batches, SAMPLES)
    int8 = quantize(fp32, feeds, Method(RECIPE, samples=SAMPLES), kept, progress)
    ours = keep_to_budget(
        model, verified(model, int8, kept, progress), feeds, SPENDING, kept, progress
    )
    plain = quantize(fp32, feeds, MINMAX, kept, progress)
    minmax = verified(model, plain, kept, progress)
    figures = []
    for graph, mine, theirs in zip(fp32, ours, minmax, strict=True):
        where = f"{model.name} {graph.point}"
        back = f", {mine.note.split(' (')[0]}" if mine.note else ""
        figures.append(
            at_most(f"{where}: Elastiq{back}", round(mine.quality.drop, 6), 0.5, "points")
        )
        figures.append(
            Figure(f"{where}: half its 95 % interval", mine.quality.margin or 0.0, "points")
        )
        name = f"{where}: plain min-max"
        drop = theirs.quality.drop
        figures.append(
            at_least(name, drop, 5.0, "points") if hard else Figure(name, drop, "points")
        )
        if graph not in (fp32[0], fp32[-1]):
            continue
        data = prepare(batches, graph.inputs, SAMPLES, where)
        for name, made in _peers(graph, data, kept, progress):
            with progress.task(f"score {where}, {name}") as task:
                score, task.cached = _score(model, made, kept)
            lost = 100 * (mine.quality.reference_score - score)
            figures.append(Figure(f"{where}: {name}'s default", lost, "points"))
    return [*figures, _once(model.name, [v.variant.engines["main"].graph for v in ours])]


def verified(
    model: SourceModel, int8: tuple[Graph, ...], kept: Store, progress: Progress
) -> tuple[Verified, ...]:
    """INT8 graphs as ONNX Runtime's engines, held against the model."""
    engines = compile(int8, ("onnxruntime",), kept, progress).engines
    return verify(model, engines, SPENDING.threads, kept, progress).verified


def _score(model: SourceModel, made: Path, kept: Store) -> tuple[float, bool]:
    """What the task metric says of a peer's graph."""

    def make(folder: Path) -> None:
        session = _session(made)
        recorder = Recorder(partial(in_turn, lambda requests: [session(one) for one in requests]))
        score = float(model.evaluate(recorder).mean())
        (folder / "score.json").write_text(json.dumps(score))

    entry, cached = kept.produce("peer-score", {"model": model.digest, "made": made.name}, make)
    return json.loads((entry / "score.json").read_text()), cached


def _once(name: str, int8: list[Graph]) -> Figure:
    """How many times the INT8 weights of the largest point all points together store."""
    sizes = [_int8_weights(graph) for graph in int8]
    together = {sha: size for found in sizes for sha, size in found.items()}
    largest = max(sum(found.values()) for found in sizes)
    ratio = sum(together.values()) / largest
    return at_most(f"{name}: INT8 weights of all points", ratio, 1.0, "x of one")


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
    feeds = Feeds(model, model.calibration(LARGE_SAMPLES), LARGE_SAMPLES)
    by = {
        recipe: quantize(fp32, feeds, Method(recipe, samples=LARGE_SAMPLES), kept, progress)
        for recipe in (RECIPE, PORTABLE)
    }
    figures = []
    for place, graph in enumerate(fp32):
        made = {"fp32": graph} | {f"int8 {recipe}": by[recipe][place] for recipe in by}
        runs = {
            f"{engine.backend} {name}": _engine(engine)
            for name, one in made.items()
            for engine in compile((one,), tuple(SPEED_UP), kept, progress).engines
        }
        last = graph is fp32[-1]
        theirs = {}
        if last:
            data = feeds.of(graph, LARGE_SAMPLES)
            theirs = {name: _session(made) for name, made in _peers(graph, data, kept, progress)}
        with progress.task(f"measure {graph.point}"):
            measured = _measured(runs | theirs, example(graph.inputs))
        goals = SPEED_UP | (LAST_SPEED_UP if last else {})
        figures += _speeds(f"42 M parameters, {graph.point}", measured, goals, list(theirs))
    return figures


@dataclass(frozen=True)
class Measured:
    """What answers took, and by how much they differ from ONNX Runtime's in FP32."""

    seconds: float
    error: float


def _measured(runs: dict[str, Answer], feed: Arrays) -> dict[str, Measured]:
    seconds = interleaved({name: partial(run, feed) for name, run in runs.items()}, ROUNDS)
    (truth,) = runs["onnxruntime fp32"](feed).values()

    def error(run: Answer) -> float:
        (answer,) = run(feed).values()
        return float(np.linalg.norm(answer - truth) / np.linalg.norm(truth))

    return {name: Measured(seconds[name], error(run)) for name, run in runs.items()}


def _speeds(
    where: str, measured: dict[str, Measured], goals: dict[str, float], theirs: list[str]
) -> list[Figure]:
    candidates = [f"{backend} {kind}" for backend in goals for kind in ("fp32", f"int8 {RECIPE}")]
    ships = min(measured[name].seconds for name in candidates)
    figures = []
    for name, found in measured.items():
        figures.append(Figure(f"{where}: {name}", 1000 * found.seconds, "ms"))
        if not name.endswith("fp32"):
            figures.append(Figure(f"{where}: {name}, error", found.error, "rel. L2"))
    for backend, goal in goals.items():
        gain = measured[f"{backend} fp32"].seconds / measured[f"{backend} int8 {RECIPE}"].seconds
        figures.append(at_least(f"{where}: INT8 over FP32 in {backend}", gain, goal, "x"))
    for name in theirs:
        ratio = ships / measured[name].seconds
        figures.append(at_most(f"{where}: what ships, against {name}", ratio, SAME, "x"))
    return figures


def _engine(engine: BuiltEngine) -> Answer:
    loaded = engine.load(threads=1)
    return lambda feed: dict(loaded(feed))


def _session(path: Path) -> Answer:
    """A peer's graph, as its user would run it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path / "int8.onnx", options)
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(names, dict(feed)), strict=True))


def _peers(
    graph: Graph, data: CalibrationData, kept: Store, progress: Progress
) -> Iterator[tuple[str, Path]]:
    """What each peer that is here makes of a graph, by its name and version."""
    for name, (environment, _, _) in peers.PEERS.items():
        python = environments.python(environment) if environment else Path(sys.executable)
        if python is None:
            continue
        with progress.task(f"{name} {graph.point}") as task:
            inputs = {
                "peer": name,
                "graph": graph.path.parent.name,
                "calibration": data.digest,
                "code": Path(peers.__file__).read_text(),
            }
            make = partial(_quantized_by, name, python, graph, data)
            made, task.cached = kept.produce("peer", inputs, make)
        yield f"{name} {(made / 'version').read_text()}", made


def _quantized_by(
    name: str, python: Path, graph: Graph, data: CalibrationData, folder: Path
) -> None:
    with tempfile.TemporaryDirectory() as work:
        onnx.save(graphs.load(graph), Path(work, "in.onnx"))
        arrays = {k: np.concatenate([feed[k] for feed in data.feeds]) for k in data.feeds[0]}
        np.savez(Path(work, "feeds.npz"), **arrays)
        command = [python, peers.__file__, name, "in.onnx", "feeds.npz", "out.onnx"]
        silent = os.environ | {"OLIVE_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(command, cwd=work, env=silent, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} fails: {done.stderr}")
        onnx.save(onnx.load(Path(work, "out.onnx")), folder / "int8.onnx")
    (folder / "version").write_text(done.stdout.split()[-1])
