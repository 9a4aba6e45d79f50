"""A burst of requests to engines of a deployed model's cost: who answers how many rightly in time.

    python -m benchmarks burst

The trained Perceiver, widened without changing its answers until a run takes some milliseconds.
Requests come for real at half of what its largest engine can carry, and for a third of the time at
twice that, alone and beside a program that takes half of the CPU. All contenders are sent the same,
in turns, and several times over with other arrivals; the interval is of the mean of these times
(Student's, 95 %).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

import elastiq
from benchmarks.dispatch import HOG, NAMES, OURS, WIDE, Kind, build
from benchmarks.harness import Figure, at_least
from elastiq import contest

TIMES = 4
SECONDS = 6.0  # each
CERTAINTY = 0.95


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.elastiq"
        build(path, WIDE)
        return [
            *_figures("alone", path, Kind("step", 1.0)),
            *_figures(f"others take {HOG:.0%}", path, Kind("step", 1.0, hog=HOG)),
        ]


def _figures(title: str, path: Path, kind: Kind) -> list[Figure]:
    right, in_time = _played(path, kind)
    fixed = [name for name in right if name not in NAMES]
    best = max(fixed, key=lambda name: right[name].mean())
    figures = []
    for name in (*NAMES, fixed[-1], best):
        figures += [
            Figure(f"{title}: {name}, right and in time", 100 * right[name].mean(), "%"),
            Figure(f"{title}: {name}, in time", 100 * in_time[name].mean(), "%"),
        ]
    for name in ("slackfit", best):
        ahead = 100 * (right[OURS] - right[name])
        sure = stats.t.ppf((1 + CERTAINTY) / 2, TIMES - 1) * stats.sem(ahead)
        words = f"{title}: {OURS} ahead of {name}"
        figures += [
            at_least(words, ahead.mean(), 0.0, "points"),
            Figure(f"{words}, give or take", float(sure), "points"),
        ]
    return figures


def _played(path: Path, kind: Kind) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The shares of all requests answered rightly in time, and in time: of each contender, each
    time."""
    with elastiq.open(path) as bundle:
        traffic = kind.traffic(bundle, SECONDS)
        found = [contest.real(bundle, NAMES, replace(traffic, seed=seed)) for seed in range(TIMES)]
    names = [report.name for report in found[0].reports]
    return (
        {name: np.array([one.of(name).effective_accuracy for one in found]) for name in names},
        {name: np.array([one.of(name).attainment for one in found]) for name in names},
    )
