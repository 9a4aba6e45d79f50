"""Latency tables: whether they repeat, foretell what was not measured, and are soon made.

    python -m benchmarks tables

The trained Perceiver at five points, FP32, by three backends. A cell is an engine at a load; loads
are shares of every core that others take. `again`: two tables of the same engines. `foretold`:
medians at loads that are not in the table, against a table that has them. All these are measured in
turns, for no table foretells how a machine drifts: `minutes later` is one more, taken afterwards.

`predicted`: the roofline of `cpu-x86`, by its data sheet, against what its engines were measured to
take here: that Perceiver and one of 42 M parameters (`realistic`), FP32 and INT8, by two backends.
Order is that of any two points of one backend and precision; the factor is the larger of the two
medians over the smaller. `streaming`: the median beside programs that take all cores to copy
memory, over that beside ones that take them to compute, for the large one in FP32.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Figure, at_least, at_most
from benchmarks.making import made
from compiler.passes.compile import BuiltEngine
from compiler.passes.profile import Level, Runnable, levels, profile
from compiler.passes.roofline import roofline
from compiler.progress import silent
from compiler.store import Store
from elastiq.latency import CPU, MEMORY, LatencyTable, Row
from targets.devices import target

LOADS = (0.0, 0.3, 0.6, 1.0)
BETWEEN = (0.15, 0.45, 0.8)
EVERY = tuple(sorted(LOADS + BETWEEN))
SECONDS = 3.5  # at most, a cell
SETTINGS = {
    "model": "zoo.perceiver:model",
    "backends": ("onnxruntime", "openvino", "tvm"),
    "precisions": ("fp32",),
}
SAME = 0.10
PREDICTED = {
    "backends": ("onnxruntime", "openvino"),
    "precisions": ("fp32", "int8"),
    "calibration_samples": 8,  # what flows does not change what it costs
}
MODELS = {"small": "zoo.perceiver:model", "realistic": "zoo.perceiver:realistic"}


def run() -> list[Figure]:
    built = made(SETTINGS, until="compile")
    with tempfile.TemporaryDirectory() as folder:
        twice: list[Any] = [*built.engines, *(_Again(engine) for engine in built.engines)]
        found = _table(twice, EVERY, Path(folder) / "twice")
        start = time.perf_counter()
        alone = _table(built.engines, LOADS, Path(folder) / "alone")
        taken = time.perf_counter() - start
    one, other = _part(found, LOADS, 0), _part(found, LOADS, 1)
    truth = _part(found, BETWEEN, 0)
    again = [
        abs(a.latency.p50 / b.latency.p50 - 1) for a, b in zip(one.rows, other.rows, strict=True)
    ]
    later = [
        abs(a.latency.p50 / b.latency.p50 - 1) for a, b in zip(one.rows, alone.rows, strict=True)
    ]
    off = [abs(one.at(r.engine, r.load).p50 / r.latency.p50 - 1) for r in truth.rows]
    assert one.bound is not None
    return [
        Figure("engines", len(built.engines), ""),
        Figure("cells", len(one.rows), ""),
        at_least(
            "again: cells within 10 %", 100 * float(np.mean(np.array(again) <= SAME)), 95, "%"
        ),
        Figure("again: median difference", 100 * float(np.median(again)), "%"),
        Figure("minutes later: median difference", 100 * float(np.median(later)), "%"),
        Figure(
            "unstable cells", 100 * float(np.mean([not r.latency.stable for r in one.rows])), "%"
        ),
        at_most("foretold: median error", 100 * float(np.median(off)), 15, "%"),
        Figure("foretold: largest error", 100 * max(off), "%"),
        Figure("foretold: its own bound", 100 * one.bound, "%"),
        at_most("time for the table", taken / 60, 6, "min"),
        *(figure for name in MODELS for figure in _prediction(name)),
        _streaming(),
    ]


class _Again:
    """An engine under another name, so that it is loaded and measured a second time."""

    def __init__(self, engine: BuiltEngine) -> None:
        self._engine = engine
        self.key = f"{engine.key} again"
        self.identity = f"{engine.identity} again"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def _part(table: LatencyTable, loads: Sequence[float], half: int) -> LatencyTable:
    """The rows of some levels, of the engines or of those that were measured again."""
    each = len(table.rows) // len(EVERY)
    rows: list[Row] = []
    for load in loads:
        at = EVERY.index(load) * each + half * each // 2
        rows += table.rows[at : at + each // 2]
    return replace(table, rows=tuple(rows))


def _prediction(name: str) -> list[Figure]:
    """How near the roofline of this kind of device comes to this device."""
    engines = _engines(name)
    peak = roofline(engines, target("cpu-x86"), threads=1)
    assert peak is not None
    with tempfile.TemporaryDirectory() as folder:
        real = _table(engines, (0.0,), Path(folder))
    by_kind: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for engine in engines:
        pair = peak.at(engine.key, 0.0).p50, real.at(engine.key, 0.0).p50
        by_kind.setdefault((engine.backend, engine.graph.precision), []).append(pair)
    same = [
        (one[0] < other[0]) == (one[1] < other[1])
        for pairs in by_kind.values()
        for one, other in combinations(pairs, 2)
    ]
    factors = [max(p / r, r / p) for pairs in by_kind.values() for p, r in pairs]
    return [
        at_least(f"predicted, {name}: in order", 100 * float(np.mean(same)), 95, "%"),
        Figure(f"predicted, {name}: median factor", float(np.median(factors)), "x"),
        Figure(f"predicted, {name}: largest factor", max(factors), "x"),
    ]


def _streaming() -> Figure:
    engines = [
        engine
        for engine in _engines("realistic")
        if (engine.backend, engine.graph.precision) == ("onnxruntime", "fp32")
    ]
    at = Level(1.0), Level(1.0, MEMORY)
    with tempfile.TemporaryDirectory() as folder:
        table = profile(engines, at, SECONDS, 1, Store(Path(folder)), silent())
    times = {(row.engine, row.pressure): row.latency.p50 for row in table.rows}
    ratios = [times[engine.key, MEMORY] / times[engine.key, CPU] for engine in engines]
    return Figure("streaming over computing", float(np.median(ratios)), "x")


def _engines(name: str) -> Sequence[BuiltEngine]:
    return made({**PREDICTED, "model": MODELS[name]}, until="compile").engines


def _table(engines: Sequence[Runnable], loads: tuple[float, ...], folder: Path) -> LatencyTable:
    """Measured anew: in a store of its own."""
    return profile(engines, levels(loads, ()), SECONDS, 1, Store(folder), silent())
