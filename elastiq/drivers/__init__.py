"""Drivers turn requests into engine calls, one family of models each. Their words are defined here.

A driver module offers `driver(settings)`, which makes one from what the model says of itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from elastiq import plugins
from elastiq.errors import ElastiqError
from elastiq.protocols import Arrays, Engine
from elastiq.records import TensorSpec

Outputs = dict[str, np.ndarray]
Inputs = Mapping[str, tuple[TensorSpec, ...]]  # of each stage of a point
Steps = dict[str, dict[str, int]]  # kinds of requests, and how often each stage runs for one


@dataclass(frozen=True)
class Ready:
    """A point whose engines are loaded, and how many requests one run of it takes at most."""

    engines: Mapping[str, Engine]
    settings: Mapping[str, int | float] = field(default_factory=dict)
    takes: int = 1


class Run:
    """The stages of a point, called by name while requests are answered; `ran` tells which were."""

    __slots__ = ("ran", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.ran: list[str] = []

    def __call__(self, stage: str, inputs: Arrays) -> Outputs:
        self.ran.append(stage)
        return self.ready.engines[stage](inputs)


class Driver(Protocol):
    """How requests become engine calls. It keeps nothing of them."""

    MIXES: bool  # whether requests that are answered together have a part in each other's answers

    def inputs(self, stages: Inputs, request: Arrays | None = None) -> tuple[TensorSpec, ...]:
        """What a request brings; what this one must, where they may differ in size."""
        ...

    def takes(self, stages: Inputs) -> int:
        """How many requests one run answers at most."""
        ...

    def answer(self, run: Run, requests: Sequence[Arrays]) -> list[Outputs]:
        """The answers to at most `run.ready.takes` requests, in their order."""
        ...

    def rehearse(self, run: Run, request: Arrays) -> None:
        """Run every stage on what it might be fed while this request is answered."""
        ...


class Memory(Protocol):
    """What is kept of one session. Its point is set when its first request is answered."""

    point: str | None
    latest: Outputs | None  # the last answer

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    @property
    def costliest(self) -> str:
        """The kind of request that takes most of what may follow."""
        ...

    def kind(self, inputs: Arrays) -> str:
        """Which kind of request these inputs are now; an error if they cannot be answered."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A driver whose requests may follow each other in a session."""

    def begin(self) -> Memory: ...

    def next_inputs(self, stages: Inputs) -> tuple[TensorSpec, ...]:
        """What a request in a session brings, unless it brings nothing."""
        ...

    def step(self, run: Run, memory: Memory, inputs: Arrays) -> Outputs:
        """Answer the session's next request."""
        ...

    def steps(self, stages: Collection[str]) -> Steps: ...


def driver(name: str, settings: Mapping[str, Any]) -> Driver:
    """The driver of a name, for a model that says `settings` of itself."""
    module = plugins.load(__name__, name, "driver")
    try:
        made: Driver = module.driver(settings)
    except (KeyError, TypeError, ValueError) as e:
        raise ElastiqError(
            f"the {name} driver cannot use this driver_settings: {type(e).__name__}: {e}"
        ) from e
    return made
