"""Latency tables: between two levels of load lies nothing but what lies between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.codec import plain
from elastiq.errors import ElastiqError
from elastiq.latency import MEMORY, Latency, LatencyTable, Row, read
from elastiq.records import PointRecord, Route, StageRecord

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
def test_levels_that_rise_are_answered_as_measured(levels):
    rising = list(zip(sorted(x for x, _ in levels), sorted(y for _, y in levels), strict=True))
    for load, p50 in rising:
        assert abs(table(rising).at("e", load).p50 - p50) <= 1e-9


@given(tables, st.floats(0, 1), st.floats(0, 1))
def test_more_load_never_costs_less(levels, a, b):
    low, high = sorted((a, b))
    at = table(levels).at
    assert at("e", low).p50 <= at("e", high).p50 + 1e-12
    assert at("e", low).p99 <= at("e", high).p99 + 1e-12


def test_levels_that_fall_are_one():
    found = table([(0.0, 0.1), (0.5, 0.4), (0.7, 0.2), (1.0, 0.5)])
    assert found.at("e", 0.5).p50 == found.at("e", 0.7).p50 == pytest.approx(0.3)
    assert found.at("e", 0.0).p50 == 0.1
    assert found.at("e", 1.0).p50 == 0.5


def test_the_bound_is_what_levels_are_off_by_when_they_are_left_out():
    straight = table([(0.0, 0.1), (0.5, 0.2), (1.0, 0.3)])
    assert straight.bound == pytest.approx(0.0, abs=1e-9)
    bent = table([(0.0, 0.1), (0.5, 0.1), (1.0, 0.3)])
    assert bent.bound == pytest.approx(1.0)  # 0.2 where 0.1 was measured
    assert table([(0.0, 0.1), (1.0, 0.3)]).bound is None


def test_beyond_the_measured_levels_the_nearest_is_answered():
    found = table([(0.2, 0.1), (0.6, 0.3)])
    assert found.at("e", 0.0).p50 == 0.1
    assert found.at("e", 1.0).p50 == 0.3


def staged(routes, **costs):
    """A point of these stages, and a table of what each costs."""
    stages = {name: StageRecord((), (), name, "") for name in costs}
    rows = tuple(Row(name, 0.0, latency(cost)) for name, cost in costs.items())
    return PointRecord("p", {}, 0.5, stages, routes=routes), LatencyTable("d", True, {}, rows)


def test_a_request_costs_the_stages_that_it_runs():
    routes = {"whole": (Route(1.0, {"a": 3, "b": 1}),), "1": (Route(1.0, {"b": 1}),)}
    point, table = staged(routes, a=0.1, b=0.2)
    assert table.of(point, 0.0).p50 == pytest.approx(0.5)
    assert table.of(point, 0.0).mean == pytest.approx(0.55)
    assert table.of(point, 0.0, "1").p50 == pytest.approx(0.2)
    # One bad run of each stage, not three of the first.
    assert table.of(point, 0.0).p99 == pytest.approx(0.2 + 0.2 + 0.4)
    with pytest.raises(ElastiqError, match="no request of the kind '2'"):
        table.of(point, 0.0, "2")


def test_without_routes_every_stage_runs_once():
    point, table = staged({}, a=0.1, b=0.2)
    assert table.of(point, 0.0).p50 == pytest.approx(0.3)


def test_where_requests_take_different_ways_shares_count():
    cheap, dear = Route(0.7, {"policy": 1, "small": 1}), Route(0.3, {"policy": 1, "large": 1})
    point, table = staged({"whole": (cheap, dear)}, policy=0.1, small=0.1, large=0.9)
    found = table.of(point, 0.0)
    assert found.mean == pytest.approx(0.7 * 0.22 + 0.3 * 1.1)
    assert found.p50 < 0.3  # most take the cheap way
    assert found.p99 == pytest.approx(2.0)  # and the dear one's tail is there all the same


@given(st.lists(st.tuples(st.floats(0.01, 1.0), seconds), min_size=1, max_size=5))
def test_a_mixture_lies_between_its_ways(ways):
    routes = tuple(Route(share, {f"s{n}": 1}) for n, (share, _) in enumerate(ways))
    point, table = staged({"whole": routes}, **{f"s{n}": cost for n, (_, cost) in enumerate(ways)})
    found = table.of(point, 0.0)
    low, high = min(cost for _, cost in ways), max(cost for _, cost in ways)
    assert low * 0.999 <= found.p50 <= found.p90 <= found.p99 <= 2 * high * 1.001
    assert 1.1 * low * 0.999 <= found.mean <= 1.1 * high * 1.001


def test_streaming_programs_have_a_table_of_their_own():
    rows = (
        Row("e", 0.0, latency(0.1)),
        Row("e", 1.0, latency(0.2)),
        Row("e", 0.9, latency(0.5), MEMORY),
    )
    found = LatencyTable("d", True, {}, rows)
    assert found.loads == [0.0, 1.0]
    assert found.at("e", 1.0).p50 == 0.2
    assert found.at("e", 0.9).p50 == pytest.approx(0.19)
    under = found.under(MEMORY)
    assert under.loads == [0.0, 0.9]
    assert under.at("e", 0.0).p50 == 0.1
    assert under.at("e", 0.45).p50 == pytest.approx(0.3)
    assert under.at("e", 1.0).p50 == 0.5


def test_a_table_of_another_schema_is_refused():
    data = plain(table([(0.0, 0.1)]))
    assert read(data, "a file") == table([(0.0, 0.1)])
    with pytest.raises(ElastiqError, match="has schema 9"):
        read(data | {"schema_version": 9}, "a file")
    with pytest.raises(ElastiqError, match="Did you mean 'rows'"):
        read(data | {"row": []}, "a file")
