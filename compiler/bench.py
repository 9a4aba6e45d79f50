"""What is measured of engines on the device, but for its table. Needs neither torch nor ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from compiler.passes.compile import BuiltEngine
from compiler.passes.profile import Runnable
from elastiq.codec import plain
from elastiq.errors import EngineError
from elastiq.footprint import alone, example
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


def in_turns(engines: Sequence[BuiltEngine], threads: int, seconds: float) -> dict[str, float]:
    """What each engine takes, measured in turns."""
    once = {built.folder: built for built in engines}
    with ExitStack() as stack:
        runs = {
            str(folder): partial(
                stack.enter_context(closing(built.load(threads))), example(built.inputs)
            )
            for folder, built in once.items()
        }
        found = measure(runs, seconds)
    return {built.key: found[str(built.folder)].p50 for built in engines}


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


def weights(engines: Sequence[Runnable], threads: int) -> list[dict[str, Any]]:
    """What each engine takes to be loaded, and of memory, alone in a fresh process."""
    return [plain(alone(engine.place(threads))) for engine in engines]
