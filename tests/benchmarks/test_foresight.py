"""Scenes in slots: ours, the best that do not see the future, and who does, on one bundle."""

from __future__ import annotations

from dataclasses import replace

import pytest

import elastiq
from benchmarks import foresight
from benchmarks.foresight import GIVEN, LUCK, SLOT, Kind, in_slots, play
from elastiq.latency import Latency, Row
from elastiq.simulation import quantile


@pytest.mark.parametrize("even", [False, True])
def test_costs_are_whole_slots(tiny_bundle, even):
    with elastiq.open(tiny_bundle) as bundle:
        table = in_slots(bundle.manifest.points, bundle.table, Kind(1.0, 1.0, even))
        costs = [table.of(point, 0.0) for point in bundle.manifest.points]
    for cost in costs:
        slots = [quantile(cost, share) / SLOT for share in LUCK]
        whole = [round(slot) for slot in slots]
        assert slots == pytest.approx(whole) and min(whole) >= 1
        assert slots == sorted(slots) and cost.p50 <= cost.p90 <= cost.p99
        assert len(set(whole)) == 1 or not even
        assert cost.mean == pytest.approx(SLOT * (0.5 * slots[0] + 0.4 * slots[1] + 0.1 * slots[2]))
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
