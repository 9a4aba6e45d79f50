"""Scenes in slots: ours, the best that do not see the future, and who does, on one bundle."""

from __future__ import annotations

from dataclasses import replace

import pytest

import elastiq
from benchmarks import foresight
from benchmarks.foresight import GIVEN, SLOT, Kind, in_slots, play
from elastiq.latency import Latency, Row


@pytest.mark.parametrize("even", [False, True])
def test_costs_are_whole_slots(tiny_bundle, even):
    with elastiq.open(tiny_bundle) as bundle:
        table = in_slots(bundle.manifest.points, bundle.table, Kind(1.0, 1.0, even))
        costs = [table.of(point, 0.0) for point in bundle.manifest.points]
    for cost in costs:
        slots = [time / SLOT for time in (cost.p50, cost.p90, cost.p99)]
        assert all(slot.is_integer() and slot >= 1 for slot in slots)
        assert slots == sorted(slots)
        assert len(set(slots)) == 1 or not even
        assert cost.mean == pytest.approx(0.5 * cost.p50 + 0.4 * cost.p90 + 0.1 * cost.p99)
    assert even or costs[-1].p50 == GIVEN * SLOT / 2


def test_no_policy_is_ahead_of_the_best_nor_the_best_of_who_sees_the_future(
    tiny_bundle, monkeypatch
):
    def steadily(points, table, kind):  # else a stall while it was measured decides
        costs = {points[0].stages["main"].engine: 0.001, points[-1].stages["main"].engine: 0.002}
        rows = [Row(e, 0.0, Latency(t, t, t, t, t, 100, True)) for e, t in costs.items()]
        return in_slots(points, replace(table, rows=tuple(rows)), kind)

    monkeypatch.setattr(foresight, "in_slots", steadily)
    monkeypatch.setattr(foresight, "GIVEN", 10)
    monkeypatch.setattr(foresight, "REQUESTS", 3000)
    with elastiq.open(tiny_bundle) as bundle:
        best = max(point.score for point in bundle.manifest.points)
    earned = play(tiny_bundle, Kind(2.0, 1.0, even=True))
    assert 0.8 * earned.optimum < earned.ours < 1.03 * earned.optimum
    assert earned.optimum < 1.03 * earned.bound
    assert earned.bound <= best
