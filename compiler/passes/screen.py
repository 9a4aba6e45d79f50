"""Screen: engines that are not fast enough to be chosen are set aside before they are verified.

Verifying takes thousands of answers of an engine, and telling that it cannot win some hundred.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path

from compiler import bench
from compiler.passes.compile import BuiltEngine
from compiler.passes.verify import Variant, group
from compiler.progress import Progress
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from elastiq.records import Point
from profiles.choice import FULL_PRECISION

REVISION = 3  # of what this pass finds in the same engines
TIMES = "times.json"
TOO_SLOW = 3.0  # times the fastest at full precision: a glance is enough to tell
NOT_FASTER = 1.05  # times the same, measured in turns: no gain, and full precision is sure to hold
UNSURE = 1.5  # the same for several stages, whose shares in a request are not known yet
MEASURING = 0.5  # seconds per engine at most


@dataclass(frozen=True)
class Screened:
    """The engines that may win; those next in line, should the fastest at full precision prove
    wrong; and of all but the first, what sets them aside."""

    engines: tuple[BuiltEngine, ...]
    reserve: tuple[BuiltEngine, ...] = ()
    aside: tuple[str, ...] = ()


def screen(
    engines: tuple[BuiltEngine, ...],
    threads: int,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
) -> Screened:
    """Of each point the fastest engine at full precision, and all that are faster at another."""
    with progress.task("screen") as task:
        inputs = {
            "engines": sorted(engine.folder.name for engine in engines),
            "circumstances": workshop.circumstances | {"threads": str(threads)},
            "revision": REVISION,
        }
        make = partial(_time, engines, threads, workshop)
        entry, task.cached = store.produce("screen", inputs, make)
    times = json.loads((entry / TIMES).read_text())
    contenders: list[BuiltEngine] = []
    reserve: list[BuiltEngine] = []
    words: list[str] = []
    for there in _by_point(engines):
        slow, second = _slow(there, times)
        contenders += (e for v in there if str(v) not in slow for e in v.engines.values())
        reserve += (e for v in second for e in v.engines.values())
        words += (f"{name} is set aside: {why}" for name, why in slow.items())
    return Screened(tuple(contenders), tuple(reserve), tuple(words))


def _by_point(engines: tuple[BuiltEngine, ...]) -> list[list[Variant]]:
    points: dict[Point, list[Variant]] = {}
    for variant in group(engines):
        points.setdefault(variant.point, []).append(variant)
    return list(points.values())


def _slow(
    variants: list[Variant], times: Mapping[str, float]
) -> tuple[dict[str, str], list[Variant]]:
    """The variants of a point that are not to win, by name, and why; and of these the ones at full
    precision, the fastest first."""
    timed = [(seconds, v) for v in variants if (seconds := _seconds(v, times)) is not None]
    exact = sorted((t for t in timed if t[1].precision == FULL_PRECISION), key=itemgetter(0))
    if not exact:
        return {}, []
    best, fastest = exact[0]
    limit = best * (NOT_FASTER if len(fastest.engines) == 1 else UNSURE)
    others = [v for _, v in exact[1:]] if len(fastest.engines) == 1 else []
    slow = {
        str(v): f"{seconds / best:.2f}x the time of {fastest}"
        for seconds, v in timed
        if seconds > limit or v in others
    }
    return slow, [v for _, v in exact if str(v) in slow]


def _near(variants: list[Variant], times: Mapping[str, float]) -> list[Variant]:
    """Those that a glance cannot tell from the fastest at full precision."""
    timed = [(seconds, v) for v in variants if (seconds := _seconds(v, times)) is not None]
    exact = [seconds for seconds, v in timed if v.precision == FULL_PRECISION]
    return [v for seconds, v in timed if exact and seconds <= TOO_SLOW * min(exact)]


def _keys(variant: Variant) -> list[str]:
    return [engine.key for engine in variant.engines.values()]


def _seconds(variant: Variant, times: Mapping[str, float]) -> float | None:
    """What its stages take; None if one does not run, which verifying will tell of."""
    found = [times.get(key) for key in _keys(variant)]
    return None if None in found else sum(filter(None, found))


def _time(engines: tuple[BuiltEngine, ...], threads: int, workshop: Workshop, folder: Path) -> None:
    """A glance at each, and of those of a point that are near each other, a look in turns."""
    times = workshop.run(bench.glances, engines, threads)
    for there in _by_point(engines):
        near = [engine for variant in _near(there, times) for engine in variant.engines.values()]
        if near:
            times |= workshop.run(bench.in_turns, near, threads, MEASURING)
    (folder / TIMES).write_text(json.dumps(times))
