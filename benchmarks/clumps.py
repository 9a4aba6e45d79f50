"""What is foresight of the clairvoyant's bound where requests come in clumps.

    python -m benchmarks clumps

As `foresight`, with points that answer one request or up to four; but here several may come at
once, as they do where gaps deviate by 4 or 8 times their mean. Slots are an 8th of the time that
requests have, and whoever comes in one is known at its beginning, which is more than can be known
without slots. Runs take as many slots as come nearest to their mean and what comes beside them. At
most 12 wait: the optimum is too low by a few thousandths for that. The bound knows no such limit.

The optimum is what the best of all policies earns that serves in order of arrival, and knows all
but the future (`benchmarks/crowds.py`), of the same requests. Nobody comes nearer to the bound than
it does who does not know when requests will come.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import elastiq
from benchmarks import crowds
from benchmarks.crowds import Clumps
from benchmarks.dispatch import DEADLINE, OURS, SMALL, build
from benchmarks.foresight import ON_TIME, SLOT, Earned
from benchmarks.harness import Figure
from benchmarks.optimum import Choice, foreseen
from elastiq.hog import Hog
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.outcomes import summarize
from elastiq.policies import policy
from elastiq.records import PointRecord
from elastiq.rehearsal import Beside
from elastiq.rests import NOTHING
from elastiq.simulation import BESIDE, Scene, simulate

REQUESTS = 80_000
GIVEN = 8  # slots
MOST = 12  # that wait
KINDS = tuple((load, cv) for cv in (2.0, 4.0, 8.0) for load in (1.0, 2.0, 4.0))


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        path = Path(folder) / "perceiver.elastiq"
        build(path, SMALL)
        found = zip(KINDS, pool.map(partial(play, path), KINDS), strict=True)
        return [
            figure
            for (load, cv), earned in found
            for figure in _figures(f"CV {cv:g} at {load:g}", earned)
        ]


def play(path: Path, kind: tuple[float, float]) -> Earned:
    """One scene, for each of the three."""
    load, cv = kind
    with elastiq.open(path) as bundle:
        points, measured = bundle.manifest.points, bundle.table
    costliest = measured.of(points[-1], 0.0)
    slot = DEADLINE * costliest.p50 / GIVEN
    table = in_slots(points, measured, slot)
    clumps = Clumps.of(costliest.mean / slot / load, cv)
    random = np.random.default_rng(0)
    slots = np.cumsum(clumps.draw(REQUESTS, random))
    choices = [
        Choice(point.score, point.takes, {round(table.of(point, 0.0).p50 / SLOT): 1.0})
        for point in points
    ]
    even = np.full((REQUESTS, 2), 0.5)
    deadline = GIVEN * SLOT + ON_TIME
    scene = Scene(slots * SLOT, deadline, Hog(), even, Beside(handing=NOTHING, after=0.0))
    return Earned(
        summarize(OURS, simulate(points, table, policy(OURS), scene)).effective_accuracy,
        crowds.best(choices, GIVEN, clumps, MOST).play(slots, random),
        foreseen(choices, GIVEN, slots),
    )


def in_slots(points: tuple[PointRecord, ...], table: LatencyTable, slot: float) -> LatencyTable:
    """A table of what runs and what comes beside them cost on an idle device, in whole slots."""
    rows = []
    for point in points:
        (stage,) = point.stages.values()
        seconds = table.of(point, 0.0).mean + BESIDE.pause(point.takes)
        cost = SLOT * max(1, round(seconds / slot))
        rows.append(Row(stage.engine, 0.0, Latency(cost, cost, cost, cost, cost, 1, True)))
    return replace(table, rows=tuple(rows))


def _figures(name: str, earned: Earned) -> list[Figure]:
    return [
        Figure(f"{name}: effective accuracy", 100 * earned.ours, "%"),
        Figure(f"{name}: share of the optimum", earned.ours / earned.optimum, ""),
        Figure(f"{name}: the optimum's share of the bound", earned.optimum / earned.bound, ""),
    ]
