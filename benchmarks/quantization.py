"""INT8 inside the accuracy budget, beside other quantizers at their own defaults.

    python -m benchmarks quantization

The trained Perceiver, alone and with outlier channels (`benchmarks/outliers.py`), at every point:
what Elastiq's INT8 costs in accuracy on 4,000 test samples, and what plain min-max costs; at the
cheapest and the costliest point also what the peers' defaults cost. Then speed at a realistic
scale, on one thread, at the costliest point beside the peers. Peers run in ONNX Runtime.

Peers that do not fit into one environment have their own, as folders of `$ELASTIQ_PEERS`; those
that are not there are left out:

    python -m venv peers/nncf
    peers/nncf/bin/pip install nncf==3.4.0 onnx==1.23.2
    python -m venv peers/olive
    peers/olive/bin/pip install olive-ai==0.13.0 onnxruntime==1.31.1 requests
    OLIVE_DISABLE_TELEMETRY=1 ELASTIQ_PEERS=$PWD/peers python -m benchmarks quantization

NNCF's bias correction is off, since it fails on these graphs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from benchmarks import peers
from benchmarks.harness import Figure, at_least, at_most, interleaved, store
from calibration.data import CalibrationData, prepare
from compiler import source
from compiler.passes.budget import Spending, keep_to_budget
from compiler.passes.compile import BuiltEngine, compile
from compiler.passes.profile import example
from compiler.passes.quantize import Method, quantize
from compiler.passes.trace import trace
from compiler.passes.verify import Recorder, Verified, verify
from compiler.progress import Progress
from compiler.source import SourceModel
from compiler.store import Store
from elastiq.protocols import Arrays
from elastiq.records import Graph
from targets import graphs

EASY, HARD, LARGE = "zoo.perceiver:model", "benchmarks.outliers:model", "zoo.perceiver:realistic"
SAMPLES, LARGE_SAMPLES = 128, 8
MINMAX = Method(ranges="minmax", smooth=False, samples=SAMPLES)
SPENDING = Spending(drop=0.5, seconds=600.0, threads=1)
SPEED_UP = {"onnxruntime": 1.0}  # of INT8 over FP32, the least that each backend must reach
ROUNDS = 15
SAME = 1.05  # two measurements of one engine differ by as much as this
PEERS = os.environ.get("ELASTIQ_PEERS", "")

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
    int8 = quantize(model, fp32, batches, Method(samples=SAMPLES), kept, progress)
    ours = keep_to_budget(
        model, _verified(model, int8, kept, progress), batches, SPENDING, kept, progress
    )
    plain = quantize(model, fp32, batches, MINMAX, kept, progress)
    minmax = _verified(model, plain, kept, progress)
    figures = []
    for graph, mine, theirs in zip(fp32, ours, minmax, strict=True):
        where = f"{model.name} {graph.point}"
        back = f", {mine.note.split(' (')[0]}" if mine.note else ""
        figures.append(at_most(f"{where}: Elastiq{back}", mine.quality.drop, 0.5, "points"))
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


def _verified(
    model: SourceModel, int8: tuple[Graph, ...], kept: Store, progress: Progress
) -> tuple[Verified, ...]:
    engines = compile(int8, ("onnxruntime",), kept, progress)
    return verify(model, engines, SPENDING.threads, kept, progress)


def _score(model: SourceModel, made: Path, kept: Store) -> tuple[float, bool]:
    """What the task metric says of a peer's graph."""

    def make(folder: Path) -> None:
        score = float(model.evaluate(Recorder(_session(made))).mean())
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
    batches = model.calibration(LARGE_SAMPLES)
    int8 = quantize(model, fp32, batches, Method(samples=LARGE_SAMPLES), kept, progress)
    figures = []
    for pair in zip(fp32, int8, strict=True):
        graph = pair[0]
        feed = example(graph.inputs)
        ours = {
            f"{engine.backend} {engine.graph.precision}": _engine(engine)
            for engine in compile(pair, tuple(SPEED_UP), kept, progress)
        }
        theirs = {}
        if graph is fp32[-1]:
            data = prepare(batches, graph.inputs, LARGE_SAMPLES, model.spec)
            theirs = {name: _session(made) for name, made in _peers(graph, data, kept, progress)}
        with progress.task(f"measure {graph.point}"):
            seconds = interleaved(
                {name: partial(answer, feed) for name, answer in (ours | theirs).items()}, ROUNDS
            )
        figures += _speeds(f"42 M parameters, {graph.point}", seconds, list(ours), list(theirs))
    return figures


def _speeds(
    where: str, seconds: dict[str, float], ours: list[str], theirs: list[str]
) -> list[Figure]:
    ships = min(seconds[name] for name in ours)
    return [
        *(Figure(f"{where}: {name}", 1000 * seconds[name], "ms") for name in ours),
        *(
            at_least(
                f"{where}: INT8 over FP32 in {backend}",
                seconds[f"{backend} fp32"] / seconds[f"{backend} int8"],
                goal,
                "x",
            )
            for backend, goal in SPEED_UP.items()
        ),
        *(
            at_most(f"{where}: what ships, against {n}'s default", ships / seconds[n], SAME, "x")
            for n in theirs
        ),
    ]


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
        python = Path(PEERS, environment, "bin", "python") if environment else Path(sys.executable)
        if environment and not (PEERS and python.exists()):
            continue
        with progress.task(f"{name} {graph.point}") as task:
            inputs = {
                "peer": name,
                "graph": graph.path.parent.name,
                "calibration": data.digest,
                "code": Path(peers.__file__).read_text(),
            }
            make = partial(_quantized_by, name, str(python.absolute()), graph, data)
            made, task.cached = kept.produce("peer", inputs, make)
        yield f"{name} {(made / 'version').read_text()}", made


def _quantized_by(
    name: str, python: str, graph: Graph, data: CalibrationData, folder: Path
) -> None:
    with tempfile.TemporaryDirectory() as work:
        onnx.save(graphs.load(graph), Path(work, "in.onnx"))
        arrays = {k: np.concatenate([feed[k] for feed in data.feeds]) for k in data.feeds[0]}
        np.savez(Path(work, "feeds.npz"), **arrays)
        command = [python, peers.__file__, name, "in.onnx", "feeds.npz", "out.onnx"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} fails: {done.stderr}")
        onnx.save(onnx.load(Path(work, "out.onnx")), folder / "int8.onnx")
    (folder / "version").write_text(done.stdout.split()[-1])
