"""Latency tables: whether they repeat, foretell what was not measured, and are soon made.

    python -m benchmarks tables

The trained Perceiver at five points, FP32, by three backends. `again`: two tables of the same
engines, one after the other; a cell is an engine at a load. `foretold`: medians at loads that are
not in the table, against a table that has them. Loads are shares of every core that others take.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, at_least, at_most, store
from compiler import config, pipeline
from compiler.passes.compile import BuiltEngine
from compiler.passes.profile import levels, profile
from compiler.plan import plan
from compiler.progress import silent
from compiler.store import Store
from elastiq.latency import LatencyTable

LOADS = (0.0, 0.3, 0.6, 1.0)
BETWEEN = (0.15, 0.45, 0.8)
SECONDS = 2.0
SETTINGS = {
    "model": "zoo.perceiver:model",
    "backends": ("onnxruntime", "openvino", "tvm"),
    "precisions": ("fp32",),
}
SAME = 0.10


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        given = SETTINGS | {"output": str(Path(folder) / "bundle.elastiq")}
        built = pipeline.build(plan(config.read(None, given)), store(), silent(), until="compile")
        start = time.perf_counter()
        one = _table(built.engines, LOADS, Path(folder) / "one")
        taken = time.perf_counter() - start
        other = _table(built.engines, LOADS, Path(folder) / "other")
        truth = _table(built.engines, BETWEEN, Path(folder) / "between")
    again = [
        abs(a.latency.p50 / b.latency.p50 - 1) for a, b in zip(one.rows, other.rows, strict=True)
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
        Figure(
            "unstable cells", 100 * float(np.mean([not r.latency.stable for r in one.rows])), "%"
        ),
        at_most("foretold: median error", 100 * float(np.median(off)), 15, "%"),
        Figure("foretold: largest error", 100 * max(off), "%"),
        Figure("foretold: its own bound", 100 * one.bound, "%"),
        at_most("time for the table", taken / 60, 6, "min"),
    ]


def _table(
    engines: tuple[BuiltEngine, ...], loads: tuple[float, ...], folder: Path
) -> LatencyTable:
    """Measured anew: in a store of its own."""
    return profile(engines, levels(loads, ()), SECONDS, 1, Store(folder), silent())
