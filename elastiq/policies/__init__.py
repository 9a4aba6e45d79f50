"""Policies choose an operating point. What they see and what they answer is defined here.

A policy module offers `policy(**options)`, which makes one.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Protocol

from elastiq import plugins
from elastiq.errors import ElastiqError, unknown


@dataclass(frozen=True)
class Option:
    """One point as the dispatcher sees it now: its score, and its latency at the present load."""

    point: str
    score: float
    typical: float  # p50, in seconds, corrected by what requests really took
    likely: float  # p90, likewise
    worst: float  # p99, likewise


@dataclass(frozen=True)
class Situation:
    """The device and the queue at the moment of choice. Times in seconds; None is no deadline."""

    load: float
    slacks: tuple[float | None, ...]  # time left for this request, then for those behind it
    current: int | None  # index of the option used last
    pace: float | None = None  # mean time between arrivals lately

    @property
    def slack(self) -> float | None:
        return self.slacks[0]


@dataclass(frozen=True)
class Decision:
    """The option taken, by index, and why in words."""

    index: int
    why: str


class Policy(Protocol):
    """How the dispatcher chooses a point: pure, fast, no clock and no state of its own."""

    name: str

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision: ...


def names() -> list[str]:
    """Every policy there is."""
    return plugins.names(__name__)


def policy(name: str, **options: Any) -> Policy:
    """The policy of a name: `policy("fixed", point="queries=16")`."""
    make = plugins.load(__name__, name, "policy").policy
    takes = inspect.signature(make).parameters
    for option in options:
        if option not in takes:
            raise unknown(f"option of the {name} policy", option, takes)
    for option, parameter in takes.items():
        if option not in options and parameter.default is parameter.empty:
            raise ElastiqError(f"the {name} policy needs the option {option!r}")
    made: Policy = make(**options)
    return made
