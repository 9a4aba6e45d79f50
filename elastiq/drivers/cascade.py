"""A policy network looks at each input, and the smallest engine that does what it asks for runs.

The model says which engines there are in `driver_settings["buckets"]`, cheapest first: the stage of
each, how many tokens it takes, which gates (heads, blocks) it has, and for which share of inputs it
is the right one. A point's `budget` is the mean usage allowed, as a share of the largest's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from elastiq.codec import decode
from elastiq.drivers import Inputs, Outputs, Run
from elastiq.errors import ElastiqError
from elastiq.protocols import Arrays
from elastiq.records import TensorSpec

POLICY = "policy"
KEEP, USAGE, TOKENS = "keep", "usage", "tokens"  # of the policy's outputs
BUDGET = "budget"


@dataclass(frozen=True)
class Bucket:
    """An engine that has some of the gates and takes some of the tokens."""

    stage: str
    tokens: int
    gates: tuple[int, ...]
    share: float

    @cached_property
    def lacks(self) -> int:
        """The gates that it has not."""
        return _bits(np.array(self.gates) == 0)

    def covers(self, gates: int, tokens: int) -> bool:
        """Whether it has every gate asked for, and room for so many tokens."""
        return tokens <= self.tokens and not gates & self.lacks


class Cascade:
    """Above zero, a gate is used and a token kept."""

    MIXES = False

    def __init__(self, buckets: tuple[Bucket, ...]) -> None:
        if not buckets:
            raise ElastiqError("a cascade needs at least one bucket in its driver_settings")
        if len({len(bucket.gates) for bucket in buckets}) > 1:
            raise ElastiqError("every bucket of a cascade must name the same gates")
        self._buckets = buckets
        self._largest: dict[float, int] = {}

    def inputs(self, stages: Inputs, request: Arrays | None = None) -> tuple[TensorSpec, ...]:
        return stages[POLICY]

    def takes(self, stages: Inputs) -> int:
        return 1

    def answer(self, run: Run, requests: Sequence[Arrays]) -> list[Outputs]:
        return [self._answer(run, request) for request in requests]

    def rehearse(self, run: Run, request: Arrays) -> None:
        seen = run(POLICY, request)
        for bucket in self._buckets:
            run(bucket.stage, _state(seen, bucket.tokens))

    def bucket(self, seen: Arrays, budget: float) -> Bucket:
        """The smallest that covers what the policy asks for, or the largest that may be used."""
        if len(seen[KEEP]) != 1:
            raise ElastiqError("a cascade decides for one input at a time")
        gates, tokens = _bits(seen[USAGE] > 0), int(np.count_nonzero(seen[KEEP] > 0))
        allowed = self._buckets[: self.largest(budget) + 1]
        return next((b for b in allowed if b.covers(gates, tokens)), allowed[-1])

    def largest(self, budget: float) -> int:
        """The place of the largest bucket with which the mean usage stays within a budget."""
        if budget not in self._largest:
            usages = self.usages()
            within = [
                place
                for place, most in enumerate(usages)
                if sum(b.share * min(u, most) for b, u in zip(self._buckets, usages, strict=True))
                <= budget * sum(b.share for b in self._buckets) + 1e-9
            ]
            self._largest[budget] = max(within, default=0)
        return self._largest[budget]

    def usages(self) -> list[float]:
        """Of each bucket, the gates times the tokens that it has, as a share of the largest's."""
        sizes = [(sum(b.gates) or 1) * b.tokens for b in self._buckets]
        return [size / max(sizes) for size in sizes]

    def _answer(self, run: Run, request: Arrays) -> Outputs:
        seen = run(POLICY, request)
        bucket = self.bucket(seen, run.ready.settings[BUDGET])
        return run(bucket.stage, _state(seen, bucket.tokens))


def _bits(gates: np.ndarray) -> int:
    """Gates as one number: right after an engine ran, each call on an array takes microseconds."""
    return int.from_bytes(gates.tobytes())


def _state(seen: Arrays, count: int) -> Outputs:
    """What the policy network leaves to a bucket: its state, with the `count` best tokens in it."""
    state = {name: array for name, array in seen.items() if name not in (KEEP, USAGE)}
    scores = seen[KEEP][0]
    if count < len(scores):
        best = np.sort(scores.argsort()[-count:])  # in their places' order
        state[TOKENS] = state[TOKENS].take(best, axis=1)
    return state


def driver(settings: Mapping[str, Any]) -> Cascade:
    buckets = settings["buckets"]
    return Cascade(tuple(decode(Bucket, b, f"bucket {n}") for n, b in enumerate(buckets)))
