"""What nobody could have done better who knew when every request would come: a bound for replays.

Whoever that is knows all arrivals, what the load will be, and by what law runs take their time, but
neither how long a run will take, nor which answers are right: those are worth the score of their
point. The bound is too high by a little, and never too low: of each part of a law, all runs are
taken to be as short as its shortest; and a run may be as under any load in the life of the last
request that it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elastiq.latency import LatencyTable
from elastiq.outcomes import Outcome
from elastiq.records import PointRecord
from elastiq.rehearsal import Beside
from elastiq.replay import slices
from elastiq.schedule import Law, Way, most
from elastiq.simulation import Costs, Scene

PARTS = 32  # of a law that was seen


class Bound(NamedTuple):
    """Shares of all requests, 0…1: right answers in time, and answers in time."""

    effective_accuracy: float
    attainment: float


def bound(points: Sequence[PointRecord], table: LatencyTable, scene: Scene) -> Bound:
    """The bound for a scene. The two shares are of two plans, each the best in its own way."""
    costs, hog = Costs(points, table), scene.hog
    under = {load: _ways(points, costs, scene.beside, load) for _, load in hog.script}
    ways = []
    for moment in scene.moments.tolist():
        changes = hog.between(moment, moment + scene.deadline)
        loads = {hog.at(moment), *(share for _, share in changes)}
        ways.append([way for load in loads for way in under[load]])
    earned = _most(scene.moments, scene.deadline, ways, scene.beside)
    return Bound(*(earned / len(ways)).tolist())


def seen(
    moments: np.ndarray,
    deadline: float,
    outcomes: Sequence[Sequence[Outcome]],
    scores: Sequence[float],
    takes: Sequence[int],
) -> Bound:
    """The bound for traffic that was sent for real, by what became of it at each point alone.

    A point's runs are taken to be like those of its slice of the traffic, or else like all of its;
    so this one is an estimate.
    """
    took = [np.array([outcome.took or np.nan for outcome in one], dtype=float) for one in outcomes]
    beside = [outcome.beside for one in outcomes for outcome in one if outcome.beside is not None]
    after = float(np.median(beside)) if beside else 0.0
    earned = np.zeros(2)
    for _, _, part in slices(moments):  # every one began with empty queues
        ways = [
            _way(score, many, law)
            for score, many, runs in zip(scores, takes, took, strict=True)
            if (law := _law(runs[part]) or _law(runs))
        ]
        earned += _most(moments[part], deadline, [ways] * int(part.sum()), Beside(after=after))
    return Bound(*(earned / len(moments)).tolist())


def _ways(points: Sequence[PointRecord], costs: Costs, beside: Beside, load: float) -> list[Way]:
    laws = (costs.law(point.name, load) for point in points)
    return [
        _way(point.score, point.takes, tuple((beside.took(run), chance) for run, chance in law))
        for point, law in zip(points, laws, strict=True)
    ]


def _way(score: float, takes: int, law: Law) -> Way:
    return Way(takes, (score, 1.0), law)


def _law(took: np.ndarray) -> Law:
    """Of runs that were seen, in parts that are about as large."""
    runs = np.sort(took[~np.isnan(took)])
    parts = np.array_split(runs, min(PARTS, len(runs))) if len(runs) else []
    return tuple((float(part[0]), len(part) / len(runs)) for part in parts)


def _most(
    moments: np.ndarray, deadline: float, ways: Sequence[Sequence[Way]], beside: Beside
) -> np.ndarray:
    """By scores, and by answers."""
    takes = max((way.takes for one in ways for way in one), default=0)
    if not takes:
        return np.zeros(2)
    return most(moments, deadline, ways, [beside.pause(1 + others) for others in range(takes)])
