"""Policies choose an operating point. What they see and what they answer is defined here.

A policy module offers `policy(**options)`, which makes one.
"""

from __future__ import annotations

import inspect
from math import inf
from typing import Any, NamedTuple, Protocol, runtime_checkable

from elastiq import plugins
from elastiq.errors import ElastiqError, unknown
from elastiq.rhythm import AT_RANDOM


class Option(NamedTuple):
    """One point as the dispatcher sees it now: its score, and its latency at the present load."""

    point: str
    score: float
    typical: float  # p50, in seconds, corrected by what requests really took
    likely: float  # p90, likewise
    worst: float  # p99, likewise
    mean: float  # likewise
    takes: int = 1  # requests that one run answers together, at most
    energy: float | None = None  # joules of a run; None: nothing counted them
    after: float = 0.0  # seconds from its answers until the next run can begin

    @property
    def busy(self) -> float:
        """The seconds from the beginning of a run until the next can begin, on average."""
        return self.mean + self.after


class Situation(NamedTuple):
    """The device and the queue at the moment of choice. Times in seconds; None is no deadline."""

    load: float
    slacks: tuple[float | None, ...]  # time left for this request, then for those behind it
    current: int | None  # index of the option used last
    pace: float | None = None  # mean time between arrivals lately
    given: float | None = None  # the time that requests had lately when they arrived
    waking: float = 0.0  # what any run costs more now, after a pause
    returning: tuple[float, ...] = ()  # and at each option, for others ran; empty: at none
    watts: float = 0.0  # what runs took on average lately
    soon: float = AT_RANDOM  # share of arrivals lately that came soon after another
    rousing: float = 0.0  # what a request waits that finds nobody at work
    changing: float = 0.0  # what the first run after another option's cost more lately
    beyond: int = 0  # how many more wait, behind those whose time left is told
    limit: float = inf  # how many may wait

    @property
    def slack(self) -> float | None:
        return self.slacks[0]

    def starting(self, index: int) -> float:
        """What a run costs more now at an option, in seconds."""
        return self.waking + (self.returning[index] if self.returning else 0.0)


class Decision(NamedTuple):
    """The option taken, by index, and why: words for `facts`, put together when somebody asks.

    It may also say that the request is better refused than answered even so.
    """

    index: int  # type: ignore[assignment]
    words: str
    facts: tuple[float, ...] = ()
    refuses: bool = False

    @property
    def why(self) -> str:
        return self.words.format(*self.facts)


class Policy(Protocol):
    """How the dispatcher chooses a point: fast, no clock, and nothing known but what it is told."""

    name: str

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision: ...


@runtime_checkable
class Heeding(Protocol):
    """A policy that is told what becomes of requests."""

    def settle(self, in_time: bool) -> None:
        """One that had a deadline, and that any point might answer, was answered by it, or not."""
        ...


@runtime_checkable
class Thinking(Protocol):
    """A policy that works ahead, between requests and while nobody waits."""

    @property
    def astray(self) -> bool:
        """Whether its choices are likely to be bad ones, until it has worked on."""
        ...

    @property
    def pending(self) -> bool:
        """Whether there is anything to work on. Any thread may ask, at any time."""
        ...

    def think(self) -> None:
        """A tenth of a millisecond of that work."""
        ...


def names() -> list[str]:
    """Every policy there is."""
    return plugins.names(__name__)


def policy(name: str, **options: Any) -> Policy:
    """The policy of a name: `policy("fixed", point="queries=16")`. Options may stand behind the
    name: `policy("utility:watts=5")`."""
    name, *told = name.split(":")
    options |= dict(_option(name, text) for text in told)
    make = plugins.load(__name__, name, "policy").policy
    takes = inspect.signature(make).parameters
    for option, value in options.items():
        if option not in takes:
            raise unknown(f"option of the {name} policy", option, takes)
        if isinstance(takes[option].default, float) and not isinstance(value, float | int):
            raise ElastiqError(f"{option} is {value!r}; it must be a number")
    for option, parameter in takes.items():
        if option not in options and parameter.default is parameter.empty:
            raise ElastiqError(f"the {name} policy needs the option {option!r}")
    made: Policy = make(**options)
    return made


def _option(policy: str, text: str) -> tuple[str, Any]:
    option, given, value = text.partition("=")
    if not given:
        raise ElastiqError(f"what does {text!r} say to {policy}? Write {policy}:OPTION=VALUE")
    try:
        return option, float(value)
    except ValueError:
        return option, value
