"""Replays traffic by a clock of its own, with runs as long as a latency table says.

The requests go through the same desk, dispatcher and policy as on a device: only time, the engines
and what the load sensors see are made up. So it takes seconds, and comes out the same every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf, log

import numpy as np

from elastiq.desk import LIMIT, Desk
from elastiq.dispatcher import Dispatcher
from elastiq.drivers import Memory
from elastiq.errors import ElastiqError, QueueFull
from elastiq.hog import Hog
from elastiq.latency import Latency, LatencyTable
from elastiq.load import INTERVAL, Load, LoadMonitor
from elastiq.outcomes import FAILED, IN_TIME, LATE, REFUSED, Outcome
from elastiq.policies import Policy
from elastiq.protocols import Arrays
from elastiq.records import PointRecord, Route
from elastiq.rehearsal import Beside
from elastiq.requests import Answer, Done
from elastiq.rests import cost
from elastiq.schedule import Law

BESIDE = Beside()
# Parts of a law: from which share of all runs on each begins. Up to the p50, all are alike.
PARTS = (0.0, *np.linspace(0.5, 0.9, 16, False), *np.linspace(0.9, 0.99, 8, False), 0.99)
PLACE = "place"  # of a request in its scene: all that it brings


@dataclass(frozen=True)
class Scene:
    """Arrivals, and the luck of each: draws (0…1) of how long its run takes, and of its way."""

    moments: np.ndarray
    deadline: float
    hog: Hog
    luck: np.ndarray  # a row for each request
    beside: Beside = BESIDE


def scene(
    moments: np.ndarray, deadline: float, hog: Hog, seed: int = 0, beside: Beside = BESIDE
) -> Scene:
    """The scene of a seed."""
    luck = np.random.default_rng(seed).random((len(moments), 2))
    return Scene(moments, deadline, hog, luck, beside)


def simulate(
    points: Sequence[PointRecord], table: LatencyTable, policy: Policy, scene: Scene
) -> list[Outcome]:
    """What becomes of each request of a scene, in the order of arrival."""
    return _Play(points, table, policy, scene).outcomes()


def quantile(latency: Latency, share: float) -> float:
    """How long a run takes that is longer than this share of all: exponential between what was
    measured, and no shorter than the p50, nor longer than the p99."""
    known = ((0.5, latency.p50), (0.9, latency.p90), (0.99, latency.p99))
    for (low, below), (high, above) in pairwise(known):
        if share <= low:
            return below
        if share < high:
            return below + (above - below) * log((1 - low) / (1 - share)) / log(
                (1 - low) / (1 - high)
            )
    return latency.p99


class Costs:
    """How long runs take: by point, load, and the luck of the request that is first in them."""

    def __init__(self, points: Sequence[PointRecord], table: LatencyTable) -> None:
        self._points = {point.name: point for point in points}
        self._table = table
        self._found: dict[tuple[str, int, float], Latency] = {}

    def __call__(self, point: str, load: float, luck: Sequence[float]) -> tuple[float, list[str]]:
        """The seconds, and the stages that run."""
        ways = self._points[point].ways()
        place = _way(ways, luck[1])
        stages = [stage for stage, times in ways[place].runs.items() for _ in range(times)]
        return quantile(self._latency(point, place, load), luck[0]), stages

    def law(self, point: str, load: float) -> Law:
        """How long runs take: of each part of them, the shortest."""
        ways = self._points[point].ways()
        all_ways = sum(way.share for way in ways)
        shares = np.diff([*PARTS, 1.0]).tolist()
        return tuple(
            (quantile(self._latency(point, place, load), begin), way.share / all_ways * share)
            for place, way in enumerate(ways)
            for begin, share in zip(PARTS, shares, strict=True)
        )

    def _latency(self, point: str, place: int, load: float) -> Latency:
        key = point, place, load
        if key not in self._found:
            route = self._points[point].ways()[place]
            self._found[key] = self._table.along(self._points[point], route.runs, load)
        return self._found[key]


def _way(ways: Sequence[Route], luck: float) -> int:
    left = luck * sum(way.share for way in ways)
    for place, way in enumerate(ways):
        left -= way.share
        if left < 0:
            return place
    return len(ways) - 1


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class _Scripted:
    """What the sensor of the CPU would see of a hog."""

    name = "scripted"
    period = 0.0

    def __init__(self, hog: Hog) -> None:
        self._hog = hog
        self.now = 0.0

    def read(self) -> dict[str, float]:
        return {"others": self._hog.at(self.now)}


class _Play:
    """One contender on the stage: its requests arrive while others run."""

    def __init__(
        self, points: Sequence[PointRecord], table: LatencyTable, policy: Policy, scene: Scene
    ) -> None:
        self._scene = scene
        self._costs = Costs(points, table)
        self._scores = {point.name: point.score for point in points}
        self._clock = _Clock()
        self._sensor = _Scripted(scene.hog)
        self._monitor = LoadMonitor([self._sensor])
        dispatcher = Dispatcher(points, table, policy, self._load, clock=self._clock, limit=LIMIT)
        self._desk = Desk(dispatcher, self._execute, LIMIT, clock=self._clock)
        self._moments = scene.moments.tolist()
        self._luck = scene.luck.tolist()
        self._sent = 0
        self._soonest = -inf
        self._unanswered = 0  # of those that ran together
        self._after = 0.0
        self._latest: str | None = None  # point that ran
        self._idle_since = -inf
        self._ended: dict[str, float] = {}  # when a point's run did, last
        self._outcomes: list[Outcome] = [Outcome(REFUSED, 0.0)] * len(self._moments)

    def outcomes(self) -> list[Outcome]:
        while self._sent < len(self._moments) or self._desk.waiting:
            if not self._desk.waiting and self._next() > self._clock.now:
                while self._desk.think():
                    pass
                self._arrive(self._next())
                rest = self._clock.now - self._idle_since
                self._clock.now += cost(self._scene.beside.handing, rest)
            self._arrive(self._clock.now)
            if self._desk.waiting:
                self._desk.serve_one()
        return self._outcomes

    def _next(self) -> float:
        """When the next request is sent: at its moment, unless the sender is still busy."""
        return max(self._moments[self._sent], self._soonest)

    def _arrive(self, until: float) -> None:
        """Send what is due by then, each request at its moment."""
        while self._sent < len(self._moments) and (now := self._next()) <= until:
            place, self._sent = self._sent, self._sent + 1
            self._clock.now = now
            self._soonest = now + self._scene.beside.sending
            left = self._scene.deadline - (now - self._moments[place])
            try:
                future = self._desk.submit({PLACE: np.array(place)}, left)
            except QueueFull:
                continue
            future.add_done_callback(partial(self._settled, place))
        self._clock.now = until

    def _execute(self, point: str, requests: Sequence[Arrays], memory: Memory | None) -> Done:
        begun = self._clock.now
        luck = self._luck[int(requests[0][PLACE])]
        took, ran = self._costs(point, self._scene.hog.at(begun), luck)
        beside = self._scene.beside
        rest, away = begun - self._idle_since, begun - self._ended.get(point, -inf)
        took = beside.took(took) + beside.starting(rest, away, self._latest not in (None, point))
        self._latest = point
        self._arrive(begun + took)
        self._idle_since = self._ended[point] = self._clock.now
        self._unanswered = len(requests)
        self._after = beside.pause(len(requests))
        return Done([{} for _ in requests], ran)

    def _settled(self, place: int, future: Future[Answer]) -> None:
        latency = self._clock.now - self._moments[place]
        try:
            answer = future.result()
        except ElastiqError:
            return
        except Exception:
            self._outcomes[place] = Outcome(FAILED, 0.0)
            return
        state = IN_TIME if latency <= self._scene.deadline else LATE
        score = self._scores[answer.point]
        took = answer.took
        self._outcomes[place] = Outcome(state, 0.0, latency, answer.point, score, took=took)
        self._unanswered -= 1
        if not self._unanswered:
            self._clock.now += self._after

    def _load(self) -> Load:
        """What a monitor would have by now, that looks at the sensors every so often."""
        while self._sensor.now <= self._clock.now:
            self._monitor.sample()
            self._sensor.now += INTERVAL
        return self._monitor.latest
