"""A latency table for analysis: a row for each engine and load, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elastiq import digest
from elastiq.codec import plain
from elastiq.errors import missing
from elastiq.latency import LatencyTable

KEY = ("point", "stage", "backend", "precision")


def records(table: LatencyTable) -> list[dict[str, Any]]:
    """Flat rows, in seconds; what holds for the whole table stands in each."""
    common = {"device": table.device, "measured": table.measured}
    return [
        dict(zip(KEY, row.engine.split("/"), strict=True))
        | {"load": row.load}
        | plain(row.latency)
        | common
        | {f"on {name}": value for name, value in table.circumstances.items()}
        for row in table.rows
    ]


def to_csv(table: LatencyTable) -> bytes:
    rows, text = records(table), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else list(KEY))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def to_parquet(table: LatencyTable) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as e:
        raise missing("pyarrow", "parquet") from e
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(records(table)), sink)
    return bytes(sink.getvalue())


FORMS: dict[str, Callable[[LatencyTable], bytes]] = {"csv": to_csv, "parquet": to_parquet}


def write(table: LatencyTable, path: Path, form: str) -> None:
    digest.write_atomically(path, FORMS[form](table))
