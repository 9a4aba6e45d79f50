"""Chooses an operating point for each request, from the latency table at the present load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from elastiq.correction import Correction, Overhead
from elastiq.errors import ElastiqError
from elastiq.latency import LatencyTable
from elastiq.load import Load
from elastiq.policies import Decision, Option, Policy, Situation
from elastiq.records import PointRecord

LOAD_LEVELS = 50  # loads nearer than a fiftieth are one: sensors are not that exact
CORRECTION_LEVELS = 100
OVERHEAD_STEP = 1e-5  # seconds


@dataclass(frozen=True)
class Choice:
    """What was chosen for one request, and everything that it was chosen from."""

    load: Load | float
    correction: float
    overhead: float
    options: tuple[Option, ...]
    situation: Situation
    decision: Decision

    @property
    def option(self) -> Option:
        return self.options[self.decision.index]

    @property
    def point(self) -> str:
        return self.option.point

    @property
    def predicted(self) -> float:
        """How long the request is expected to take, in seconds."""
        return self.option.typical

    def lines(self) -> list[str]:
        """The choice for people."""
        width = max(len(option.point) for option in self.options)
        slacks = self.situation.slacks
        load = self.load if isinstance(self.load, Load) else f"others {self.load:.0%}"
        return [
            f"load       {load}",
            f"correction {self.correction:.2f} (what runs took, over what was measured), "
            f"and {_spell(self.overhead)} beside the engine",
            f"queue      {len(slacks) - 1} behind; time left {', '.join(map(_spell, slacks))}",
            *(
                f"{'>' if index == self.decision.index else ' '} {option.point:<{width}}"
                f"  score {option.score:.3f}"
                f"  p50 {_spell(option.typical)}  p99 {_spell(option.worst)}"
                for index, option in enumerate(self.options)
            ),
            f"why        {self.decision.why}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """The choice for machines. Times in seconds."""
        return {
            "point": self.point,
            "why": self.decision.why,
            "predicted": self.predicted,
            "load": self.load.as_dict() if isinstance(self.load, Load) else self.load,
            "correction": self.correction,
            "overhead": self.overhead,
            "slacks": list(self.situation.slacks),
            "pace": self.situation.pace,
            "options": [
                {"point": o.point, "score": o.score, "typical": o.typical, "worst": o.worst}
                for o in self.options
            ],
        }


class Dispatcher:
    """Decides for one thread of execution; `learn` tells it what a request really took."""

    def __init__(
        self,
        points: Sequence[PointRecord],
        table: LatencyTable,
        policy: Policy,
        load: Callable[[], Load | float],
        correction: Correction | None = None,
    ) -> None:
        _check(points, table)
        self._points = tuple(points)
        self._table = table
        self._policy = policy
        self._load = load
        self._correction = correction or Correction()
        self._overhead = Overhead()
        self._measured: dict[int, tuple[Option, ...]] = {}
        self._corrected: tuple[tuple[int, ...], tuple[Option, ...]] | None = None
        self._current: int | None = None
        self.explain()  # a policy that does not suit these points fails now, not at a request

    def decide(self, slacks: Sequence[float | None], pace: float | None = None) -> Choice:
        """Choose for the first request; `slacks` are the seconds left to it and to those behind.

        `pace` is the mean time between arrivals lately, where it is known.
        """
        choice = self.explain(slacks, pace)
        self._current = choice.decision.index
        return choice

    def explain(
        self, slacks: Sequence[float | None] = (None,), pace: float | None = None
    ) -> Choice:
        """What would be chosen now. Changes nothing."""
        load = self._load()
        level = _level(load.others if isinstance(load, Load) else load)
        factor = round(self._correction.factor * CORRECTION_LEVELS)
        overhead = round(self._overhead.seconds / OVERHEAD_STEP)
        known = level, factor, overhead
        if self._corrected is None or self._corrected[0] != known:
            options = _corrected(
                self._options(level), factor / CORRECTION_LEVELS, overhead * OVERHEAD_STEP
            )
            self._corrected = known, options
        options = self._corrected[1]
        situation = Situation(level / LOAD_LEVELS, tuple(slacks), self._current, pace)
        decision = self._policy.choose(options, situation)
        return Choice(
            load,
            factor / CORRECTION_LEVELS,
            overhead * OVERHEAD_STEP,
            options,
            situation,
            decision,
        )

    def learn(self, choice: Choice, took: float, beside: float = 0.0) -> None:
        """Take in what a choice's request really took: in its engine, and beside it."""
        self._correction.learn(took, (choice.predicted - choice.overhead) / choice.correction)
        self._overhead.learn(beside)

    def _options(self, level: int) -> tuple[Option, ...]:
        """The points as measured at a load level."""
        if level not in self._measured:
            load = level / LOAD_LEVELS
            self._measured[level] = tuple(self._option(point, load) for point in self._points)
        return self._measured[level]

    def _option(self, point: PointRecord, load: float) -> Option:
        latency = self._table.of(point, load)
        return Option(point.name, point.score, latency.p50, latency.p90, latency.p99)


def _check(points: Sequence[PointRecord], table: LatencyTable) -> None:
    if not points:
        raise ElastiqError("there is no point to choose from")
    for point in points:
        for stage in point.stages.values():
            if stage.engine not in table.engines:
                raise ElastiqError(
                    f"the latency table of {table.device} does not hold {stage.engine}, which "
                    f"point {point.name} runs on. Measure it: elastiq profile"
                )


def _level(load: float) -> int:
    # In this order max() turns a load that is not a number into 0 instead of passing it on.
    return round(min(1.0, max(0.0, load)) * LOAD_LEVELS)


def _corrected(options: tuple[Option, ...], factor: float, more: float) -> tuple[Option, ...]:
    return tuple(
        Option(
            o.point,
            o.score,
            o.typical * factor + more,
            o.likely * factor + more,
            o.worst * factor + more,
        )
        for o in options
    )


def _spell(seconds: float | None) -> str:
    return "no deadline" if seconds is None else f"{1e3 * seconds:.2f} ms"
