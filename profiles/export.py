"""A latency table as a file: whole as JSON, or flat, a row for each engine and load."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from elastiq import digest
from elastiq.codec import plain
from elastiq.errors import missing
from elastiq.latency import Footprint, LatencyTable

KEY = ("point", "stage", "backend", "precision")
BESIDE = ("spread", "energy", "clock", "temperature")  # a row's latency
FOOTPRINT = tuple(field.name for field in fields(Footprint))


def records(table: LatencyTable) -> list[dict[str, Any]]:
    """Flat rows, in seconds; what holds for the whole table stands in each."""
    common = {"device": table.device, "measured": table.measured}
    return [
        dict(zip(KEY, row.engine.split("/"), strict=True))
        | {"load": row.load, "pressure": row.pressure}
        | plain(row.latency)
        | {name: getattr(row, name) for name in BESIDE}
        | _footprint(table, row.engine)
        | common
        | {f"on {name}": value for name, value in table.circumstances.items()}
        for row in table.rows
    ]


def _footprint(table: LatencyTable, engine: str) -> dict[str, Any]:
    found = table.footprints.get(engine)
    return dict.fromkeys(FOOTPRINT) if found is None else plain(found)


def to_json(table: LatencyTable) -> bytes:
    """As bundles hold it; `table.schema.json` tells every key."""
    return (json.dumps(plain(table), indent=1) + "\n").encode()


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


FORMS: dict[str, Callable[[LatencyTable], bytes]] = {
    "table": to_json,
    "csv": to_csv,
    "parquet": to_parquet,
}


def write(table: LatencyTable, path: Path, form: str) -> None:
    digest.write_atomically(path, FORMS[form](table))
