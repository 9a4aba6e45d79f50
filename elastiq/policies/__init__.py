"""Policies choose an operating point. What they see and what they answer is defined here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One point as the dispatcher sees it now: its score, and its latency at the present load."""

    point: str
    score: float
    typical: float  # p50, in seconds, corrected by what requests really took
    worst: float  # p99, likewise


@dataclass(frozen=True)
class Situation:
    """The device and the queue at the moment of choice. Times in seconds; None is no deadline."""

    load: float
    slacks: tuple[float | None, ...]  # time left for this request, then for those behind it
    current: int | None  # index of the option used last

    @property
    def slack(self) -> float | None:
        return self.slacks[0]


@dataclass(frozen=True)
class Decision:
    """The option taken, by index, and why in words."""

    index: int
    why: str
