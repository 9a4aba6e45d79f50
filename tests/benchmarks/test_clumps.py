"""Scenes with clumps: ours, the best that do not see the future, and who does, on one bundle."""

from __future__ import annotations

from dataclasses import replace

import elastiq
from benchmarks import clumps
from benchmarks.clumps import SLOT, in_slots, play
from elastiq.latency import Latency, Row


def steadily(points, table, slot):
    """Costs that no stall while they were measured decides."""
    costs = {points[0].stages["main"].engine: 1.0, points[-1].stages["main"].engine: 2.0}
    costs = {engine: SLOT * cost for engine, cost in costs.items()}
    rows = [Row(e, 0.0, Latency(t, t, t, t, t, 100, True)) for e, t in costs.items()]
    return replace(table, rows=tuple(rows))


def test_costs_are_whole_slots(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        points, table = bundle.manifest.points, bundle.table
        slot = table.of(points[-1], 0.0).p50 / 3
        costs = [in_slots(points, table, slot).of(point, 0.0) for point in points]
    slots = [cost.mean / SLOT for cost in costs]
    assert all(slot.is_integer() and slot >= 1 for slot in slots) and slots[-1] >= 3
    assert all(cost.p50 == cost.p99 == cost.mean for cost in costs)


def test_no_policy_is_ahead_of_the_best_nor_the_best_of_who_sees_the_future(
    tiny_bundle, monkeypatch
):
    monkeypatch.setattr(clumps, "in_slots", steadily)
    monkeypatch.setattr(clumps, "GIVEN", 5)
    monkeypatch.setattr(clumps, "MOST", 6)
    monkeypatch.setattr(clumps, "REQUESTS", 6000)
    with elastiq.open(tiny_bundle) as bundle:
        best = max(point.score for point in bundle.manifest.points)
    earned = play(tiny_bundle, (1.0, 2.0))
    assert 0.8 * earned.optimum < earned.ours < 1.05 * earned.optimum
    assert earned.optimum < 1.05 * earned.bound
    assert earned.bound <= best
