"""Backends side by side at a realistic scale, each beside its vendor's own default path.

    python -m benchmarks backends

A Perceiver of 42 M parameters (224 x 224, dim 512, 12 layers, random weights), one thread. `plain`
is what a user gets who gives the ONNX graph to the runtime and asks for one thread: a session of
ONNX Runtime, `compile_model` of OpenVINO with a request whose tensors are set, as `benchmark_app`
does, and TVM's import and default pipeline, which is so slow that it takes one turn only. For INT8
the graph is the portable one. With random weights the accuracy budget says nothing, so what is kept
is kept for its speed alone; every engine that may be kept was verified against torch all the same,
while the plain ones were not: OpenVINO's own INT8 saturates on a CPU without VNNI.

Build times are those of the child processes, the first with their imports. TensorRT for RTX builds
one plan for all points, and cannot run here.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnxruntime
import openvino

from benchmarks.harness import Figure, at_most, interleaved
from benchmarks.making import made
from benchmarks.precision import SAME, SETTINGS
from compiler import pipeline
from compiler.passes.compile import BuiltEngine
from compiler.store import RECORD
from elastiq.footprint import example
from elastiq.records import Graph
from elastiq.runners.tvm import load_runtime
from targets import graphs

CPU = ("onnxruntime", "openvino", "tvm")
GPU = ("tensorrt_rtx",)
MORE = {"memory_loads": (0.0,), "profile_seconds": 1.0}
ROUNDS = 11
LOADS = 3
Feed = Mapping[str, np.ndarray]
Runs = dict[str, Callable[[], object]]


def run() -> list[Figure]:
    with _no_cache():
        engines = _built(CPU, "compile").engines
        choices = _built(CPU, "profile").choices
        assert choices is not None
        figures = []
        for point, choice in choices.items():
            there = [e for e in engines if e.graph.point.name == point]
            figures += _at(point, there, str(choice.candidate))
        others = _built(GPU, "compile").engines
        for name in (*CPU, *GPU):
            figures += _made(name, [e for e in (*engines, *others) if e.backend == name])
        figures += _loads([e for e in engines if e.backend == "openvino"])
    return figures


def _built(backends: tuple[str, ...], until: str) -> pipeline.Build:
    return made({**SETTINGS, **MORE, "backends": backends}, until)


@contextmanager
def _no_cache() -> Iterator[None]:
    """A device that kept nothing yet."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["ELASTIQ_CACHE"] = empty
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _at(point: str, engines: list[BuiltEngine], kept: str) -> list[Figure]:
    feed = example(engines[0].graph.inputs)
    ours = {f"{e.backend} {e.graph.precision}": _engine(e, feed) for e in engines}
    vendors, slow = Runs(), Runs()
    for graph in {e.graph.precision: e.graph for e in engines}.values():
        vendors[f"plain onnxruntime {graph.precision}"] = _plain_session(graph, feed)
        vendors[f"plain openvino {graph.precision}"] = _plain_model(graph, feed)
        slow[f"plain tvm {graph.precision}"] = _plain_library(graph, feed)
    vendors |= slow
    seconds = interleaved(ours | vendors, ROUNDS, slow)
    best = min(vendors, key=lambda name: seconds[name])
    ratio = seconds[kept] / seconds[best]
    return [
        *(Figure(f"{point}: {name}", 1000 * taken, "ms") for name, taken in seconds.items()),
        at_most(f"{point}: {kept}, which is kept, against {best}", ratio, SAME, "x"),
    ]


def _engine(built: BuiltEngine, feed: Feed) -> Callable[[], object]:
    engine = built.load(threads=1)
    return lambda: engine(feed)


def _plain_session(graph: Graph, feed: Feed) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graphs.load(graph).SerializeToString(), options)
    return lambda: session.run(None, feed)


def _plain_model(graph: Graph, feed: Feed) -> Callable[[], object]:
    core = openvino.Core()
    model = core.read_model(graphs.load(graph).SerializeToString())
    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    for name, array in feed.items():
        request.set_tensor(name, openvino.Tensor(array))
    return request.infer


def _plain_library(graph: Graph, feed: Feed) -> Callable[[], object]:
    tvm = load_runtime()
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v3"})
    library = tvm.compile(from_onnx(graphs.load(graph)), target)
    machine = relax.VirtualMachine(library, tvm.cpu())
    given = [tvm.runtime.tensor(array) for array in feed.values()]
    return lambda: machine["main"](*given)


def _made(name: str, engines: list[BuiltEngine]) -> list[Figure]:
    """What a backend's engines took to build, and what they take on disk, alone and together."""
    once = {e.folder: e for e in engines}.values()
    seconds = [json.loads((e.folder / RECORD).read_text())["seconds"] for e in once]
    figures = [Figure(f"{name}: build of {len(once)} engines", sum(seconds), "s")]
    for precision in ("fp32", "int8"):
        of = [e for e in once if e.graph.precision == precision]
        one = _size(of[:1])
        figures.append(Figure(f"{name} {precision}: size of one engine", one / 1e6, "MB"))
        times = _size(of) / one
        figures.append(Figure(f"{name} {precision}: size of {len(of)}, in ones", times, "x"))
    return figures


def _size(engines: list[BuiltEngine]) -> int:
    files = [p for e in engines for p in e.folder.iterdir() if p.name not in (RECORD, graphs.LIST)]
    weights = {e.graph.weights / name for e in engines for name in e.weights}
    return sum(path.stat().st_size for path in (*files, *weights))


def _loads(engines: list[BuiltEngine]) -> list[Figure]:
    """The first load of an engine on a device, and the next."""
    figures = []
    for built in (e for e in engines if e.graph.point.name == "queries=64"):
        taken: dict[str, list[float]] = {"cold": [], "warm": []}
        for _ in range(LOADS):
            with _no_cache():
                for times in taken.values():
                    start = time.perf_counter()
                    built.load(threads=1).close()
                    times.append(time.perf_counter() - start)
        for kind, times in taken.items():
            what = f"openvino {built.graph.precision}: {kind} load at queries=64"
            figures.append(Figure(what, float(np.median(times)), "s"))
    return figures
