"""Records to plain values and back: nothing is lost, and a surprise is an error that says where."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.codec import decode, plain
from elastiq.errors import ElastiqError
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.manifest import FileRecord, Manifest
from elastiq.records import EngineRecord, PointRecord, Quality, StageRecord, TensorSpec

text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**31)
tensors = st.builds(TensorSpec, text, text, st.lists(counts, max_size=4).map(tuple))
stages = st.builds(
    StageRecord, st.tuples(tensors), st.lists(tensors, max_size=2).map(tuple), text, text
)
points = st.builds(
    PointRecord,
    text,
    st.dictionaries(text, counts | numbers),
    numbers,
    st.dictionaries(text, stages),
)
qualities = st.builds(Quality, numbers, numbers, numbers, numbers, numbers, counts)
engines = st.builds(
    EngineRecord,
    *[text] * 6,
    st.lists(text, max_size=2).map(tuple),
    st.booleans(),
    st.none() | qualities,
)
manifests = st.builds(
    Manifest,
    counts,
    *[text] * 4,
    counts,
    st.lists(points, max_size=2).map(tuple),
    st.lists(engines, max_size=2).map(tuple),
    st.dictionaries(text, st.builds(FileRecord, text, counts), max_size=2),
    st.dictionaries(text, text, max_size=2),
)
latencies = st.builds(Latency, *[numbers] * 5, counts, st.booleans())
tables = st.builds(
    LatencyTable,
    text,
    st.booleans(),
    st.dictionaries(text, text, max_size=2),
    st.lists(st.builds(Row, text, numbers, latencies), max_size=3).map(tuple),
)


@given(manifests | tables)
def test_what_is_written_is_read_back_the_same(record):
    assert decode(type(record), json.loads(json.dumps(plain(record))), "x") == record


@dataclass(frozen=True)
class Inner:
    size: int


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...] = ()
    share: float | None = None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "a"}, "x: 'inner' is missing"),
        ({"name": "a", "inner": {"size": "1"}}, r"x.inner.size: expected int, found '1'"),
        ({"name": "a", "inner": {"size": True}}, r"x.inner.size: expected int, found True"),
        ({"name": "a", "inner": {"size": 1}, "mny": []}, "Did you mean 'many'"),
        ({"name": "a", "inner": {"size": 1}, "many": [{"size": None}]}, r"x.many\[0\].size"),
        ({"name": "a", "inner": {"size": 1}, "share": "x"}, "x.share: expected float"),
        ({"name": "a", "inner": []}, "x.inner: expected a table"),
    ],
)
def test_a_surprise_is_an_error_that_says_where(data, said):
    with pytest.raises(ElastiqError, match=said):
        decode(Outer, data, "x")


def test_whole_numbers_are_read_where_fractions_are_meant():
    assert decode(Outer, {"name": "a", "inner": {"size": 1}, "share": 1}, "x").share == 1.0
