"""What is measured of engines on the device, but for its table. Needs neither torch nor ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from compiler.passes.compile import BuiltEngine
from compiler.passes.profile import example
from elastiq.errors import EngineError
from elastiq.measure import glance, measure


def glances(engines: Sequence[BuiltEngine], threads: int) -> dict[str, float]:
    """What each engine takes, roughly and soon; nothing of those that do not run."""
    times: dict[str, float] = {}
    once = {built.folder: built.key for built in reversed(engines)}
    for built in engines:
        if once[built.folder] in times:
            times[built.key] = times[once[built.folder]]
            continue
        try:
            engine = built.load(threads)
            try:
                times[built.key] = glance(partial(engine, example(built.inputs)))
            finally:
                engine.close()
        except EngineError:
            continue
    return times


def medians(
    engines: Sequence[BuiltEngine], groups: Sequence[int], threads: int, seconds: float
) -> list[float]:
    """What groups of engines take, measured in turns; `groups` says whose each engine is."""
    loaded = [(built.load(threads), example(built.inputs)) for built in engines]
    runs = {}
    for group in dict.fromkeys(groups):
        of_group = [one for one, whose in zip(loaded, groups, strict=True) if whose == group]
        runs[str(group)] = lambda of_group=of_group: [engine(feed) for engine, feed in of_group]
    try:
        return [latency.p50 for latency in measure(runs, seconds).values()]
    finally:
        for engine, _ in loaded:
            engine.close()
