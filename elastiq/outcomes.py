"""What became of the requests of a replay, and the figures that sum it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

IN_TIME, LATE, REFUSED, FAILED = "in time", "late", "refused", "failed"


@dataclass(frozen=True)
class Outcome:
    """One request: what became of it, counted from the moment at which it was due to be sent."""

    state: str
    lateness: float  # of the sender, in seconds
    latency: float | None = None
    point: str | None = None
    score: float = 0.0
    differing: bool = False  # the answer is not the one that verification saw: it scores 0
    took: float | None = None  # in the engines, in seconds
    beside: float | None = None  # what a request took lately beside them

    @property
    def answered(self) -> bool:
        return self.state in (IN_TIME, LATE)


@dataclass(frozen=True)
class Report:
    """One contender's figures. Shares and scores in 0…1, times in seconds."""

    name: str
    requests: int
    in_time: int
    late: int
    refused: int
    failed: int
    differing: int
    attainment: float  # answered by the deadline / all
    accuracy: float | None  # mean score of what was answered
    effective_accuracy: float  # scores of what was answered by the deadline / all
    p50: float | None
    p99: float | None
    shifts: int  # answers at another point than the one before
    points: dict[str, float]  # share of the answers
    sender_p50: float  # the sender's own lateness: a figure it spoilt should be seen
    sender_p99: float
    sender_worst: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarize(name: str, outcomes: Sequence[Outcome]) -> Report:
    """The figures of one contender, from its outcomes in the order of sending."""
    count = len(outcomes)
    states = Counter(outcome.state for outcome in outcomes)
    answered = [outcome for outcome in outcomes if outcome.answered]
    points = [outcome.point or "" for outcome in answered]
    earned = sum(outcome.score for outcome in answered if outcome.state == IN_TIME)
    p50, p99 = _quantiles([o.latency for o in answered if o.latency is not None], (0.5, 0.99))
    sender = _quantiles([outcome.lateness for outcome in outcomes], (0.5, 0.99, 1.0))
    return Report(
        name=name,
        requests=count,
        in_time=states[IN_TIME],
        late=states[LATE],
        refused=states[REFUSED],
        failed=states[FAILED],
        differing=sum(outcome.differing for outcome in outcomes),
        attainment=states[IN_TIME] / max(1, count),
        accuracy=sum(o.score for o in answered) / len(answered) if answered else None,
        effective_accuracy=earned / max(1, count),
        p50=p50,
        p99=p99,
        shifts=sum(a != b for a, b in pairwise(points)),
        points={point: n / len(points) for point, n in sorted(Counter(points).items())},
        sender_p50=sender[0] or 0.0,
        sender_p99=sender[1] or 0.0,
        sender_worst=sender[2] or 0.0,
    )


COLUMNS = (
    "effective %",
    "in time %",
    "accuracy %",
    "p50 ms",
    "p99 ms",
    "refused",
    "late",
    "failed",
    "differing",
    "shifts",
    "answered at",
)


def ranked(reports: Iterable[Report]) -> list[Report]:
    """The contenders, best first."""
    return sorted(reports, key=lambda report: -report.effective_accuracy)


def cells(report: Report) -> list[str]:
    """A contender's figures for people, one per column."""
    counts = (report.refused, report.late, report.failed, report.differing, report.shifts)
    return [
        _cell(report.effective_accuracy, 100),
        _cell(report.attainment, 100),
        _cell(report.accuracy, 100),
        _cell(report.p50, 1000),
        _cell(report.p99, 1000),
        *map(str, counts),
        ", ".join(f"{name} {share:.0%}" for name, share in report.points.items()),
    ]


def table(reports: Iterable[Report]) -> list[str]:
    """The figures of all contenders for people, best first."""
    ranking = ranked(reports)
    rows = [("contender", *COLUMNS), *((report.name, *cells(report)) for report in ranking)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join([f"{row[0]:<{widths[0]}}", *map(str.rjust, row[1:-1], widths[1:]), row[-1]])
        for row in rows
    ]
    late, worst = (max(getattr(r, key) for r in ranking) for key in ("sender_p99", "sender_worst"))
    return [
        *lines,
        f"the sender itself was late by {_cell(late, 1000)} ms (p99), "
        f"{_cell(worst, 1000)} ms at worst",
    ]


def _quantiles(values: list[float], shares: tuple[float, ...]) -> list[float | None]:
    if not values:
        return [None] * len(shares)
    return [float(value) for value in np.quantile(values, shares)]


def _cell(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{factor * value:.2f}"
