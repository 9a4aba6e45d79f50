"""A replay's results as a picture: who answered how many in time, and how many of those rightly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from profiles.charts import Mark, Series, chart

BEST = "who knows when all come"


def picture(replay: Mapping[str, Any]) -> str:
    """One dot for each policy, a line through the fixed points, and the bound."""
    reports = replay["reports"]
    fixed = [report for name, report in reports.items() if list(report["points"]) == [name]]
    series = [
        Series(name, [_mark(name, report)])
        for name, report in reports.items()
        if report not in fixed
    ]
    by_time = sorted(fixed, key=lambda report: -report["attainment"])
    if by_time:
        series.append(Series("fixed", [_mark(report["name"], report) for report in by_time]))
    series.append(Series(BEST, [_mark(BEST, replay["bound"])]))
    return chart(series, "answered in time, %", "right and in time, %")


def _mark(name: str, report: Mapping[str, float]) -> Mark:
    x, y = 100 * report["attainment"], 100 * report["effective_accuracy"]
    return Mark(x, y, f"{name}: {y:.2f} % right in time, {x:.2f} % in time")
