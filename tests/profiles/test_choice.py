"""The choice of engines: the fastest inside the budget, never one that answers wrongly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import ElastiqError
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.records import Quality, engine_key
from profiles.choice import Candidate, choose, refusal

BUDGET = 0.5


def candidate(precision, drop=0.0, error=1e-6, backend="b", point="queries=4"):
    quality = Quality(error, error / 10, 1.0, 0.9 - drop / 100, 0.9, 1000, 0.05)
    runs = ((engine_key(point, "main", backend, precision), 1.0),)
    return Candidate(point, runs, backend, precision, quality)


def table(times):
    rows = [Row(key, 0.0, Latency(t, t, t, t, t, 200, True)) for c, t in times for key in c.keys]
    return LatencyTable("d", True, {}, tuple(rows))


def chosen(*times):
    return choose([c for c, _ in times], table(times), BUDGET)["queries=4"]


def test_the_fastest_inside_the_budget_ships():
    assert (
        chosen((candidate("fp32"), 2.0), (candidate("int8", 0.4), 1.0)).candidate.precision
        == "int8"
    )


def test_int8_that_is_slower_does_not_ship():
    choice = chosen((candidate("fp32"), 1.0), (candidate("int8"), 1.1))
    assert choice.candidate.precision == "fp32"
    assert "int8 1100.00 ms" in choice.why


def test_over_the_budget_the_higher_precision_ships_and_says_why():
    choice = chosen((candidate("fp32"), 2.0), (candidate("int8", 0.6), 1.0))
    assert choice.candidate.precision == "fp32"
    assert "int8 is over the budget of 0.5 points (drop 0.60" in choice.why


def test_a_full_precision_engine_that_answers_otherwise_never_ships():
    wrong = candidate("fp32", error=0.1, backend="fast")
    assert chosen((wrong, 0.1), (candidate("fp32"), 1.0)).candidate.backend == "b"


def test_where_nothing_may_ship_the_reasons_are_told():
    with pytest.raises(ElastiqError, match=r"queries=4: b fp32 answers wrongly.*; b int8 is over"):
        chosen((candidate("fp32", error=0.1), 1.0), (candidate("int8", 9), 1.0))


@given(
    st.lists(
        st.tuples(st.sampled_from(["fp32", "int8"]), st.floats(-1, 3), st.floats(1e-5, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_is_measured_the_choice_is_allowed_and_none_allowed_is_faster(found):
    times = [
        (candidate(precision, drop, backend=f"b{i}"), seconds)
        for i, (precision, drop, seconds) in enumerate(found)
    ]
    allowed = {c: t for c, t in times if refusal(c, BUDGET) is None}
    if not allowed:
        with pytest.raises(ElastiqError):
            chosen(*times)
    else:
        choice = chosen(*times).candidate
        assert allowed[choice] == min(allowed.values())


@pytest.mark.parametrize(("runs", "best"), [((1, 1), "fast"), ((1, 0.3), "slow")])
def test_every_stage_of_a_point_counts_as_often_as_it_runs(runs, best):
    slow, fast = (
        replace(
            c,
            runs=tuple(
                (engine_key(c.point, stage, c.backend, c.precision), count)
                for stage, count in zip("ab", runs, strict=True)
            ),
        )
        for c in (candidate("fp32", backend="slow"), candidate("fp32", backend="fast"))
    )
    rows = [
        Row(engine_key("queries=4", stage, backend, "fp32"), 0.0, Latency(t, t, t, t, t, 9, True))
        for stage, backend, t in [
            ("a", "slow", 1),
            ("b", "slow", 9),
            ("a", "fast", 4),
            ("b", "fast", 4),
        ]
    ]
    choice = choose([slow, fast], LatencyTable("d", True, {}, tuple(rows)), BUDGET)["queries=4"]
    assert choice.candidate.backend == best
