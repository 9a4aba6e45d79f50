"""The point that is worth most: to the requests it answers, and to those who come after them.

A slow, accurate answer takes time from the requests behind it. What that time is worth is computed
as for any queue: from how fast requests arrive, how long each may wait, and what the points cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log
from typing import Any

from elastiq.errors import ElastiqError
from elastiq.planning import NONE_FITS, SHORTEST, Costs, Plan
from elastiq.policies import Decision, Option, Situation
from elastiq.promise import Promise, worth
from elastiq.worth import Worth

LONGEST_GIVEN = 1e6  # seconds
GIVEN_STEP = 0.2  # of the logarithm of the time given: such times are alike
PLANS = 256  # kept
CLUMPS = 0.45  # of gaps are short: where so many are, most of those who wait came at once,
AT_ONCE = 2.2  # and the first of them so many times as long ago
WORDS = "worth most to all: {:.1f} ms left, {} behind, one arriving every {:.2f} ms"
LATE = "the fastest: none is in time within {:.1f} ms"
GIVEN_UP = "refused: too unlikely in {:.1f} ms, and {} behind have better chances"

NEAR = 0.9  # of the watts that may be spent: from here on, energy has a price
PRICE = 4.0  # in right answers, of the costliest above the cheapest, where all of them are spent
# Options, time given, time between arrivals and how many come soon, what a change costs, and what
# one waits that finds nobody at work.
_Key = tuple[int, int, float | None, float, float, float]


@dataclass
class Utility:
    """Weighs the chance of each point to answer in time, its score, and what is left to others.

    Where requests come evenly, another point than the present one must be worth more by `stay`, a
    share of a right answer, and so must a change back. Under overload, a request that may be too
    late is refused for the sake of those who have more time. Where a share is to be answered
    `in_time`, that is worth something as such, as much as it takes. Where runs together come near
    to `watts`, energy has a price as well, as high as it takes.
    """

    stay: float = 0.1
    watts: float = inf
    in_time: float = 0.0
    name = "utility"
    _promise: Promise | None = field(init=False, repr=False, compare=False)
    _worth: Worth = field(init=False, repr=False, compare=False)
    _plans: dict[_Key, Plan] = field(default_factory=dict, init=False, repr=False, compare=False)
    _latest: Plan | None = field(default=None, init=False, repr=False, compare=False)
    _asked: tuple[Any, ...] = field(default=(), init=False, repr=False, compare=False)
    _costs: dict[tuple[int, int], Costs] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _valued: dict[tuple[int, int], tuple[tuple[Option, ...], tuple[Option, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.stay < inf:
            raise ElastiqError(f"stay is {self.stay:g}; it must be at least 0, and a number")
        self._worth = Worth(self.stay)
        if not self.watts > 0:
            raise ElastiqError(f"watts is {self.watts:g}; it must be above 0")
        if not 0.0 <= self.in_time < 1.0:
            raise ElastiqError(f"in_time is {self.in_time:g}; it must be at least 0, and below 1")
        self._promise = Promise(self.in_time) if self.in_time else None

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        _, slacks, current, pace, given, waking, returning, *lately, beyond, limit = situation
        watts, soon, rousing, changing = lately
        price = 0.0 if self.watts == inf else self._price(watts)
        if given is None and (given := _given(slacks)) is None:
            extra = self._extra(options)
            worth = [
                (option.score - price * more, -option.typical)
                for option, more in zip(options, extra, strict=True)
            ]
            self._latest = None
            return Decision(worth.index(max(worth)), "the most accurate: no deadline")
        if self._promise is not None and (step := self._promise.step):
            options = self._promised(options, step)
        given = min(LONGEST_GIVEN, max(SHORTEST, given))
        # Whoever comes while as many wait as may is lost: nobody should wait for much longer than
        # so many take to come.
        full = inf if pace is None else limit * max(SHORTEST, pace)
        room = min(given, full if soon < CLUMPS else AT_ONCE * full)
        asked = options, pace, soon, room, changing, rousing
        if (
            (plan := self._latest) is None
            or asked != self._asked
            or plan.outdated(self._worth.found)
        ):
            plan = self._latest = self._plan(options, pace, soon, room, changing, rousing)
            self._asked = asked
        left = inf if slacks[0] is None else slacks[0]
        behind = len(slacks) - 1 + beyond
        best, refuses = plan.best(slacks, beyond, given, current, waking, returning, price)
        if best == NONE_FITS:
            return Decision(_fastest(options), LATE, (1e3 * left,))
        if refuses:
            return Decision(best, GIVEN_UP, (1e3 * left, behind), refuses=True)
        return Decision(best, WORDS, (1e3 * left, behind, 1e3 * (pace or inf)))

    def settle(self, in_time: bool) -> None:
        """Take in what became of a request that had a deadline."""
        if self._promise is not None:
            self._promise.count(in_time)

    @property
    def astray(self) -> bool:
        """Whether it went by what was found for quite another situation, and knows no better."""
        latest = self._latest
        return latest is not None and latest.far and not latest.outdated(self._worth.found)

    @property
    def pending(self) -> bool:
        """Whether something is not known of the situations met lately."""
        return self._worth.pending

    def think(self) -> None:
        """Work on what those are worth."""
        self._worth.think()

    def _extra(self, options: tuple[Option, ...]) -> list[float]:
        return [0.0] * len(options) if self.watts == inf else _extra_energy(options)

    def _price(self, watts: float) -> float:
        """What the energy of the costliest option is worth above that of the cheapest."""
        return PRICE * max(0.0, (watts / self.watts - NEAR) / (1.0 - NEAR))

    def _promised(self, options: tuple[Option, ...], step: int) -> tuple[Option, ...]:
        """The options, where it is worth so much to be in time at all. As it is to all who are
        still to come, it makes no difference but that points differ by less."""
        found = self._valued.get((id(options), step))
        if found is None or found[0] is not options:
            if len(self._valued) >= PLANS:
                self._valued.clear()
            best = max(option.score for option in options)
            part = best / (best + worth(step))
            valued = tuple(o._replace(score=best - part * (best - o.score)) for o in options)
            found = self._valued[id(options), step] = options, valued
        return found[1]

    def _plan(
        self,
        options: tuple[Option, ...],
        pace: float | None,
        soon: float,
        given: float,
        changing: float,
        rousing: float,
    ) -> Plan:
        level = round(log(given) / GIVEN_STEP)
        known = id(options), level
        key = *known, pace, soon, changing, rousing
        plan = self._plans.get(key)
        if plan and plan.costs.options is options and not plan.outdated(self._worth.found):
            return plan
        if len(self._plans) >= PLANS:
            self._plans.clear()
            self._costs.clear()
        given = exp(GIVEN_STEP * level)
        every = inf if pace is None else pace
        costs = self._costs.get(known)
        if costs is None or costs.options is not options:
            costs = self._costs[known] = Costs(options, given, self._extra(options))
        values, away = self._worth(options, given, every, changing, soon, rousing)
        plan = self._plans[key] = Plan(costs, values, every, away, self._worth.found)
        return plan


def _given(slacks: tuple[float | None, ...]) -> float | None:
    """How long requests may take from their arrival; None where nobody waits for a deadline."""
    return max((slack for slack in slacks if slack is not None), default=None)


def _fastest(options: tuple[Option, ...]) -> int:
    return min(range(len(options)), key=lambda index: options[index].typical)


def _extra_energy(options: tuple[Option, ...]) -> list[float]:
    """What runs take for each request they answer above the thriftiest, as shares of the most."""
    energies = [option.energy for option in options]
    if any(energy is None for energy in energies):
        raise ElastiqError(
            "watts cannot be kept to: the latency table says of no run what energy it takes. "
            "Where the device has a counter, elastiq profile puts it down"
        )
    each = [
        (energy or 0.0) / option.takes for energy, option in zip(energies, options, strict=True)
    ]
    least, most = min(each), max(each)
    return [(one - least) / (most - least) if most > least else 0.0 for one in each]


policy = Utility
