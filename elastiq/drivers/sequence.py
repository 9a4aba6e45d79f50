"""Glimpses one after another: each is worked on alone and kept, and the answer is made of all.

The `iterator` turns a glimpse into a summary (`cls`) and tokens, which are kept; `aggregate3`
answers from the mean of three summaries and all tokens kept; `look3` scores where to look next.
A request is a whole sequence; in a session, the next glimpse, or nothing, which asks where to look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from elastiq.drivers import Inputs, Memory, Outputs, Run, Steps
from elastiq.errors import ElastiqError
from elastiq.protocols import Arrays
from elastiq.records import TensorSpec

ITERATOR, AGGREGATE, LOOK = "iterator", "aggregate", "look"
SUMMARY, TOKENS, PLACES = "cls", "tokens", "places"
ATTENTION, NEXT = "attention", "next"


@dataclass
class Seen:
    """What is kept of a sequence. Tokens and places are those of all glimpses, in their order."""

    most: int
    point: str | None = None
    latest: Outputs | None = None
    count: int = 0
    total: np.ndarray | None = None  # of the summaries
    kept: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> int:
        total = [] if self.total is None else [self.total]
        return sum(a.nbytes for a in (*total, *self.kept.values(), *(self.latest or {}).values()))

    @property
    def costliest(self) -> str:
        return str(self.most)

    def kind(self, inputs: Arrays) -> str:
        if not inputs:
            if not self.count:
                raise ElastiqError("nothing was seen yet: send a glimpse before asking where next")
            return f"{LOOK}{self.count}"
        if self.count == self.most:
            raise ElastiqError(f"a sequence of this model has at most {self.most} glimpses")
        return str(self.count + 1)

    def take(self, glimpse: Mapping[str, np.ndarray]) -> None:
        self.count += 1
        summary = glimpse[SUMMARY]
        self.total = summary if self.total is None else self.total + summary
        for name in (TOKENS, PLACES):
            before = [self.kept[name]] if name in self.kept else []
            self.kept[name] = np.concatenate([*before, glimpse[name]], axis=1)

    def given(self, *names: str) -> Outputs:
        """What a stage works on."""
        assert self.total is not None
        mean = {SUMMARY: self.total / np.float32(self.count)}
        return mean | {name: self.kept[name] for name in names}


class Recycling:
    """Runs the iterator once a glimpse, whatever follows."""

    MIXES = False

    def __init__(self, glimpses: int) -> None:
        self._most = glimpses

    def inputs(self, stages: Inputs, request: Arrays | None = None) -> tuple[TensorSpec, ...]:
        glimpses = min(self._most, _length(request)) if request else self._most
        return tuple(
            replace(spec, shape=(spec.shape[0], glimpses, *spec.shape[1:]))
            for spec in stages[ITERATOR]
        )

    def next_inputs(self, stages: Inputs) -> tuple[TensorSpec, ...]:
        return stages[ITERATOR]

    def takes(self, stages: Inputs) -> int:
        return 1

    def answer(self, run: Run, requests: Sequence[Arrays]) -> list[Outputs]:
        return [self._answer(run, request) for request in requests]

    def rehearse(self, run: Run, request: Arrays) -> None:
        seen = self.begin()
        for glimpse in _glimpses(request):
            self.step(run, seen, glimpse)
            if f"{LOOK}{seen.count}" in run.ready.engines:
                self.step(run, seen, {})

    def begin(self) -> Seen:
        return Seen(self._most)

    def step(self, run: Run, memory: Memory, inputs: Arrays) -> Outputs:
        assert isinstance(memory, Seen)
        if not inputs:
            return self._look(run, memory)
        self._take(run, memory, inputs)
        memory.latest = self._aggregate(run, memory)
        return memory.latest

    def steps(self, stages: Collection[str]) -> Steps:
        every = range(1, self._most + 1)
        found = {str(n): {ITERATOR: 1, f"{AGGREGATE}{n}": 1} for n in every}
        return found | {s: {s: 1} for n in every if (s := f"{LOOK}{n}") in stages}

    def _answer(self, run: Run, request: Arrays) -> Outputs:
        seen = self.begin()
        for glimpse in _glimpses(request):
            self._take(run, seen, glimpse)
        return self._aggregate(run, seen)

    def _take(self, run: Run, seen: Seen, glimpse: Arrays) -> None:
        seen.take({PLACES: glimpse[PLACES], **run(ITERATOR, glimpse)})

    def _aggregate(self, run: Run, seen: Seen) -> Outputs:
        return run(f"{AGGREGATE}{seen.count}", seen.given(TOKENS))

    def _look(self, run: Run, seen: Seen) -> Outputs:
        """Where to look: the candidate that scores highest. The stage puts what was seen last."""
        stage = f"{LOOK}{seen.count}"
        if stage not in run.ready.engines:
            raise ElastiqError(f"this model does not say where to look after {seen.count} glimpses")
        scores = run(stage, seen.given(TOKENS, PLACES))
        return {**scores, NEXT: scores[ATTENTION].argmax(-1)}


def _glimpses(request: Arrays) -> list[Outputs]:
    count = _length(request)
    return [{name: array[:, n] for name, array in request.items()} for n in range(count)]


def _length(request: Arrays) -> int:
    """How many glimpses a sequence has; none is as wrong as too many."""
    shape = next(iter(request.values())).shape
    return max(1, shape[1]) if len(shape) > 1 else 1


def driver(settings: Mapping[str, Any]) -> Recycling:
    return Recycling(int(settings["glimpses"]))
