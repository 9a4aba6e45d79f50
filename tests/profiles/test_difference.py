"""What changed between two tables: noise is not called a change, and a change is."""

from __future__ import annotations

import numpy as np
import pytest

from elastiq.latency import Latency, LatencyTable, Row
from profiles.difference import BETTER, SAME, WORSE, of_tables, only


def table(seconds, stable=True, loads=(0.0, 1.0)):
    rows = [
        Row(name, load, Latency(p50, 1.1 * p50, 1.3 * p50, p50, p50, 200, stable))
        for name, p50 in seconds.items()
        for load in loads
    ]
    return LatencyTable("test device", True, {}, tuple(rows))


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, SAME), (1.04, SAME), (0.96, SAME), (1.2, WORSE), (0.8, BETTER)]
)
def test_only_what_is_beyond_the_noise_is_a_change(factor, verdict):
    changes = list(of_tables(table({"a": 0.001}), table({"a": factor * 0.001})))
    assert len(changes) == 3  # at no, half and full load
    assert {change.verdict for change in changes} == {verdict}
    assert changes[0].change == pytest.approx(100 * (factor - 1))


def test_an_unstable_measurement_proves_less():
    stable = table({"a": 0.001})
    (change, *_) = of_tables(stable, table({"a": 0.0012}, stable=False))
    assert change.verdict == SAME


def test_repeating_a_measurement_is_seldom_called_a_change():
    generator = np.random.default_rng(0)
    seen = [
        change.verdict
        for _ in range(300)
        for change in of_tables(
            table({"a": 0.001 * generator.normal(1.0, 0.03)}, loads=(0.0,)),
            table({"a": 0.001 * generator.normal(1.0, 0.03)}, loads=(0.0,)),
        )
    ]
    assert seen.count(SAME) / len(seen) == pytest.approx(0.95, abs=0.04)


def test_loads_that_were_not_measured_are_not_compared():
    changes = list(of_tables(table({"a": 0.001}), table({"a": 0.001}, loads=(0.0,))))
    assert [change.name for change in changes] == ["a at 0% load"]


def test_what_only_one_has_is_named():
    assert only(["a", "b"], ["b", "c"]) == ["a is gone", "c is new"]
