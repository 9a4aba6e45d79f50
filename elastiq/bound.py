"""What nobody could have done better who knew all that was to come: a bound for replays.

It looks at every schedule that serves in order of arrival, with all arrivals and all run times
known beforehand, but not which answers are right: those are worth the score of their point. As
every request has the same time, no other order does better (where one is served before another
that came first, the two may change places). Three things make it too high by a little, and never
too low: a request is given the fastest run that the load allows at any moment of its life; of
requests that run together the luckiest counts; and where more than `KEPT` schedules are worth
keeping, neighbours are joined to one that ends with the earlier and earns as the better of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from elastiq.latency import LatencyTable
from elastiq.outcomes import Outcome
from elastiq.records import PointRecord
from elastiq.replay import slices
from elastiq.simulation import Costs, Scene

KEPT = 256
Front = tuple[np.ndarray, np.ndarray]  # when schedules end, and what they earned: both rising


class Bound(NamedTuple):
    """Shares of all requests, 0…1: right answers in time, and answers in time."""

    effective_accuracy: float
    attainment: float


def bound(points: Sequence[PointRecord], table: LatencyTable, scene: Scene) -> Bound:
    """The bound for a scene. The two shares are of two schedules, each the best in its own way."""
    runs = least(points, table, scene)
    takes = [point.takes for point in points]
    count = max(1, len(scene.moments))
    scores = [point.score for point in points]
    return Bound(
        best(scene.moments, scene.deadline, runs, scores, takes, scene.beside.after) / count,
        best(scene.moments, scene.deadline, runs, [1.0] * len(points), takes, scene.beside.after)
        / count,
    )


def seen(
    moments: np.ndarray,
    deadline: float,
    outcomes: Sequence[Sequence[Outcome]],
    scores: Sequence[float],
    takes: Sequence[int],
) -> Bound:
    """The bound for traffic that was sent for real, by what became of it at each point alone.

    A run takes what it took for the same request, where the point ran it, and else what it usually
    took there; so this one is an estimate.
    """
    columns = [[outcome.took for outcome in one] for one in outcomes]
    usual = [np.median([took for took in one if took is not None] or [np.inf]) for one in columns]
    runs = np.array(
        [
            [common if took is None else took for took in one]
            for one, common in zip(columns, usual, strict=True)
        ]
    ).T
    beside = [outcome.beside for one in outcomes for outcome in one if outcome.beside is not None]
    overhead = float(np.median(beside)) if beside else 0.0

    def share(worth: Sequence[float]) -> float:
        parts = [part for _, _, part in slices(moments)]  # every one began with empty queues
        return sum(
            best(moments[part], deadline, runs[part], worth, takes, overhead) for part in parts
        ) / len(moments)

    return Bound(share(scores), share([1.0] * len(scores)))


def least(points: Sequence[PointRecord], table: LatencyTable, scene: Scene) -> np.ndarray:
    """The shortest run of each request (row) at each point, whenever it begins in time."""
    costs = Costs(points, table)
    shortest = np.full((len(scene.moments), len(points)), np.inf)
    for row, (moment, luck) in enumerate(
        zip(scene.moments.tolist(), scene.luck.tolist(), strict=True)
    ):
        end = moment + scene.deadline
        loads = {scene.hog.at(moment), *(share for _, share in scene.hog.between(moment, end))}
        for column, point in enumerate(points):
            fastest = min(costs(point.name, load, luck)[0] for load in loads)
            shortest[row, column] = scene.beside.took(fastest)
    return shortest


def best(
    moments: np.ndarray,
    deadline: float,
    runs: np.ndarray,
    scores: Sequence[float],
    takes: Sequence[int],
    overhead: float,
) -> float:
    """The most that all requests together can earn."""
    count = len(moments)
    many = max(takes)
    # Fronts of schedules that have come to a request; those of `many` requests ahead are open.
    open_fronts: list[list[Front]] = [[] for _ in range(many + 1)]
    open_fronts[0] = [(np.array([-np.inf]), np.array([0.0]))]
    for place in range(count):
        ends, earned = _merged(open_fronts.pop(0), moments[place])
        open_fronts.append([])
        open_fronts[0].append((ends, earned))  # this request is refused
        for point, score in enumerate(scores):
            for together in range(1, min(takes[point], count - place) + 1):
                last = place + together
                run = runs[place:last, point].min()
                done = np.maximum(ends, moments[last - 1]) + run
                fits = done <= moments[place] + deadline
                if fits.any():
                    front = done[fits] + overhead, earned[fits] + together * score
                    open_fronts[together - 1].append(front)
    return max(float(earned.max()) for fronts in open_fronts for _, earned in fronts)


def _merged(fronts: list[Front], moment: float) -> Front:
    """The schedules worth keeping: whoever ends later must have earned more."""
    ends = np.concatenate([ends for ends, _ in fronts])
    earned = np.concatenate([earned for _, earned in fronts])
    ends = np.maximum(ends, moment)  # before that, all are alike
    order = np.lexsort((-earned, ends))
    ends, earned = ends[order], earned[order]
    before = np.maximum.accumulate(np.concatenate([[-np.inf], earned[:-1]]))
    better = earned > before + 1e-12
    ends, earned = ends[better], earned[better]
    if len(ends) <= KEPT:
        return ends, earned
    edges = np.linspace(0, len(ends), KEPT + 1).astype(int)
    return ends[edges[:-1]], earned[edges[1:] - 1]
