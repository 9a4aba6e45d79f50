"""The published schema of latency tables: it has every key of the records, and real tables hold."""

from __future__ import annotations

import json
from dataclasses import fields

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.codec import plain
from elastiq.latency import PRESSURES, SCHEMA_VERSION, Footprint, Latency, LatencyTable, Row, read
from tests.conftest import ROOT, TINY

SCHEMA = json.loads((ROOT / "profiles" / "table.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

seconds = st.floats(0, 100)
engines = st.sampled_from(["queries=2/main/onnxruntime/int8", "split=4/iterator/tvm/fp32"])
perhaps = st.none() | st.floats(0, 1e4)
latencies = st.builds(
    Latency, seconds, seconds, seconds, seconds, seconds, st.integers(1, 10**6), st.booleans()
)
rows = st.builds(
    Row, engines, st.floats(0, 1), latencies, st.sampled_from(PRESSURES), *[perhaps] * 4
)
tables = st.builds(
    LatencyTable,
    st.just("board-2c-12345678"),
    st.just(True),
    st.dictionaries(st.text(), st.text()),
    st.lists(rows, max_size=4).map(tuple),
    footprints=st.dictionaries(
        engines, st.builds(Footprint, seconds, st.none() | st.integers(0, 10**12))
    ),
)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (LatencyTable, SCHEMA),
        *((kind, SCHEMA["$defs"][kind.__name__.lower()]) for kind in (Row, Latency, Footprint)),
    ],
)
def test_it_has_the_keys_of_the_records(kind, part):
    names = {field.name for field in fields(kind)}
    assert set(part["properties"]) == set(part["required"]) == names
    assert part["additionalProperties"] is False


def test_it_is_a_schema_of_the_version_that_is_written():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION


@given(tables)
def test_what_the_records_can_say_it_allows_and_they_read_back(table):
    data = plain(table)
    VALIDATOR.validate(data)
    assert read(json.loads(json.dumps(data)), "a table") == table


def test_what_is_predicted_cannot_pass_for_measured():
    times = Latency(0.1, 0.1, 0.1, 0.1, 0.1, 0, False)
    row = Row("queries=2/main/tensorrt/int8", 0.0, times)
    told = {"predicted by": "roofline", "data sheet of": "a board"}
    predicted = plain(LatencyTable("predicted-board", False, told, (row,)))
    VALIDATOR.validate(predicted)
    for spoilt in (predicted | {"measured": True}, predicted | {"device": "board-2c-12345678"}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(spoilt)


def test_what_profile_writes_holds(elastiq, tmp_path):
    out = tmp_path / "table.json"
    elastiq("profile", TINY, "--backend", "onnxruntime", "--accuracy-drop", 5, "--loads", "0,1",
            "--profile-seconds", 0.1, "--table", out, check=0)  # fmt: skip
    data = json.loads(out.read_text())
    VALIDATOR.validate(data)
    table = read(data, out.name)
    assert {row.pressure for row in table.rows} == set(PRESSURES)
    assert all(row.spread >= 0 for row in table.rows)
    assert table.footprints and all(f.memory >= 0 for f in table.footprints.values())
    assert {"numpy", "onnxruntime", "governor", "kernel", "threads"} <= set(table.circumstances)


def test_so_do_the_tables_of_bundles(tiny_bundle):
    (path,) = (tiny_bundle / "profiles").iterdir()
    VALIDATOR.validate(json.loads(path.read_text()))
