"""Roofline: what engines would take at least on a device that is not here, by its data sheet.

Each kernel takes as long as its products at the device's highest rate, or as its way through memory
at the highest bandwidth, and a start. No engine is as fast: what comes out tells points apart, and
is marked as predicted wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from compiler.passes.compile import BuiltEngine
from elastiq.latency import Latency, LatencyTable, Row
from targets.backends import backend
from targets.devices import Peak, Target
from targets.work import Kernel, work

BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
PREFIX = "predicted-"  # of the name of a device that nobody measured on


def roofline(engines: Sequence[BuiltEngine], target: Target, threads: int) -> LatencyTable | None:
    """The predicted table of these engines, or None for a target whose peak nobody states."""
    peak = target.peak
    if peak is None:
        return None
    rows = []
    for engine in {engine.key: engine for engine in engines}.values():
        seconds = at_least(engine, peak, threads)
        times = (seconds, seconds, seconds, seconds, seconds)
        rows.append(Row(engine.key, 0.0, Latency(*times, samples=0, stable=False)))
    circumstances = {
        "predicted by": "roofline",
        "data sheet of": peak.device,
        "threads": str(threads),
    }
    return LatencyTable(f"{PREFIX}{target.name}", False, circumstances, tuple(rows))


def at_least(engine: BuiltEngine, peak: Peak, threads: int) -> float:
    """The seconds that a device of this peak needs for an engine."""
    precision = engine.graph.precision
    wide = "fp16" if precision != "fp32" and "fp16" in peak.rates else "fp32"
    narrow = "int8" if backend(engine.backend).integer_products else wide
    return sum(_seconds(kernel, peak, threads, wide, narrow) for kernel in work(engine.graph))


def _seconds(kernel: Kernel, peak: Peak, threads: int, wide: str, narrow: str) -> float:
    rate = peak.rates[narrow if kernel.integer else wide] * threads
    moved = kernel.narrow + BYTES[wide] * kernel.wide
    return max(kernel.operations / rate, moved / peak.bandwidth) + peak.launch
