"""Latency tables: what each engine was measured to cost on one device, per load level."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

from elastiq.records import WHOLE, PointRecord

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Latency:
    """The cost of one run, in seconds, and how surely it is known."""

    p50: float
    p90: float
    p99: float
    mean: float
    first_run: float
    samples: int
    stable: bool

    def plus(self, other: Latency) -> Latency:
        """This run and then another; the tails are added up, which is on the safe side."""
        return Latency(
            self.p50 + other.p50,
            self.p90 + other.p90,
            self.p99 + other.p99,
            self.mean + other.mean,
            self.first_run + other.first_run,
            min(self.samples, other.samples),
            self.stable and other.stable,
        )

    def times(self, count: int) -> Latency:
        """So many of these runs, of which one is a bad one: that all are does not happen."""
        typical = self.p50 * (count - 1)
        return Latency(
            typical + self.p50,
            typical + self.p90,
            typical + self.p99,
            self.mean * count,
            typical + self.first_run,
            self.samples,
            self.stable,
        )


@dataclass(frozen=True)
class Row:
    """One engine measured while others took `load` (0…1) of the device's CPU time."""

    engine: str
    load: float
    latency: Latency


@dataclass(frozen=True)
class LatencyTable:
    """The rows measured on one device, with the circumstances they were measured in."""

    device: str
    measured: bool
    circumstances: dict[str, str]
    rows: tuple[Row, ...]
    schema_version: int = SCHEMA_VERSION

    @cached_property
    def _by_engine(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.load):
            found.setdefault(row.engine, []).append(row)
        return found

    @property
    def engines(self) -> Iterable[str]:
        return self._by_engine.keys()

    def at(self, engine: str, load: float) -> Latency:
        """The latency of an engine at a load, interpolated between levels, never beyond."""
        rows = self._by_engine[engine]
        right = bisect_left([row.load for row in rows], load)
        if right == 0:
            return rows[0].latency
        if right == len(rows):
            return rows[-1].latency
        below, above = rows[right - 1], rows[right]
        return _between(
            below.latency, above.latency, (load - below.load) / (above.load - below.load)
        )

    def of(self, point: PointRecord, load: float, kind: str = WHOLE) -> Latency:
        """The latency of a point at a load, whichever way a request of this kind takes."""
        ways = [(way.share, self.along(point, way.runs, load)) for way in point.ways(kind)]
        return ways[0][1] if len(ways) == 1 else _mixture(ways)

    def along(self, point: PointRecord, runs: Mapping[str, int], load: float) -> Latency:
        """The latency of these runs of a point's stages, one after another."""
        first, *others = (
            self.at(point.stages[stage].engine, load).times(count) for stage, count in runs.items()
        )
        return reduce(Latency.plus, others, first)


def _mixture(ways: Sequence[tuple[float, Latency]]) -> Latency:
    """The latency of requests that take different ways, each with its share.

    Each way's is looked at as a few values: half of its runs are at the p50, four tenths at the
    p90, and one tenth at the p99.
    """
    whole = sum(share for share, _ in ways)
    values = sorted(
        (value, share / whole * part)
        for share, one in ways
        for value, part in ((one.p50, 0.5), (one.p90, 0.4), (one.p99, 0.1))
    )

    def quantile(at: float) -> float:
        reached = 0.0
        for value, weight in values:
            reached += weight
            if reached >= at - 1e-9:
                return value
        return values[-1][0]

    return Latency(
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        sum(share * one.mean for share, one in ways) / whole,
        max(one.first_run for _, one in ways),
        min(one.samples for _, one in ways),
        all(one.stable for _, one in ways),
    )


def _between(a: Latency, b: Latency, share: float) -> Latency:
    def mix(x: float, y: float) -> float:
        return x + share * (y - x)

    return Latency(
        p50=mix(a.p50, b.p50),
        p90=mix(a.p90, b.p90),
        p99=mix(a.p99, b.p99),
        mean=mix(a.mean, b.mean),
        first_run=mix(a.first_run, b.first_run),
        samples=min(a.samples, b.samples),
        stable=a.stable and b.stable,
    )
