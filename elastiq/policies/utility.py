"""The point that is worth most: to the requests it answers, and to those who come after them.

A slow, accurate answer takes time from the requests behind it. What that time is worth is computed
as for any queue: from how fast requests arrive, how long each may wait, and what the points cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log
from typing import Any

from elastiq.errors import ElastiqError
from elastiq.policies import Decision, Option, Situation
from elastiq.values import CELLS, CHANCES, LONGEST, ROW, Values
from elastiq.worth import Worth

TYPICAL = float(CHANCES[0])
LIKELY = float(CHANCES[0] + CHANCES[1])
SHORTEST, LONGEST_GIVEN = 1e-6, 1e6  # seconds
GIVEN_STEP = 0.2  # of the logarithm of the time given: such times are alike
PLANS = 256  # kept
ALONE = 0.5  # of the reasons to stay at a point, where nobody waits behind
FAR_OFF = 12  # between situations: what was found for one misleads in the other
NONE_FITS = -1
WORDS = "worth most to all: {:.1f} ms left, {} behind, one arriving every {:.2f} ms"
LATE = "the fastest: none is in time within {:.1f} ms"
GIVEN_UP = "refused: too unlikely in {:.1f} ms, and {} behind have better chances"

MERIT = 6.0  # in right answers: what it is worth at most to be in time at all,
STEPS = 8  # in so many steps
FAR = 0.05  # below the share to be in time: it is out of reach, and right answers are what counts

NEAR = 0.9  # of the watts that may be spent: from here on, energy has a price
PRICE = 4.0  # in right answers, of the costliest above the cheapest, where all of them are spent
# Of an option: its index; its score if in time surely, likely or typically; by how much it is more
# a second between these; its p50, p90 and p99; its mean in cells, from where its row begins; how
# many it takes; and by how much energy a run is above the cheapest, as a share of the costliest's.
_Known = tuple[int, float, float, float, float, float, float, float, float, int, int, float]
# Options, time given, time between arrivals and how many come soon, what a shift costs.
_Key = tuple[int, int, float | None, float, float]


@dataclass
class Utility:
    """Weighs the chance of each point to answer in time, its score, and what is left to others.

    Another point than the present one must be worth more by `stay`, a share of a right answer.
    Under overload, a request that may be too late is refused for the sake of those who have more
    time. Where a share is to be answered `in_time`, that is worth something as such, the more the
    fewer lately were. Where runs together come near to `watts`, energy has a price as well, as high
    as it takes.
    """

    stay: float = 0.02
    watts: float = inf
    in_time: float = 0.0
    name = "utility"
    _worth: Worth = field(default_factory=Worth, init=False, repr=False, compare=False)
    _plans: dict[_Key, _Plan] = field(default_factory=dict, init=False, repr=False, compare=False)
    _latest: _Plan | None = field(default=None, init=False, repr=False, compare=False)
    _asked: tuple[Any, ...] = field(default=(), init=False, repr=False, compare=False)
    _costs: dict[tuple[int, int], _Costs] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _valued: dict[tuple[int, int], tuple[tuple[Option, ...], tuple[Option, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.watts > 0:
            raise ElastiqError(f"watts is {self.watts:g}; it must be above 0")
        if not 0.0 <= self.in_time < 1.0:
            raise ElastiqError(f"in_time is {self.in_time:g}; it must be at least 0, and below 1")

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        _, slacks, current, pace, given, waking, shifting, watts, soon, kept = situation
        price = self._price(watts)
        if given is None and (given := _given(slacks)) is None:
            extra = self._extra(options)
            worth = [
                (option.score - price * more, -option.typical)
                for option, more in zip(options, extra, strict=True)
            ]
            self._latest = None
            return Decision(worth.index(max(worth)), "the most accurate: no deadline")
        if kept < 1.0 and (merit := self._merit(kept)):
            options = self._with_merit(options, merit)
        given = min(LONGEST_GIVEN, max(SHORTEST, given))
        asked = options, pace, soon, given, shifting
        if (
            (plan := self._latest) is None
            or asked != self._asked
            or plan.outdated(self._worth.found)
        ):
            plan = self._latest = self._plan(options, pace, soon, given, shifting)
            self._asked = asked
        left = inf if slacks[0] is None else slacks[0]
        behind = len(slacks) - 1
        best, refuses = plan.best(slacks, given, current, self.stay, waking, shifting, price)
        if best == NONE_FITS:
            return Decision(_fastest(options), LATE, (1e3 * left,))
        if refuses:
            return Decision(best, GIVEN_UP, (1e3 * left, behind), refuses=True)
        return Decision(best, WORDS, (1e3 * left, behind, 1e3 * (pace or inf)))

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
        if self.watts == inf:
            return 0.0
        return PRICE * max(0.0, (watts / self.watts - NEAR) / (1.0 - NEAR))

    def _merit(self, kept: float) -> int:
        """What it is worth to be in time at all, in steps, where such a share lately was."""
        if self.in_time == 0.0 or kept < self.in_time - FAR:
            return 0
        return min(STEPS, round(STEPS * (1.0 - kept) / (1.0 - self.in_time)))

    def _with_merit(self, options: tuple[Option, ...], merit: int) -> tuple[Option, ...]:
        """The options, where it is worth so much. As it is to all who are still to come, it makes
        no difference but that points differ by less."""
        found = self._valued.get((id(options), merit))
        if found is None or found[0] is not options:
            if len(self._valued) >= PLANS:
                self._valued.clear()
            best = max(option.score for option in options)
            part = best / (best + MERIT * merit / STEPS)
            valued = tuple(o._replace(score=best - part * (best - o.score)) for o in options)
            found = self._valued[id(options), merit] = options, valued
        return found[1]

    def _plan(
        self,
        options: tuple[Option, ...],
        pace: float | None,
        soon: float,
        given: float,
        shifting: float,
    ) -> _Plan:
        level = round(log(given) / GIVEN_STEP)
        known = id(options), level
        key = *known, pace, soon, shifting
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
            costs = self._costs[known] = _Costs(options, given, self._extra(options))
        values, away = self._worth(options, given, every, shifting, soon)
        plan = self._plans[key] = _Plan(costs, values, every, away, self._worth.found)
        return plan


def _given(slacks: tuple[float | None, ...]) -> float | None:
    """How long requests may take from their arrival; None where nobody waits for a deadline."""
    return max((slack for slack in slacks if slack is not None), default=None)


def _fastest(options: tuple[Option, ...]) -> int:
    return min(range(len(options)), key=lambda index: options[index].typical)


def _one_by_one(option: Option, singles: list[Option]) -> float:
    """How many requests one after the other are as well answered, and as soon, as together."""
    if option.takes == 1:
        return 0.0
    return max(
        (
            min(
                (option.typical + option.after) / (single.typical + single.after),
                option.busy / single.busy,
            )
            for single in singles
            if single.score >= option.score
        ),
        default=0.0,
    )


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


def _rise(worth: float, seconds: float) -> float:
    return worth / seconds if seconds > 0.0 else 0.0


class _Costs:
    """The options, put down so that a choice must not ask much of them."""

    def __init__(self, options: tuple[Option, ...], given: float, extra: list[float]) -> None:
        self.options = options
        self.packs = any(option.takes > 1 for option in options)
        self.fastest = min(option.busy / option.takes for option in options)  # per request
        self.cells = cells = CELLS / (LONGEST * given)  # in a second
        self.known: list[_Known] = [
            (
                index,
                option.score,
                option.score * LIKELY,
                option.score * TYPICAL,
                _rise(option.score * (1.0 - LIKELY), option.worst - option.likely),
                _rise(option.score * (LIKELY - TYPICAL), option.likely - option.typical),
                option.typical,
                option.likely,
                option.worst,
                index * ROW + round(min(CELLS, option.busy * cells)),
                option.takes,
                extra[index],
            )
            for index, option in enumerate(options)
        ]
        singles = [option for option in options if option.takes == 1]
        self._one_by_one = [_one_by_one(option, singles) for option in options]
        self._useful: list[list[_Known] | None] = [None] * max(option.takes for option in options)

    def useful(self, waiting: int) -> list[_Known]:
        """The options for so many: few gain nothing from room for more, if they are done as soon
        one by one."""
        count = min(waiting, len(self._useful))
        found = self._useful[count - 1]
        if found is None:
            found = self._useful[count - 1] = [
                known
                for known, fewer in zip(self.known, self._one_by_one, strict=True)
                if count > fewer
            ]
        return found


class _Plan:
    """All that can be said of the options before a request comes: a choice must cost much less
    than a run. Values may be borrowed from another situation, until more are found."""

    def __init__(
        self, costs: _Costs, values: Values, pace: float, away: int = 0, found: int = 0
    ) -> None:
        self.costs = costs
        self._values = values
        self._pace = max(pace, SHORTEST)
        self._least = min(self._pace, costs.fastest)
        self._borrowed = away > 0
        self._found = found
        self.far = away > FAR_OFF

    def outdated(self, found: int) -> bool:
        """Whether values of its own may have been found meanwhile."""
        return self._borrowed and self._found != found

    def best(
        self,
        slacks: tuple[float | None, ...],
        given: float,
        current: int | None,
        stay: float,
        waking: float,
        shifting: float,
        price: float,
    ) -> tuple[int, bool]:
        """The best option, or NONE_FITS; and whether to refuse the request is better."""
        waiting = len(slacks)
        if self.costs.packs and waiting > 1:
            late = waking, waking + shifting
            return self._best_pack(slacks, given, current, stay, late, price)
        left = inf if slacks[0] is None else slacks[0]
        most, cells = CELLS, self.costs.cells
        if waiting > 1:
            after = self._values.waiting
            behind = slacks[1]
            waited = 0.0 if behind is None else max(0.0, given - behind)
            # By the wait alone too few are behind it, by the count too many.
            waited = (waited + self._as_if(waited, waiting - 2)) / 2
        else:
            after = self._values.alone((given - left) / given)
            behind, waited = None, 0.0
        here = int(min(most, (waited + waking) * cells))
        there = int(min(most, here + shifting * cells))
        left_here = left - waking
        left_there = left_here - shifting
        best, highest = NONE_FITS, -inf
        if waiting == 1:
            stay *= ALONE
        for known in self.costs.useful(1):
            index, surely, likely, maybe, steep, steeper, typical, nine, worst, run, takes, more = (
                known
            )
            if index == current:  # half a run is half a reason to stay
                within, done, worth = left_here, here, stay * min(1.0, waiting / takes)
            else:
                within, done, worth = left_there, there, 0.0
            if typical > within:
                continue
            worth += after[run + done] - price * more
            if worst <= within:
                worth += surely
            elif nine <= within:
                worth += likely + steep * (within - nine)
            else:
                worth += maybe + steeper * (within - typical)
            if worth > highest:
                best, highest = index, worth
        return best, behind is not None and self._refuses(current, waited, highest)

    def _best_pack(
        self,
        slacks: tuple[float | None, ...],
        given: float,
        current: int | None,
        stay: float,
        lates: tuple[float, float],
        price: float,
    ) -> tuple[int, bool]:
        """The same where some answer several of those who wait. Those first in line who cannot be
        in time with one will be refused, and make it one for those behind.

        `lates` are how much later a run begins at the present point, and at another.
        """
        values, cells = self._values, self.costs.cells
        lefts = [inf if slack is None else slack for slack in slacks]
        longest, count = max(lefts), len(lefts)
        alone = values.alone((given - lefts[-1]) / given)
        best, highest = NONE_FITS, -inf
        for known in self.costs.useful(count):
            index, surely, likely, maybe, steep, steeper, typical, nine, worst, run, takes, more = (
                known
            )
            late = lates[index != current]
            if typical + late > longest:
                continue
            first = 0
            while typical + late > lefts[first]:
                first += 1
            gone = min(first + takes, count)
            # So many at once leave as many fewer to be worth something later.
            worth = (1 - gone) * values.each - price * more
            if index == current:
                worth += stay * min(1.0, count / takes)
            for left in lefts[first:gone] if takes > 1 else (lefts[first],):
                within = left - late
                if worst <= within:
                    worth += surely
                elif nine <= within:
                    worth += likely + steep * (within - nine)
                elif typical <= within:
                    worth += maybe + steeper * (within - typical)
            if gone == count:
                worth += alone[run + int(min(CELLS, late * cells))]
            else:
                waited = self._as_if(max(0.0, given - lefts[gone]), count - gone - 1) + late
                worth += values.waiting[run + int(min(CELLS, waited * cells))]
            if worth > highest:
                best, highest = index, worth
        waited = self._as_if(max(0.0, given - lefts[1]), count - 2)
        return best, slacks[1] is not None and self._refuses(current, waited, highest)

    def _refuses(self, current: int | None, waited: float, highest: float) -> bool:
        """Whether it is worth more to begin with the next, who is as if he had waited so long."""
        if current is None:
            return False
        cell = current * ROW + int(min(CELLS, waited * self.costs.cells))
        return self._values.waiting[cell] > highest

    def _as_if(self, waited: float, behind: int) -> float:
        """How long the next has waited, as far as others are concerned: more behind it than come in
        that time on average are as if it were longer. By what they take, but under overload only by
        what they take to come, for most are lost."""
        return max(0.0, waited + (behind - waited / self._pace) * self._least)


policy = Utility
