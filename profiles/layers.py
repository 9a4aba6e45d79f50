"""The sensitivity of layers as a picture and its table: which ones INT8 hurts, at which point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiles.charts import Mark, Series, chart

Found = Sequence[Mapping[str, Any]]  # what `sensitivity.json` holds: point, stage, layers


@dataclass(frozen=True)
class Row:
    """A layer, and at each point its SQNR in dB and its loss in points, or None."""

    place: int
    layer: str
    cells: tuple[tuple[float, float] | None, ...]


def columns(found: Found) -> list[str]:
    """The points that were looked at, each with its stage where there is more than one."""
    stages = {part["stage"] for part in found}
    return [part["point"] + (f" {part['stage']}" if len(stages) > 1 else "") for part in found]


def rows(found: Found) -> list[Row]:
    """Every layer, the one that INT8 hurts most first."""
    tables = [{s["layer"]: (s["sqnr"], s["loss"]) for s in part["layers"]} for part in found]
    names = {name for table in tables for name in table}

    def worst(name: str) -> tuple[float, str]:
        return float(np.mean([table[name][0] for table in tables if name in table])), name

    return [
        Row(place, name, tuple(table.get(name) for table in tables))
        for place, name in enumerate(sorted(names, key=worst), 1)
    ]


def picture(found: Found) -> str:
    """SQNR of each layer, a line per point, in the order of the table."""
    lines = []
    for index, name in enumerate(columns(found)):
        marks = [
            Mark(row.place, cell[0], f"{row.layer} at {name}: {cell[0]:.1f} dB")
            for row in rows(found)
            if (cell := row.cells[index])
        ]
        lines.append(Series(name, marks))
    return chart(lines, "layer, in the order of the table", "signal to noise, dB")
