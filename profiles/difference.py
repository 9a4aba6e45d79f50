"""What became slower or less accurate from one bundle or table to another, and how surely."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from elastiq.latency import Latency, LatencyTable
from elastiq.manifest import Manifest
from elastiq.records import PointRecord, Quality
from profiles.paired import Z95

LOADS = (0.0, 0.5, 1.0)
NINETIETH = 1.2816  # standard deviations, of a normal distribution
MEDIAN = 1.2533  # standard errors of a mean that one of a median is
# Windows of a measurement agree within 10 %, so no two measurements agree better than this.
REPEATED, UNSTABLE = 0.03, 0.10
WORSE, BETTER, SAME = "worse", "better", "no change to be seen"


@dataclass(frozen=True)
class Change:
    """A figure before and after. `change` and its 95 % `margin` are in % for times, else points."""

    name: str
    kind: str  # latency or score
    before: float  # in ms, or %
    after: float
    change: float
    margin: float | None  # None: nothing says how sure it is

    @property
    def verdict(self) -> str:
        """Whether it is surely worse or better."""
        if self.margin is None or abs(self.change) <= self.margin:
            return SAME
        return WORSE if (self.change > 0) == (self.kind == "latency") else BETTER


def of_bundles(
    before: Manifest,
    after: Manifest,
    table_before: LatencyTable | None,
    table_after: LatencyTable | None,
) -> Iterator[Change]:
    """The points that both have: what each takes at every load, and how good it is."""
    old, new = ({point.name: point for point in m.points} for m in (before, after))
    for name in old:
        if name not in new:
            continue
        if table_before and table_after and table_before.measured == table_after.measured:
            for load in _loads(table_before, table_after):
                was, now = table_before.of(old[name], load), table_after.of(new[name], load)
                yield _latency(f"{name} at {load:.0%} load", was, now, table_after.measured)
        yield _score(name, old[name], new[name], before, after)


def of_tables(before: LatencyTable, after: LatencyTable) -> Iterator[Change]:
    """The engines that both tables hold, at every load, unless one was predicted."""
    if before.measured != after.measured:
        return
    for engine in before.engines:
        if engine in set(after.engines):
            for load in _loads(before, after):
                was, now = before.at(engine, load), after.at(engine, load)
                yield _latency(f"{engine} at {load:.0%} load", was, now, after.measured)


def only(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """What one side has and the other has not, in words."""
    old, new = list(before), list(after)
    gone = [f"{name} is gone" for name in old if name not in new]
    return gone + [f"{name} is new" for name in new if name not in old]


def _loads(*tables: LatencyTable) -> list[float]:
    """The levels that were measured, or lie between such."""
    reach = min(table.loads[-1] for table in tables)
    return [load for load in LOADS if load == 0 or load <= reach + 0.1]


def _latency(name: str, before: Latency, after: Latency, measured: bool) -> Change:
    change = after.p50 / before.p50 - 1.0
    error = Z95 * math.hypot(_relative_error(before), _relative_error(after)) * (1.0 + change)
    margin = 100 * error if measured else None
    return Change(name, "latency", 1e3 * before.p50, 1e3 * after.p50, 100 * change, margin)


def _relative_error(found: Latency) -> float:
    """The standard error of a p50: what its samples say, and what repeating it would."""
    spread = (found.p90 / found.p50 - 1.0) / NINETIETH
    sampling = MEDIAN * spread / math.sqrt(max(1, found.samples))
    return math.hypot(sampling, REPEATED if found.stable else UNSTABLE)


def _score(
    name: str, before: PointRecord, after: PointRecord, old: Manifest, new: Manifest
) -> Change:
    was, now = _quality(before, old), _quality(after, new)
    change = 100 * (after.score - before.score)
    margin = _score_margin(was, now) if was and now else None
    return Change(f"{name} score", "score", 100 * before.score, 100 * after.score, change, margin)


def _quality(point: PointRecord, manifest: Manifest) -> Quality | None:
    keys = {stage.engine for stage in point.stages.values()}
    return next((e.quality for e in manifest.engines if e.key in keys and e.quality), None)


def _score_margin(before: Quality, after: Quality) -> float | None:
    """Engines of one source model were each compared with it sample by sample, others were not."""
    same_source = (
        before.reference_score == after.reference_score and before.samples == after.samples
    )
    if same_source:
        if before.margin is None or after.margin is None:
            return None
        return math.hypot(before.margin, after.margin)
    errors = (math.sqrt(q.score * (1.0 - q.score) / q.samples) for q in (before, after))
    return 100 * Z95 * math.hypot(*errors)
