"""Points with invented costs, for tests of how points are chosen: no engine is measured here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from elastiq import digest
from elastiq.dispatcher import Dispatcher
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.policies import Option, policy
from elastiq.records import PointRecord, StageRecord
from elastiq.requests import Done


def latency(p50, p99=None):
    p99 = 1.2 * p50 if p99 is None else p99
    return Latency(p50, (p50 + p99) / 2, p99, p50, p50, 200, True)


def point(name, score, *engines, **more):
    stages = {engine: StageRecord((), (), engine, "") for engine in engines or (name,)}
    return PointRecord(name, {}, score, stages, **more)


def options(*costs_and_scores):
    """Options from (p99, score, how many they take or 1), named by their place; p50 is p99."""
    return tuple(
        Option(str(place), score, cost, cost, cost, cost, *takes)
        for place, (cost, score, *takes) in enumerate(costs_and_scores)
    )


def table(costs, slowdown=None):
    """A table of p50s per engine on the idle device, each `slowdown` times longer at full load."""
    rows = [Row(name, 0.0, latency(cost)) for name, cost in costs.items()]
    if slowdown is not None:
        rows += [Row(name, 1.0, latency(slowdown * cost)) for name, cost in costs.items()]
    return LatencyTable("test device", True, {}, tuple(rows))


class Clock:
    """A clock that moves on by a second whenever it is looked at: nothing known stays good."""

    def __init__(self, step=1.0):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def dispatcher(
    costs=(("small", 0.001), ("large", 0.004)), name="deadline", load=0.0, clock=None, **given
):
    """A dispatcher over points with these costs, each more accurate than the one before."""
    costs = dict(costs)
    points = [point(name, 0.5 + 0.1 * place) for place, name in enumerate(costs)]
    return Dispatcher(
        points, table(costs, 3.0), policy(name, **given), lambda: load, clock=clock or Clock()
    )


def execute(answer):
    """What a worker calls, over a function that answers one request at a point."""

    def run(point, requests, memory=None):
        return Done([answer(point, request) for request in requests], ["main"])

    return run


@pytest.fixture(scope="session")
def make():
    """The makers of invented points, tables and dispatchers."""
    return SimpleNamespace(
        latency=latency,
        point=point,
        options=options,
        table=table,
        dispatcher=dispatcher,
        clock=Clock,
        execute=execute,
    )


@pytest.fixture
def digested(monkeypatch):
    """The files whose digests were computed, once for each time."""
    read = []
    original = digest.of_file

    def of_file(path):
        read.append(path)
        return original(path)

    monkeypatch.setattr(digest, "of_file", of_file)
    return read
