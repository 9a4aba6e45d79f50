"""Screen: engines that are far too slow to be chosen are set aside before they are verified.

Verifying takes a thousand answers of an engine, and telling that it cannot win takes ten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from compiler.bench import glances
from compiler.passes.compile import BuiltEngine
from compiler.passes.verify import Variant, group
from compiler.progress import Progress
from compiler.store import Store
from compiler.workshop import HERE, Workshop
from profiles.choice import FULL_PRECISION

REVISION = 1  # of what this pass finds in the same engines
TIMES = "times.json"
TOO_SLOW = 3.0  # times the fastest at full precision: no noise makes up for that
OPINIONS = 2  # engines at full precision that stay, should the fastest prove wrong


def screen(
    engines: tuple[BuiltEngine, ...],
    threads: int,
    store: Store,
    progress: Progress,
    workshop: Workshop = HERE,
) -> tuple[tuple[BuiltEngine, ...], tuple[str, ...]]:
    """The engines that may still win, and of the others what kept them from it."""
    with progress.task("screen") as task:
        inputs = {
            "engines": sorted(engine.folder.name for engine in engines),
            "circumstances": workshop.circumstances | {"threads": str(threads)},
            "revision": REVISION,
        }

        def make(folder: Path) -> None:
            (folder / TIMES).write_text(json.dumps(workshop.run(glances, engines, threads)))

        entry, task.cached = store.produce("screen", inputs, make)
    times = json.loads((entry / TIMES).read_text())
    contenders: list[BuiltEngine] = []
    words: list[str] = []
    variants = group(engines)
    for point in dict.fromkeys(variant.point for variant in variants):
        there = [variant for variant in variants if variant.point == point]
        slow = _slow(there, times)
        contenders += (e for v in there if str(v) not in slow for e in v.engines.values())
        words += (f"{name} is set aside: {why}" for name, why in slow.items())
    return tuple(contenders), tuple(words)


def _slow(variants: list[Variant], times: Mapping[str, float]) -> dict[str, str]:
    """The variants of a point that cannot win, by name, and why."""
    timed = [(seconds, v) for v in variants if (seconds := _seconds(v, times)) is not None]
    exact = sorted((s, str(v)) for s, v in timed if v.precision == FULL_PRECISION)
    if not exact:
        return {}
    best, fastest = exact[0]
    opinions = {name for _, name in exact[:OPINIONS]}
    return {
        str(v): f"{seconds / best:.1f}x the time of {fastest}"
        for seconds, v in timed
        if seconds > TOO_SLOW * best and str(v) not in opinions
    }


def _seconds(variant: Variant, times: Mapping[str, float]) -> float | None:
    """What its stages take; None if one does not run, which verifying will tell of."""
    found = [times.get(engine.key) for engine in variant.engines.values()]
    return None if None in found else sum(filter(None, found))
