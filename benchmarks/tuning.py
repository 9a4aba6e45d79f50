"""TVM's engines tuned, beside the same ones whose products are all the library's.

    python -m benchmarks tuning

A Perceiver of 42 M parameters at five query counts, FP32 and INT8 (which is FP32 while it
computes), one thread. `--tune` may take ten minutes; what it found is kept in the store, so that
another run of this benchmark tunes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.harness import Figure, at_most, interleaved
from benchmarks.making import made
from benchmarks.precision import ROUNDS, SETTINGS
from compiler import pipeline
from compiler.passes.compile import BuiltEngine
from elastiq.footprint import example

MINUTES = 10.0
FASTER = 0.95  # of the time of those that were not tuned
SAME = 1e-3  # by rounding only


def run() -> list[Figure]:
    plain, tuned = _built(0.0), _built(MINUTES)
    faster = str(tuned.engines[0].settings["products"]).count("=")
    figures = [Figure("products that TVM writes faster than the library", faster, "")]
    others = {engine.key: engine for engine in tuned.engines}
    for engine in plain.engines:
        figures += _beside(engine, others[engine.key])
    return figures


def _built(minutes: float) -> pipeline.Build:
    return made({**SETTINGS, "backends": ("tvm",), "tune": minutes}, until="compile")


def _beside(plain: BuiltEngine, tuned: BuiltEngine) -> list[Figure]:
    where = f"{plain.graph.point} {plain.graph.precision}"
    runs = {"plain": _run(plain), "tuned": _run(tuned)}
    seconds = interleaved(runs, ROUNDS)
    answers = {name: run() for name, run in runs.items()}
    off = np.abs(answers["tuned"] - answers["plain"]).max() / np.abs(answers["plain"]).max()
    return [
        *(Figure(f"{where}: {name}", 1000 * taken, "ms") for name, taken in seconds.items()),
        at_most(f"{where}: tuned over plain", seconds["tuned"] / seconds["plain"], FASTER, "x"),
        at_most(f"{where}: largest difference, of the largest output", float(off), SAME, ""),
    ]


def _run(built: BuiltEngine) -> Callable[[], np.ndarray]:
    engine, feed = built.load(threads=1), example(built.graph.inputs)
    return lambda: engine(feed)["logits"]
