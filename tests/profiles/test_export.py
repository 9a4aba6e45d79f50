"""Latency tables for analysis: every row and circumstance, in forms that other tools read."""

from __future__ import annotations

import csv
import io

import pytest

from elastiq.latency import Latency, LatencyTable, Row
from profiles import export

TABLE = LatencyTable(
    "board",
    True,
    {"governor": "performance"},
    tuple(
        Row(f"queries={q}/main/onnxruntime/int8", load, Latency(0.1, 0.2, 0.3, 0.15, 0.5, 40, True))
        for q in (2, 8)
        for load in (0.0, 1.0)
    ),
)


def test_csv_has_a_row_for_each_engine_and_load():
    rows = list(csv.DictReader(io.StringIO(export.to_csv(TABLE).decode())))
    assert len(rows) == 4
    assert rows[3]["point"] == "queries=8"
    assert rows[3]["backend"] == "onnxruntime"
    assert float(rows[3]["load"]) == 1.0
    assert float(rows[3]["p99"]) == 0.3
    assert rows[3]["on governor"] == "performance"


def test_parquet_keeps_the_types():
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table(io.BytesIO(export.to_parquet(TABLE))).to_pylist()
    assert found == export.records(TABLE)


def test_an_empty_table_has_a_heading_only():
    empty = LatencyTable("board", True, {}, ())
    assert export.to_csv(empty).decode().strip() == "point,stage,backend,precision"


def test_profile_writes_both(elastiq, tmp_path):
    from tests.conftest import TINY

    out = tmp_path / "table.csv"
    told = elastiq("profile", TINY, "--backend", "onnxruntime", "--accuracy-drop", 5, "--loads",
                   "0,0.5,1", "--profile-seconds", 0.1, "--csv", out,
                   "--parquet", tmp_path / "table.parquet", check=0)  # fmt: skip
    rows = list(csv.DictReader(out.open()))
    assert {row["point"] for row in rows} == {"queries=2", "queries=8"}
    assert {float(row["p50"]) > 0 for row in rows} == {True}
    assert (tmp_path / "table.parquet").read_bytes()[:4] == b"PAR1"
    assert "a median between these loads: off by" in told.stdout
