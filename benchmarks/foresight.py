"""What of the clairvoyant's bound is foresight, and what a better policy could still earn.

    python -m benchmarks foresight

The points of the dispatcher's benchmark, in scenes that are cut into slots of an 18th of the time
that requests have: requests come at the beginning of one, with independent gaps between them, and
runs take as many slots as come nearest to their p50 (half of them), to what those up to the p90
take on average, or those beyond it; or, where they are even, all to their mean. For such scenes it
is known exactly what the best of all policies earns that serves in order of arrival and knows all
but the future: how long runs may take, and by what law requests come (`benchmarks/optimum.py`). It
gets the same requests. `utility` knows of arrivals only what it has heard; of runs it takes for
granted what is true here, as in all simulations: where they are otherwise between their
percentiles, it loses more. The bound knows when all will come.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

import elastiq
from benchmarks.dispatch import DEADLINE, OURS, SMALL, WIDE, build
from benchmarks.harness import Figure, at_least
from benchmarks.optimum import Choice, Gaps, best, foreseen
from elastiq.hog import Hog
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.outcomes import summarize
from elastiq.policies import policy
from elastiq.records import PointRecord
from elastiq.rehearsal import Beside
from elastiq.rests import NOTHING
from elastiq.runs import CHANCES, LIKELY_MEAN, WORST_MEAN
from elastiq.simulation import Scene, quantile, simulate

REQUESTS = 40_000
GIVEN = 18  # slots
SLOT = 2.0**-10  # in seconds
# Whose run is longer than this share of all gets the mean of those up to the p50, between that and
# the p90, or beyond it.
LUCK = 0.5, 1.0 - 0.5 * 0.2**LIKELY_MEAN, 1.0 - 0.1 * 0.1**WORST_MEAN
ON_TIME = SLOT / 1024  # so that no sum of slots is late by what is lost in rounding


class Kind(NamedTuple):
    """Gaps that deviate by `cv` times their mean, at a multiple of the largest engine's
    capacity."""

    load: float
    cv: float
    even: bool

    def __str__(self) -> str:
        return f"CV {self.cv:g} at {self.load:g}{', even runs' if self.even else ''}"


SCENES = ((1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (1.0, 2.0), (2.0, 2.0), (1.0, 4.0), (1.0, 8.0))
KINDS = tuple(Kind(load, cv, even) for even in (False, True) for load, cv in SCENES)


class Earned(NamedTuple):
    """Right answers in time, of each request."""

    ours: float
    optimum: float
    bound: float


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        path, wide = Path(folder) / "perceiver.elastiq", Path(folder) / "wide.elastiq"
        build(wide, WIDE)
        build(path, SMALL)
        return [
            figure
            for title, bundle in (("wide", wide), ("batches of up to four", path))
            for kind, earned in zip(KINDS, pool.map(partial(play, bundle), KINDS), strict=True)
            for figure in _figures(f"{title}, {kind}", earned)
        ]


def play(path: Path, kind: Kind) -> Earned:
    """One scene, for each of the three."""
    with elastiq.open(path) as bundle:
        points, table = bundle.manifest.points, in_slots(bundle.manifest.points, bundle.table, kind)
    gaps = Gaps.of(table.of(points[-1], 0.0).mean / SLOT / kind.load, kind.cv)
    random = np.random.default_rng(0)
    slots = np.cumsum(gaps.draw(REQUESTS, random))
    luck = random.choice(LUCK, (REQUESTS, 2), p=CHANCES)
    choices = [_choice(point, table.of(point, 0.0)) for point in points]
    deadline = GIVEN * SLOT + ON_TIME
    scene = Scene(slots * SLOT, deadline, Hog(), luck, Beside(handing=NOTHING, after=0.0))
    return Earned(
        summarize(OURS, simulate(points, table, policy(OURS), scene)).effective_accuracy,
        best(choices, GIVEN, gaps).play(slots, random),
        foreseen(choices, GIVEN, slots),
    )


def in_slots(points: tuple[PointRecord, ...], table: LatencyTable, kind: Kind) -> LatencyTable:
    """A table of what runs cost on an idle device, in whole slots."""
    slot = DEADLINE * table.of(points[-1], 0.0).p50 / GIVEN
    costs = {engine: _cost(table.at(engine, 0.0), slot, kind) for engine in table.engines}
    return replace(table, rows=tuple(Row(engine, 0.0, cost) for engine, cost in costs.items()))


def _cost(measured: Latency, slot: float, kind: Kind) -> Latency:
    """One by whose law runs of each luck take whole slots."""
    typical = likely = worst = _whole(measured.mean, slot)
    if not kind.even:
        means = [quantile(measured, share) for share in LUCK]
        typical, middle, longest = (_whole(mean, slot) for mean in means)
        likely = typical + (middle - typical) / LIKELY_MEAN
        longest = max(longest, SLOT * ceil(likely / SLOT))
        worst = likely + (longest - likely) / WORST_MEAN
    cost = Latency(typical, likely, worst, typical, typical, measured.samples, measured.stable)
    return replace(cost, mean=float(CHANCES @ [quantile(cost, share) for share in LUCK]))


def _whole(seconds: float, slot: float) -> float:
    return SLOT * max(1, round(seconds / slot))


def _choice(point: PointRecord, cost: Latency) -> Choice:
    runs: dict[int, float] = {}
    for share, chance in zip(LUCK, CHANCES.tolist(), strict=True):
        slots = round(quantile(cost, share) / SLOT)
        runs[slots] = runs.get(slots, 0.0) + chance
    return Choice(point.score, point.takes, runs)


def _figures(name: str, earned: Earned) -> list[Figure]:
    return [
        Figure(f"{name}: effective accuracy", 100 * earned.ours, "%"),
        at_least(f"{name}: share of the optimum", earned.ours / earned.optimum, 0.97, ""),
        Figure(f"{name}: the optimum's share of the bound", earned.optimum / earned.bound, ""),
    ]
