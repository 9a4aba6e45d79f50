"""A share of answers in time that was promised: where some point alone would hold it, is it held?

    python -m benchmarks promise

Simulated as in `dispatch`, with the same engines and deadlines, at loads of a quarter to all of
what the largest engine can carry: at random, with gaps that deviate by 1.5 and 2 times their mean,
and as recorded; alone, and beside programs that take a quarter and half of the CPU. The figures are
of those scenes in which some point alone answers 99 % in time: of `utility` by itself, which goes
by right answers in time, and told to hold that share; and of the best point that holds it.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean

from benchmarks.dispatch import OURS, PROMPT, SMALL, SURE, Kind, build, fixed, simulated
from benchmarks.harness import Figure, at_least
from elastiq.outcomes import Report
from elastiq.simulation import BESIDE

HOGS = (0.0, 0.25, 0.5)
LOADS = (0.25, 0.5, 0.75, 1.0)
ARRIVALS = (("poisson", 1.0), ("gamma", 1.5), ("gamma", 2.0), ("trace", 1.0))
KINDS = tuple(Kind(name, load, cv, hog) for hog, load, (name, cv) in product(HOGS, LOADS, ARRIVALS))


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        path = Path(folder) / "perceiver.elastiq"
        build(path, SMALL)
        play = partial(simulated, path, beside=BESIDE)
        found = dict(zip(KINDS, pool.map(play, KINDS), strict=True))
    held = {kind: sure for kind, one in found.items() if (sure := _surest(fixed(one)))}
    itself, told = ([found[kind].of(name) for kind in held] for name in (OURS, PROMPT))
    count = Figure("scenes where some point alone holds 99 %", len(held), "")
    if not held:  # where runs are too uneven
        return [count]
    return [
        count,
        Figure("by itself, scenes held", _held(itself), ""),
        at_least("told to, scenes held", _held(told), len(held), ""),
        Figure("told to, least in time", 100 * min(r.attainment for r in told), "%"),
        *_means("by itself", itself),
        *_means("told to", told),
        *_means("the best point that holds it", list(held.values())),
    ]


def _surest(reports: list[Report]) -> Report | None:
    """The best of those that hold the share."""
    sure = [report for report in reports if report.attainment >= SURE]
    return max(sure, key=lambda report: report.effective_accuracy, default=None)


def _held(reports: list[Report]) -> int:
    return sum(report.attainment >= SURE for report in reports)


def _means(title: str, reports: list[Report]) -> list[Figure]:
    return [
        Figure(f"{title}: in time", 100 * fmean(r.attainment for r in reports), "%"),
        Figure(f"{title}: right, in time", 100 * fmean(r.effective_accuracy for r in reports), "%"),
    ]
