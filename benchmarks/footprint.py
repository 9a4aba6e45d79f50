"""Five engines of one model, beside the naive way: one ONNX Runtime session per file.

    python -m benchmarks footprint

A Perceiver of 42 M parameters at five query counts, one thread; one bundle per precision. `naive`
opens the same graphs, each with its weights inside, with ONNX Runtime's defaults, one after another
where a bundle opens them on all cores. Memory is what a fresh process grows by after opening and
running; PSS counts a page that is mapped several times once, RSS each time. Every figure is the
median of fresh processes, in turns; latencies are taken in turns in one process. The device's cache
is filled before, but for `nothing cached`.

OpenVINO packs the weights of each model for itself, and TVM prepares those of each library. `alone`
is that, engine by engine; beside it the bundle, whose engines by OpenVINO become one model of as
many branches once the second is opened, and by TVM have prepared weights in common.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import elastiq
from benchmarks.harness import Figure, at_most, interleaved, store
from benchmarks.making import made
from elastiq.bundle import SAMPLES, WEIGHTS, Bundle
from elastiq.protocols import Arrays
from elastiq.runners.onnxruntime import FILE, exact

SETTINGS = {
    "model": "zoo.perceiver:realistic",
    "calibration_samples": 8,
    "accuracy_drop": 1000.0,
    "loads": (0.0,),
    "memory_loads": (0.0,),
    "profile_seconds": 0.3,
    "backends": ("onnxruntime",),
}
PROCESSES = 5
PAIRS = 15
ROUNDS = 31  # at least, and
SECONDS = 2.0  # of runs in turns: three hundredths are to be told apart
IDLE = 10.0  # seconds
PAUSES = 2  # in each process
AFTER = 9  # runs that tell what is steady just then, for the machine drifts within a minute
SHIFTS = 10_000
Call = Callable[[Arrays], Any]


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(dir=store().root) as folder:
        os.environ["ELASTIQ_CACHE"] = str(Path(folder) / "cache")
        for precision in ("fp32", "int8"):
            place = Path(folder) / precision
            place.mkdir()
            _build(place, SETTINGS | {"precisions": (precision,)})
            figures += [_named(precision, figure) for figure in _figures(place)]
        for name in ("openvino", "tvm"):
            place = Path(folder) / name
            place.mkdir()
            _build(place, SETTINGS | {"precisions": ("fp32",), "backends": (name,)})
            figures += [_named(f"{name} fp32", figure) for figure in _beside_alone(place)]
        small = Path(folder) / "small"
        small.mkdir()
        _build(small, SETTINGS | {"model": "zoo.perceiver:model", "precisions": ("fp32",)})
        growth = _child("shifts", small, "bundle")["growth"]
    return [*figures, at_most(f"PSS after {SHIFTS} shifts, more by", growth, 1.0, "MB")]


def _named(precision: str, figure: Figure) -> Figure:
    return Figure(
        f"{precision}: {figure.name}", figure.value, figure.unit, figure.goal, figure.holds
    )


def _build(place: Path, settings: dict[str, Any]) -> None:
    """A bundle, and the engine of every point as a file of its own."""
    made(settings, output=place / "bundle")
    if settings["backends"] != ("onnxruntime",):
        return
    with elastiq.open(place / "bundle") as bundle:
        for index, point in enumerate(bundle.manifest.points):
            key = point.stages["main"].engine
            record = next(e for e in bundle.manifest.engines if e.key == key)
            model = onnx.load(bundle.path / record.folder / FILE, load_external_data=False)
            onnx.load_external_data_for_model(model, str(bundle.path / WEIGHTS))
            onnx.save(model, place / f"{index}.onnx")


def _figures(place: Path) -> list[Figure]:
    cold = _cold(place)
    _child("open", place, "bundle", "all", "keep")
    found = _opened(place, ("naive", "bundle"), ("cheapest", "costliest", "all"))
    one, naive, ours = found["naive costliest"], found["naive all"], found["bundle all"]
    single, alone = found["bundle costliest"], found["naive cheapest"]
    latency = _latencies(place, "naive")
    idle = _idles(place, ("naive", "bundle"))
    whole = sum(f.stat().st_size for f in (place / "bundle").rglob("*") if f.is_file())
    samples = (place / "bundle" / SAMPLES).stat().st_size
    files = [f.stat().st_size for f in place.glob("*.onnx")]
    return [
        Figure("naive, disk, five files over one", sum(files) / max(files), "x"),
        at_most(
            "disk, without evaluation samples, over one file",
            (whole - samples) / max(files),
            1.10,
            "x",
        ),
        Figure("disk, with evaluation samples, over one file", whole / max(files), "x"),
        Figure("naive, PSS of one engine", one["pss"], "MB"),
        Figure("naive, PSS, five over one", naive["pss"] / one["pss"], "x"),
        Figure("naive, RSS, five over one", naive["rss"] / one["rss"], "x"),
        Figure("PSS of five engines", ours["pss"], "MB"),
        at_most("PSS, five over one", ours["pss"] / single["pss"], 1.25, "x"),
        at_most("PSS, five over one naive", ours["pss"] / one["pss"], 1.25, "x"),
        Figure("RSS, five over one naive", ours["rss"] / one["rss"], "x"),
        at_most("latency over naive, worst point", latency["worst"], 1.03, "x"),
        Figure("latency over naive, median point", latency["median"], "x"),
        Figure("differing answers", latency["differing"], ""),
        Figure("naive, first answer of one engine", 1000 * alone["first"], "ms"),
        at_most("first answer over that, nothing cached", cold, 1.2, "x"),
        at_most("first answer over that", ours["first"] / alone["first"], 1.2, "x"),
        Figure("naive, opening five over one", naive["opened"] / alone["opened"], "x"),
        at_most("opening five over one naive", ours["opened"] / alone["opened"], 1.5, "x"),
        Figure(f"naive, first run after {IDLE:g} s idle, over steady", idle["naive"], "x"),
        at_most(f"first run after {IDLE:g} s idle, over steady", idle["bundle"], 1.1, "x"),
    ]


def _cold(place: Path) -> float:
    """How much longer a device waits that never opened the bundle: the median over pairs."""
    ratios = []
    for _ in range(PAIRS):
        with tempfile.TemporaryDirectory(dir=place) as cache:
            os.environ["ELASTIQ_CACHE"], kept = cache, os.environ["ELASTIQ_CACHE"]
            taken = [_child("open", place, way, "cheapest")["first"] for way in ("naive", "bundle")]
            os.environ["ELASTIQ_CACHE"] = kept
        ratios.append(taken[1] / taken[0])
    return float(np.median(ratios))


def _beside_alone(place: Path) -> list[Figure]:
    """What a bundle's engines take together, beside as many that share nothing."""
    _child("open", place, "bundle", "all", "keep")
    found = _opened(place, ("alone", "bundle"), ("cheapest", "costliest", "all"))
    one, alone, ours = found["alone costliest"], found["alone all"], found["bundle all"]
    first = found["alone cheapest"]["first"]
    latency = _latencies(place, "alone")
    return [
        Figure("alone, PSS of one engine", one["pss"], "MB"),
        Figure("alone, PSS, five over one", alone["pss"] / one["pss"], "x"),
        Figure("PSS of five engines", ours["pss"], "MB"),
        Figure("PSS, five over one alone", ours["pss"] / one["pss"], "x"),
        at_most("latency over alone, worst point", latency["worst"], 1.03, "x"),
        Figure("latency over alone, median point", latency["median"], "x"),
        Figure("differing answers", latency["differing"], ""),
        at_most("first answer over that of one alone", ours["first"] / first, 1.2, "x"),
        Figure(
            "alone, opening five over one", alone["opened"] / found["alone cheapest"]["opened"], "x"
        ),
        Figure(
            "opening five over one alone", ours["opened"] / found["alone cheapest"]["opened"], "x"
        ),
    ]


def _latencies(place: Path, way: str) -> dict[str, float]:
    """What runs take over those of engines that were opened the other way.

    In several processes, whose median counts for each point: where memory happens to lie differs
    from one to the other, and stays for life.
    """
    runs = [_child("latency", place, way) for _ in range(PROCESSES)]
    points = [float(np.median([run[key] for run in runs])) for key in runs[0] if key != "differing"]
    differing = sum(run["differing"] for run in runs)
    return {"worst": max(points), "median": float(np.median(points)), "differing": differing}


def _idles(place: Path, ways: tuple[str, ...]) -> dict[str, float]:
    """What a first run after idle takes over those that follow it: medians of fresh processes."""
    runs = [{way: _child("idle", place, way)["ratio"] for way in ways} for _ in range(PROCESSES)]
    return {way: float(np.median([run[way] for run in runs])) for way in ways}


def _opened(
    place: Path, ways: tuple[str, ...], counts: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Medians of fresh processes that open engines, in turns."""
    taken: dict[str, list[dict[str, float]]] = {}
    for _ in range(PROCESSES):
        for way in ways:
            for count in counts:
                taken.setdefault(f"{way} {count}", []).append(_child("open", place, way, count))
    return {
        name: {key: float(np.median([one[key] for one in runs])) for key in runs[0]}
        for name, runs in taken.items()
    }


def _child(task: str, place: Path, *arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.footprint", task, str(place), *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def _naive(place: Path, index: int) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for key, value in exact().items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(place / f"{index}.onnx"), options)
    return lambda feed: session.run(["logits"], feed)[0]


def _ours(bundle: Bundle, index: int) -> Call:
    engine = bundle.engine(bundle.manifest.points[index].stages["main"].engine)
    return lambda feed: engine(feed)["logits"]


def _engines(place: Path, way: str) -> list[Call]:
    if way == "naive":
        return [_naive(place, index) for index in range(len(list(place.glob("*.onnx"))))]
    bundle = elastiq.open(place / "bundle", share=way == "bundle")
    for point in bundle.manifest.points:
        bundle.load(point.name)
    bundle.settle()
    return [_ours(bundle, index) for index in range(len(bundle.manifest.points))]


def _feed(place: Path) -> dict[str, np.ndarray]:
    onnxruntime.get_available_providers()
    size = (1, 1, 64, 64) if place.name == "small" else (1, 3, 224, 224)
    return {"image": np.random.default_rng(0).standard_normal(size).astype(np.float32)}


def _open(place: Path, way: str, count: str, then: str = "") -> dict[str, float]:
    """What one process takes to answer at the cheapest point, to open all, and to hold them."""
    feed = _feed(place)
    before, start = _memory(), time.perf_counter()
    shares = way == "bundle"
    bundle = None if way == "naive" else elastiq.open(place / "bundle", share=shares)
    points = {"all": range(5), "cheapest": [0], "costliest": [4]}[count]

    def load(index: int) -> Call:
        return _naive(place, index) if bundle is None else _ours(bundle, index)

    engines = [load(points[0])]
    engines[0](feed)
    first = time.perf_counter() - start
    with ThreadPoolExecutor(1 if bundle is None else os.cpu_count()) as pool:  # as a bundle does
        engines += pool.map(load, points[1:])
    opened = time.perf_counter() - start
    for engine in engines:
        engine(feed)
        engine(feed)
    after = _memory()
    if then and bundle is not None:
        bundle.settle()
    return {key: after[key] - before[key] for key in after} | {"first": first, "opened": opened}


def _latency(place: Path, way: str) -> dict[str, float]:
    """What each engine of a bundle takes, as a share of the same engine opened the other way."""
    feed = _feed(place)
    pairs = list(zip(_engines(place, way), _engines(place, "bundle"), strict=True))
    found = {"differing": 0.0}
    for index, (other, ours) in enumerate(pairs):
        found["differing"] += other(feed).tobytes() != ours(feed).tobytes()
        start = time.perf_counter()
        other(feed)
        rounds = max(ROUNDS, int(SECONDS / (time.perf_counter() - start) / 2))
        taken = interleaved({"a": lambda e=other: e(feed), "b": lambda e=ours: e(feed)}, rounds)
        found[f"point {index}"] = taken["b"] / taken["a"]
    return found


def _idle(place: Path, way: str) -> dict[str, float]:
    """The first run of each engine after another has run alone for long, over the median of those
    that follow it."""
    feed = _feed(place)
    engines = _engines(place, way)
    for engine in engines:
        engine(feed)
    ratios = []
    for _ in range(PAUSES):
        until = time.perf_counter() + IDLE
        while time.perf_counter() < until:
            engines[0](feed)
        for engine in engines[1:]:
            taken = []
            for _ in range(1 + AFTER):
                start = time.perf_counter()
                engine(feed)
                taken.append(time.perf_counter() - start)
            ratios.append(taken[0] / np.median(taken[1:]))
    return {"ratio": float(np.median(ratios))}


def _shifts(place: Path, way: str) -> dict[str, float]:
    feed = _feed(place)
    engines = _engines(place, way)
    order = np.random.default_rng(0).integers(len(engines), size=SHIFTS)
    for index in order[: SHIFTS // 20]:
        engines[index](feed)
    before = _memory()["pss"]
    for index in order:
        engines[index](feed)
    return {"growth": _memory()["pss"] - before}


def _memory() -> dict[str, float]:
    """This process's memory in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    values = {line.split(":")[0].lower(): int(line.split()[1]) / 1000 for line in lines}
    return {key: values[key] for key in ("pss", "rss")}


if __name__ == "__main__":
    tasks = {"open": _open, "latency": _latency, "idle": _idle, "shifts": _shifts}
    print(json.dumps(tasks[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
