"""What runs in the child process of a device's worker. It keeps the engines of one point loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compiler.answering import Loaded, Manner, Way
from compiler.passes.compile import BuiltEngine
from elastiq import arrays
from elastiq.drivers import Outputs
from elastiq.protocols import Arrays

_kept: dict[object, Loaded] = {}


def run(
    engines: Sequence[BuiltEngine], function: Callable[..., Any], arguments: Sequence[Any]
) -> Any:
    """What a function makes of engines, with nothing else loaded."""
    unload()
    return function(engines, *arguments)


def answer(
    engines: Sequence[BuiltEngine], stages: Sequence[str], manner: Manner, inputs: Path
) -> tuple[Outputs, Counter[Way]]:
    return _loaded(engines, stages, manner).answer(arrays.load(inputs))


def feed(
    engines: Sequence[BuiltEngine],
    stages: Sequence[str],
    manner: Manner,
    stage: str,
    feeds: Sequence[Arrays],
) -> list[Outputs]:
    return _loaded(engines, stages, manner).feed(stage, feeds)


def _loaded(engines: Sequence[BuiltEngine], stages: Sequence[str], manner: Manner) -> Loaded:
    key = (tuple(engine.folder for engine in engines), tuple(stages), repr(manner))
    if key not in _kept:
        unload()
        _kept[key] = Loaded(dict(zip(stages, engines, strict=True)), manner)
    return _kept[key]


def unload() -> None:
    """Let go of what is loaded."""
    while _kept:
        _kept.popitem()[1].close()
