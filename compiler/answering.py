"""Answering: the loaded engines of a point, asked as on the device. No torch, no ONNX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from elastiq import device, drivers
from elastiq.drivers import Outputs, Ready, Run
from elastiq.protocols import Arrays, Engine

Way = tuple[tuple[str, int], ...]  # stages, and how often each of them ran for a request


@dataclass(frozen=True)
class Manner:
    """How the engines of a point answer requests."""

    driver: str
    driver_settings: Mapping[str, Any]
    settings: Mapping[str, int | float]
    takes: int
    threads: int


class Loadable(Protocol):
    """An engine that can be loaded here."""

    def load(self, threads: int) -> Engine: ...


class Answering(Protocol):
    """The engines of a point, loaded, wherever that is."""

    def answer(self, inputs: Arrays) -> tuple[Outputs, Counter[Way]]:
        """The answers to the samples of a batch, and which ways their requests took."""
        ...

    def feed(self, stage: str, feeds: Sequence[Arrays]) -> list[Outputs]:
        """What one stage makes of each of these."""
        ...

    def close(self) -> None: ...


class Loaded:
    """The engines of a point, loaded in this process."""

    def __init__(self, engines: Mapping[str, Loadable], manner: Manner) -> None:
        self._driver = drivers.driver(manner.driver, manner.driver_settings)
        self._cores = max(1, device.this().cores // manner.threads)
        loaded: dict[str, Engine] = {}
        self._ready = Ready(loaded, dict(manner.settings), manner.takes)
        for stage, engine in engines.items():
            loaded[stage] = engine.load(manner.threads)

    def answer(self, inputs: Arrays) -> tuple[Outputs, Counter[Way]]:
        ways: list[Way] = []

        def one(requests: Sequence[Arrays]) -> list[Outputs]:
            run = Run(self._ready)
            answers = self._driver.answer(run, requests)
            ways.append(tuple(Counter(run.ran).items()))
            return answers

        return in_turn(one, inputs, self._ready.takes, self._cores), Counter(ways)

    def feed(self, stage: str, feeds: Sequence[Arrays]) -> list[Outputs]:
        return [self._ready.engines[stage](fed) for fed in feeds]

    def close(self) -> None:
        for engine in self._ready.engines.values():
            engine.close()


def in_turn(
    answer: Callable[[Sequence[Arrays]], list[Outputs]],
    inputs: Arrays,
    takes: int = 1,
    cores: int = 1,
) -> Outputs:
    """The answers to the samples of a batch, asked for as requests, `takes` at a time."""
    count = len(next(iter(inputs.values())))
    requests = [{k: array[i : i + 1] for k, array in inputs.items()} for i in range(count)]
    runs = [requests[place : place + takes] for place in range(0, count, takes)]
    with ThreadPoolExecutor(cores) as pool:
        return joined([one for found in pool.map(answer, runs) for one in found])


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Batches, one behind the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
