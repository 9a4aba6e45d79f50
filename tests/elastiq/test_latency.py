"""Latency tables: between two levels of load lies nothing but what lies between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elastiq.latency import Latency, LatencyTable, Row

seconds = st.floats(1e-5, 1.0)


def latency(p50: float) -> Latency:
    return Latency(p50, p50 * 1.2, p50 * 2, p50 * 1.1, p50 * 3, 100, True)


tables = st.lists(
    st.tuples(st.floats(0, 1), seconds), min_size=1, max_size=5, unique_by=lambda pair: pair[0]
)


def table(levels):
    return LatencyTable("d", True, {}, tuple(Row("e", load, latency(p50)) for load, p50 in levels))


@given(tables, st.floats(0, 1))
def test_a_value_lies_between_its_neighbours(levels, load):
    found = table(levels).at("e", load)
    low, high = min(p for _, p in levels), max(p for _, p in levels)
    assert low * 0.999 <= found.p50 <= high * 1.001
    assert found.p50 <= found.p90 <= found.p99


@given(tables)
def test_measured_levels_are_answered_as_measured(levels):
    for load, p50 in levels:
        assert abs(table(levels).at("e", load).p50 - p50) <= 1e-9


@given(tables, st.floats(0, 1), st.floats(0, 1))
def test_where_more_load_never_measured_faster_it_is_never_predicted_faster(levels, a, b):
    rising = sorted(zip(sorted(x for x, _ in levels), sorted(y for _, y in levels), strict=True))
    low, high = sorted((a, b))
    at = table(rising).at
    assert at("e", low).p50 <= at("e", high).p50 + 1e-12


def test_beyond_the_measured_levels_the_nearest_is_answered():
    found = table([(0.2, 0.1), (0.6, 0.3)])
    assert found.at("e", 0.0).p50 == 0.1
    assert found.at("e", 1.0).p50 == 0.3
