"""Latency tables: what each engine was measured to cost on one device, per load level."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

from elastiq.codec import decode
from elastiq.errors import ElastiqError
from elastiq.records import WHOLE, PointRecord

SCHEMA_VERSION = 1
CPU, MEMORY = "cpu", "memory"  # what others do with their share: compute, or stream through memory
PRESSURES = (CPU, MEMORY)


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
    pressure: str = CPU  # what the others did with it
    spread: float | None = None  # in seconds: the middle half of all runs lies that close together
    energy: float | None = None  # joules per run, of all that is counted; None: nothing counts
    clock: float | None = None  # MHz, the mean of all cores meanwhile
    temperature: float | None = None  # °C, of the hottest part meanwhile


@dataclass(frozen=True)
class Footprint:
    """What it takes to have an engine, alone in a fresh process that has its runtime."""

    load_time: float  # in seconds, from its files in the system's cache
    memory: int | None  # bytes of PSS that it adds, with what a run leaves; None: nobody tells


@dataclass(frozen=True)
class LatencyTable:
    """The rows of one device, with the circumstances they were measured in.

    Not `measured`: no engine ran there, and the rows are a roofline's, made from data sheets.
    """

    device: str
    measured: bool
    circumstances: dict[str, str]
    rows: tuple[Row, ...]
    schema_version: int = SCHEMA_VERSION
    footprints: dict[str, Footprint] = field(default_factory=dict)  # by engine

    @cached_property
    def _by_engine(self) -> dict[str, list[Row]]:
        return {engine: _rising(rows) for engine, rows in self._measured.items()}

    @cached_property
    def _measured(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.load):
            if row.pressure == CPU:
                found.setdefault(row.engine, []).append(row)
        return found

    @cached_property
    def bound(self) -> float | None:
        """By how much, at most, a p50 between two levels is off: what each inner level would be
        off by if it were left out. None: there is no inner level."""
        errors = [
            abs(_between_rows(left, right, middle.load).p50 / middle.latency.p50 - 1)
            for rows in self._measured.values()
            for left, middle, right in zip(rows, rows[1:], rows[2:], strict=False)
        ]
        return max(errors, default=None)

    @property
    def engines(self) -> Iterable[str]:
        return self._by_engine.keys()

    @property
    def loads(self) -> list[float]:
        """The levels that it has rows of."""
        return sorted({row.load for row in self.rows if row.pressure == CPU})

    def under(self, pressure: str) -> LatencyTable:
        """The table as it is where others do that with their share. The idle device is the same."""
        idle = [rows[0] for rows in self._measured.values()]
        there = [replace(row, pressure=CPU) for row in self.rows if row.pressure == pressure]
        return replace(self, rows=(*idle, *there))

    def at(self, engine: str, load: float) -> Latency:
        """The latency of an engine at a load, interpolated between levels, never beyond.

        More load never costs less: where it was measured to, that was chance, and levels are one.
        """
        rows = self._by_engine[engine]
        right = bisect_left([row.load for row in rows], load)
        if right == 0:
            return rows[0].latency
        if right == len(rows):
            return rows[-1].latency
        return _between_rows(rows[right - 1], rows[right], load)

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

    def energy(self, point: PointRecord, kind: str = WHOLE) -> float | None:
        """The joules of one run of a point on the idle device; None if nothing counted them."""
        spent = {engine: rows[0].energy for engine, rows in self._measured.items()}
        joules = 0.0
        for way in point.ways(kind):
            for stage, count in way.runs.items():
                each = spent[point.stages[stage].engine]
                if each is None:
                    return None
                joules += way.share * count * each
        return joules


def read(data: Any, where: str) -> LatencyTable:
    """A table from plain values, as JSON holds them. `where` names the file in errors."""
    version = data.get("schema_version", SCHEMA_VERSION) if isinstance(data, dict) else None
    if version is not None and version != SCHEMA_VERSION:
        raise ElastiqError(f"{where} has schema {version}; this Elastiq reads {SCHEMA_VERSION}")
    return decode(LatencyTable, data, where)


def _rising(rows: Sequence[Row]) -> list[Row]:
    """The nearest rows that never fall: neighbours that do get their mean (pooled violators)."""
    columns = []
    for name in ("p50", "p90", "p99", "mean"):
        pools: list[tuple[float, int]] = []
        for row in rows:
            value, count = getattr(row.latency, name), 1
            while pools and pools[-1][0] > value:
                before, many = pools.pop()
                value, count = (before * many + value * count) / (many + count), many + count
            pools.append((value, count))
        columns.append([value for value, count in pools for _ in range(count)])
    return [
        replace(row, latency=replace(row.latency, p50=p50, p90=p90, p99=p99, mean=mean))
        for row, p50, p90, p99, mean in zip(rows, *columns, strict=True)
    ]


def _between_rows(below: Row, above: Row, load: float) -> Latency:
    share = (load - below.load) / (above.load - below.load)
    return _between(below.latency, above.latency, share)


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
