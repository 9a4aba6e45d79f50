"""What runs teach of the device today, beside what its latency table says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from elastiq.choice import Choice
from elastiq.correction import Correction, Extra, Own
from elastiq.policies import Option
from elastiq.rests import Rests
from elastiq.steady import steady, steady_ratio
from elastiq.tails import Tail, reach
from elastiq.today import Today

REST = 1e-3  # seconds since a run: who comes sooner comes in a row
FACTOR_STEP = 0.04
LIKELY_STEP, WORST_STEP = 0.1, 0.25  # of how far they were measured to reach
OWN_STEP = 0.05
EXTRA_STEP = 0.1  # of the fastest run
ROUSING_STEP = 0.3  # of its logarithm


class Run(NamedTuple):
    """What a run really took, where, and what passed before it."""

    choice: Choice
    took: float
    before: float
    between: float | None
    roused: float | None
    ran: Sequence[str]


class Lessons:
    """Takes runs in, and tells of the device in steps. `usual` is what runs were measured to take,
    the fastest first."""

    def __init__(
        self, usual: Sequence[float], correction: Correction | None, clock: Callable[[], float]
    ) -> None:
        self.rests = Rests()
        self.returns = Rests(clock, none_may_cost=True)  # of a point, while others run
        self._correction = correction or Correction(usual[len(usual) // 2], clock)
        self._extra_step = EXTRA_STEP * usual[0]
        self._own: dict[str, Own] = defaultdict(lambda: Own(clock))  # by point
        self._before, self._after = Extra(), Extra()
        self._likely, self._worst = Tail(0.1, 0.05), Tail(0.01, 0.15)
        self._changing, self._rousing = Extra(clock), Extra()

    def take_in(self, run: Run, measured: Option, own: float, along: float | None) -> None:
        """One run of a point that was `measured`, and told to take its `own` times as long as all;
        `along` the way that its request took, where others take other ways."""
        choice, took, before, between, roused, _ = run
        today, situation, index = choice.today, choice.situation, choice.decision.index
        self._before.learn(before)
        if between is not None:
            self._after.learn(between)
        if roused is not None:
            self._rousing.learn(roused)
        _, _, typical, likely, worst, *_ = measured
        # What it took to start is learnt apart from what the run itself takes.
        start, waking = situation.starting(index), situation.waking
        rested, moved = choice.rest >= REST, situation.current not in (None, index)
        expected = choice.option.typical - today.before
        if along is not None:  # runs differ because requests do
            typical, expected = along, along * today.factor + today.added
        self._correction.learn((took - start) / own, typical, rested or moved)
        usual = self._correction.expected(typical)
        if along is None and usual > 0.0:
            if not rested and not moved:
                self._own[choice.point].learn(took - start, usual)
            over = (took - start) / (own * usual) - 1.0
            self._likely.learn(over, reach(typical, likely))
            self._worst.learn(over, reach(typical, worst))
        if rested:
            self.rests.learn(choice.rest, took - expected - (start - waking))
        elif moved:
            more = took - expected - waking
            self.returns.learn(choice.away, more)
            self._changing.learn(more)

    def today(self, used: Today) -> Today:
        """What is true of all runs."""
        extra = self._extra_step
        return Today(
            steady(FACTOR_STEP, self._correction.factor, used.factor),
            steady(extra, self._correction.added, used.added),
            steady(LIKELY_STEP, max(1.0, self._likely.times), used.likely),
            steady(WORST_STEP, max(1.0, self._worst.times), used.worst),
            steady(extra, self._before.seconds, used.before),
            steady(extra, self._after.seconds, used.after),
        )

    def own(self, point: str, used: float) -> float:
        """Times as long as that are the runs of a point."""
        return steady(OWN_STEP, self._own[point].times, used)

    def changing(self, used: float) -> float:
        """What a change of points costs in a row."""
        return steady(self._extra_step, self._changing.seconds, used)

    def rousing(self, used: float) -> float:
        """What one waits that finds nobody at work."""
        return steady_ratio(ROUSING_STEP, self._rousing.seconds or None, used) or 0.0
