"""Which engine a point ships with: the fastest measured among those inside the accuracy budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elastiq.errors import ElastiqError
from elastiq.latency import LatencyTable
from elastiq.records import Quality
from profiles.paired import worded

EXACT_ERROR = 1e-3  # a full-precision engine may differ by rounding only, in shares of the output
FULL_PRECISION = "fp32"


@dataclass(frozen=True)
class Candidate:
    """One backend's engines of a point at one precision, and how good they were found to be."""

    point: str
    runs: tuple[tuple[str, float], ...]  # of each engine, by key, for one run on average
    backend: str
    precision: str
    quality: Quality
    note: str = ""  # what was given back, or tried, for the budget

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for key, _ in self.runs)

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True)
class Choice:
    """What a point ships with, and why, in words that name what lost."""

    candidate: Candidate
    why: str


def choose(
    candidates: Sequence[Candidate], table: LatencyTable, budget: float
) -> Mapping[str, Choice]:
    """The choice for every point. `budget` is in points of the task metric."""
    by_point: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_point.setdefault(candidate.point, []).append(candidate)
    return {point: _best(point, found, table, budget) for point, found in by_point.items()}


def predict(
    candidates: Sequence[Candidate], precisions: Sequence[str], budget: float
) -> Mapping[str, Choice]:
    """The choice where nothing could be measured: the last precision that holds, its first backend.

    `precisions` are in the target's order.
    """
    by_point: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_point.setdefault(candidate.point, []).append(candidate)
    choices = {}
    for point, found in by_point.items():
        refused = [text for c in found if (text := refusal(c, budget))]
        fit = [c for c in found if not refusal(c, budget)]
        if not fit:
            raise ElastiqError(f"no engine can ship at {point}: {'; '.join(refused)}")
        best = max(fit, key=lambda c: precisions.index(c.precision))
        why = f"{best}, compiled and not executed: its graph was verified, its speed never measured"
        choices[point] = Choice(best, "; ".join(filter(None, [why, _cost(best, budget), *refused])))
    return choices


def refusal(candidate: Candidate, budget: float) -> str | None:
    """Why a candidate may not ship, or None."""
    quality = candidate.quality
    if candidate.precision == FULL_PRECISION and quality.max_error > EXACT_ERROR:
        return f"{candidate} answers wrongly (error {quality.max_error:.2g})"
    if over(quality, budget):
        return f"{candidate} is over the budget of {budget:g} points ({_cost(candidate, budget)})"
    return None


def over(quality: Quality, budget: float) -> bool:
    """Whether the mean drop is over the budget."""
    return quality.drop > budget + 1e-9  # scores are means of floats


def _best(point: str, candidates: list[Candidate], table: LatencyTable, budget: float) -> Choice:
    refused = [text for c in candidates if (text := refusal(c, budget))]
    times = {c: _seconds(c, table) for c in candidates if not refusal(c, budget)}
    if not times:
        raise ElastiqError(f"no engine can ship at {point}: {'; '.join(refused)}")
    ranked = sorted(times, key=lambda c: times[c])
    measured = [
        f"{c} {1000 * times[c]:.2f} ms" + (f" ({cost})" if (cost := _cost(c, budget)) else "")
        for c in ranked
    ]
    return Choice(ranked[0], "; ".join([", ".join(measured), *refused]))


def _cost(candidate: Candidate, budget: float) -> str:
    """What it costs in accuracy; at full precision it was held against the answers themselves."""
    if candidate.precision == FULL_PRECISION:
        return ""
    return "; ".join(filter(None, [worded(candidate.quality, budget), candidate.note]))


def _seconds(candidate: Candidate, table: LatencyTable) -> float:
    return sum(count * table.at(key, 0.0).p50 for key, count in candidate.runs)
