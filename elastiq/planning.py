"""What can be said of all options before a request comes, and which is best once it has come.

A choice must cost much less than a run: all that takes longer to find is put down beforehand.
"""

from __future__ import annotations

from math import inf

from elastiq.cells import CELLS, GIVEN, LEFT_ROW, LEFTS, ROW
from elastiq.policies import Option
from elastiq.runs import CHANCES
from elastiq.successor import Successor
from elastiq.values import Values

TYPICAL = float(CHANCES[0])
LIKELY = float(CHANCES[0] + CHANCES[1])
# Of a right answer: what it must be worth more to refuse a request than to serve it. Where requests
# come much faster than any run, one who has waited is worth hardly less than one who has not, and
# values are not known so well that all would not be refused in turn, each for the next.
REFUSING = 0.03
SHORTEST = 1e-6  # seconds between arrivals, and to be given
FAR_OFF = 12  # between situations: what was found for one misleads in the other
NONE_FITS = -1
# Of an option: its index; its score if in time surely, likely or typically; by how much it is more
# a second between these; its p50, p90 and p99; where its rows of values begin, by time and by what
# is left, and how many cells of them a run takes; how many it takes; and by how much energy a run
# is above the cheapest, as a share of the costliest's.
_Place = tuple[int, int, float]
_Known = tuple[int, float, float, float, float, float, float, float, float, _Place, int, float]


class Costs:
    """The options, put down so that a choice must not ask much of them."""

    def __init__(self, options: tuple[Option, ...], given: float, extra: list[float]) -> None:
        self.options = options
        self.fastest = min(option.busy / option.takes for option in options)  # per request
        self.cells = cells = GIVEN / given  # in a second
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
                (index * ROW, index * LEFT_ROW, min(CELLS, option.busy * cells)),
                option.takes,
                extra[index],
            )
            for index, option in enumerate(options)
        ]
        singles = [option for option in options if option.takes == 1]
        self._one_by_one = [_one_by_one(option, singles) for option in options]
        self._most = max(option.takes for option in options)
        self._useful: dict[tuple[int, int | None], tuple[list[_Known], bool]] = {}

    def useful(self, waiting: int, current: int | None = None) -> tuple[list[_Known], bool]:
        """The options for so many, and whether any answers several of them: few gain nothing from
        room for more, if they are done as soon one by one. Where a change costs something, they may
        from that of the `current` one."""
        key = min(waiting, self._most), current
        found = self._useful.get(key)
        if found is None:
            options = [
                known
                for known, fewer in zip(self.known, self._one_by_one, strict=True)
                if key[0] > fewer or known[0] == current
            ]
            packs = waiting > 1 and any(takes > 1 for *_, takes, _ in options)
            found = self._useful[key] = options, packs
        return found


class Plan:
    """How options compare where requests come at this pace. Values may be borrowed from another
    situation, until more are found."""

    def __init__(
        self, costs: Costs, values: Values, pace: float, away: int = 0, found: int = 0
    ) -> None:
        self.costs = costs
        self._values = values
        self._share = costs.cells / GIVEN  # of the time that is given, is a second
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
        beyond: int,
        given: float,
        current: int | None,
        waking: float,
        returning: tuple[float, ...],
        price: float,
    ) -> tuple[int, bool]:
        """The best option, or NONE_FITS; and whether to refuse the request is better."""
        waiting = len(slacks)
        useful, packs = self.costs.useful(waiting, current if returning else None)
        if packs:
            return self._best_pack(useful, slacks, beyond, given, current, waking, returning, price)
        left = inf if slacks[0] is None else slacks[0]
        cells = self.costs.cells
        behind = slacks[1] if waiting > 1 else None
        waited = 0.0 if behind is None else max(0.0, given - behind)
        one = self._values.successor(waited * self._share) if waiting == 2 else None
        at_once: float
        if one is not None:
            after = one.leaving
            last = (inf if behind is None else behind) - waking
            at_once = self._left(last)
        else:
            if waiting > 1:
                after = self._values.waiting
                # By the wait alone too few are behind it, by the count too many.
                waited = (waited + self._as_if(waited, waiting + beyond - 2)) / 2
            else:
                after = self._values.alone((given - left) * self._share)
            last = waited + waking
            at_once = min(CELLS, last * cells)
        left -= waking
        best, highest, stay = NONE_FITS, -inf, self._values.stay
        for known in useful:
            index, sure, likely, maybe, steep, steeper, typical, nine, worst, place, _, more = known
            within, done = left, at_once
            if returning and (late := returning[index]):
                within -= late
                done = min(CELLS, (last + late) * cells) if one is None else self._left(last - late)
            if typical > within:
                continue
            worth = 0.0 if index == current else -stay
            row, left_row, run = place
            if one is not None:
                worth += after[left_row + int(done)] - price * more
            else:
                end = done + run
                cell = int(end)
                low = after[row + cell]
                worth += low + (end - cell) * (after[row + cell + 1] - low) - price * more
            if worst <= within:
                worth += sure
            elif nine <= within:
                worth += likely + steep * (within - nine)
            else:
                worth += maybe + steeper * (within - typical)
            if worth > highest:
                best, highest = index, worth
        if behind is None or current is None:
            return best, False
        return best, self._begun(current, one, behind, waited) > highest + REFUSING

    def _best_pack(
        self,
        useful: list[_Known],
        slacks: tuple[float | None, ...],
        beyond: int,
        given: float,
        current: int | None,
        waking: float,
        returning: tuple[float, ...],
        price: float,
    ) -> tuple[int, bool]:
        """The same where some answer several of those who wait. Those first in line who cannot be
        in time with one will be refused, and make it one for those behind."""
        values, cells = self._values, self.costs.cells
        lefts = [inf if slack is None else slack for slack in slacks]
        longest, shortest, count = max(lefts), min(lefts), len(lefts)
        silence = (given - lefts[-1]) * self._share
        alone, one = values.alone(silence), values.successor(silence) if count == 2 else None
        waits: dict[int, float] = {}  # of the next, once so many are gone
        best, highest = NONE_FITS, -inf
        for known in useful:
            index, surely, _, _, _, _, typical, _, worst, place, takes, more = known
            row, left_row, run = place
            late = waking + returning[index] if returning else waking
            end = typical + late
            if end > longest:
                continue
            first = 0
            while end > lefts[first]:
                first += 1
            gone = first + takes
            if one is not None and gone == 1:
                worth = one.leaving[left_row + self._left(lefts[1] - late)]
            else:
                if gone >= count + beyond:
                    gone, rest, waited = count + beyond, alone, late
                else:
                    rest, waited = values.waiting, waits.get(gone, -1.0)
                    if waited < 0.0:
                        left = lefts[gone] if gone < count else lefts[-1]
                        behind = count + beyond - gone - 1
                        waited = self._as_if(max(0.0, given - left), behind)
                        waits[gone] = waited
                    waited += late
                begun = waited * cells
                over = run + (begun if begun < CELLS else CELLS)
                cell = int(over)
                low = rest[row + cell]
                worth = low + (over - cell) * (rest[row + cell + 1] - low)
            # So many at once leave as many fewer to be worth something later.
            worth += (1 - gone) * values.each - price * more
            if index != current:
                worth -= values.stay
            most = (gone - first) * surely
            if worth + most <= highest:
                continue
            in_time = worst + late <= shortest
            worth += most if in_time else _earned(known, lefts[first:gone], late)
            if worth > highest:
                best, highest = index, worth
        if slacks[1] is None or current is None:
            return best, False
        waited = self._as_if(max(0.0, given - lefts[1]), count + beyond - 2)
        return best, self._begun(current, one, lefts[1], waited) > highest + REFUSING

    def _begun(self, current: int, one: Successor | None, left: float, waited: float) -> float:
        """What it is worth to begin with the next, who is as if he had waited so long; or who is
        the only one, and has so much left."""
        if one is not None:
            return one.begun[current * LEFT_ROW + self._left(left)]
        return self._values.waiting[current * ROW + int(min(CELLS, waited * self.costs.cells))]

    def _left(self, seconds: float) -> int:
        """The cell of what is left."""
        cell = seconds * self.costs.cells
        return (int(cell) if cell < LEFTS else LEFTS) if cell > 0.0 else 0

    def _as_if(self, waited: float, behind: int) -> float:
        """How long the next has waited, as far as others are concerned: more behind it than come in
        that time on average are as if it were longer. By what they take, but under overload only by
        what they take to come, for most are lost."""
        return max(0.0, waited + (behind - waited / self._pace) * self._least)


def _earned(known: _Known, lefts: list[float], late: float) -> float:
    """What a run that begins so late earns, by the time left to those whom it answers."""
    _, surely, likely, maybe, steep, steeper, typical, nine, worst, *_ = known
    earned = 0.0
    for left in lefts:
        within = left - late
        if worst <= within:
            earned += surely
        elif nine <= within:
            earned += likely + steep * (within - nine)
        elif typical <= within:
            earned += maybe + steeper * (within - typical)
    return earned


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


def _rise(worth: float, seconds: float) -> float:
    return worth / seconds if seconds > 0.0 else 0.0
