"""The point that is worth most: to the request it answers, and to those who come after it.

A slow, accurate answer takes time from the requests behind it. What that time is worth is computed
as for any queue: from how fast requests arrive, how long each may wait, and what the points cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from elastiq.policies import Decision, Option, Situation
from elastiq.worth import CELLS, CHANCES, LONGEST, Values, Worth

TYPICAL = CHANCES[0]
LIKELY = CHANCES[0] + CHANCES[1]
WORDS = "worth most to all: {:.1f} ms left, {} behind, one arriving every {:.2f} ms"
NONE_FITS = -1
ALIKE = 0.1  # times given that differ by less, as a share, are one
PLANS = 256  # kept
LATE = "the fastest: none is in time within {:.1f} ms"

_Key = tuple[int, float | None]  # options, pace


@dataclass
class Utility:
    """Weighs the chance of each point to answer in time, its score, and what is left to others.

    Another point than the present one must be worth more by `stay`, a share of a right answer.
    """

    stay: float = 0.005
    name = "utility"
    _worth: Worth = field(default_factory=Worth, init=False, repr=False, compare=False)
    _plans: dict[_Key, _Plan] = field(default_factory=dict, init=False, repr=False, compare=False)

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        _, slacks, current, pace, given, waking, shifting = situation
        if given is None and (given := _given(slacks)) is None:
            best = max(range(len(options)), key=lambda i: (options[i].score, -options[i].typical))
            return Decision(best, "the most accurate: no deadline")
        plan = self._plans.get((id(options), pace))
        if plan is None or not plan.suits(options, given):
            plan = self._plan(options, pace, given, shifting)
        left = inf if slacks[0] is None else slacks[0]
        behind = len(slacks) - 1
        waited = None if behind == 0 else 0.0 if slacks[1] is None else given - slacks[1]
        best = plan.best(left, waited, current, self.stay, waking, shifting)
        if best == NONE_FITS:
            return Decision(_fastest(options), LATE, (1e3 * left,))
        return Decision(best, WORDS, (1e3 * left, behind, 1e3 * (pace or inf)))

    def _plan(
        self, options: tuple[Option, ...], pace: float | None, given: float, shifting: float
    ) -> _Plan:
        if len(self._plans) >= PLANS:
            self._plans.clear()
        values = self._worth(options, given, inf if pace is None else pace, shifting)
        plan = self._plans[id(options), pace] = _Plan(options, given, values)
        return plan


def _given(slacks: tuple[float | None, ...]) -> float | None:
    """How long requests may take from their arrival; None where nobody waits for a deadline."""
    return max((slack for slack in slacks if slack is not None), default=None)


def _fastest(options: tuple[Option, ...]) -> int:
    return min(range(len(options)), key=lambda index: options[index].typical)


class _Plan:
    """All that can be said of the options before a request comes: a choice must cost much less
    than a run."""

    def __init__(self, options: tuple[Option, ...], given: float, values: Values) -> None:
        self._known = options
        self._given = given
        self._values = values
        self._cells = cells = CELLS / (LONGEST * given)  # in a second
        self._options = [
            (
                index,
                option.score,
                option.score * LIKELY,
                option.score * TYPICAL,
                option.typical,
                option.likely,
                option.worst,
                min(CELLS, round(option.mean * cells)),
            )
            for index, option in enumerate(options)
        ]

    def suits(self, options: tuple[Option, ...], given: float) -> bool:
        return self._known is options and abs(self._given - given) <= ALIKE * given

    def best(
        self,
        left: float,
        waited: float | None,
        current: int | None,
        stay: float,
        waking: float,
        shifting: float,
    ) -> int:
        """The best option, or NONE_FITS; `waited` is for how long the next in line has, if any."""
        after = self._values.arriving if waited is None else self._values.waiting
        most, cells = CELLS, self._cells
        here = min(most, max(0, int(((waited or 0.0) + waking) * cells)))
        there = min(most, here + int(shifting * cells))
        left_here = left - waking
        left_there = left_here - shifting
        best, highest = NONE_FITS, 0.0
        for index, surely, likely, maybe, typical, nine, worst, run in self._options:
            if index == current:
                within, done, worth = left_here, here, stay
            else:
                within, done, worth = left_there, there, 0.0
            if typical > within:
                continue
            worth += surely if worst <= within else likely if nine <= within else maybe
            worth += after[index][run + done]
            if worth > highest:
                best, highest = index, worth
        return best


policy = Utility
