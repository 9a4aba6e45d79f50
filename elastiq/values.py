"""What requests yet to come are worth to a server, by how long the first of them has waited.

At the end of each run, all that matters is how long the next request has waited (which tells how
many wait behind it), and which point ran. What that is worth tells what the time that a run takes
would have earned, and what a change of points costs those who come after it.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Generator
from dataclasses import dataclass
from math import floor, log2

import numpy as np

from elastiq import gaps
from elastiq.cells import CELLS, LONGEST, ROW, STATES, WAITS, packed, unpacked
from elastiq.policies import Option
from elastiq.process import HORIZON, Arrivals, process
from elastiq.rhythm import AT_RANDOM
from elastiq.runs import Runs
from elastiq.successor import Successor, successor

SILENCES = (0.0, 0.03, 0.1, 0.3, 1.0)  # since somebody came, as shares of the time that is given
BETWEEN = (0.015, 0.06, 0.18, 0.6)  # these: from where on the next is nearer
MOST = 256  # requests that are looked at as one

TO_CELLS = np.array(  # from values by wait to values by cell
    [np.interp(np.arange(ROW) * LONGEST / CELLS, WAITS, one) for one in np.eye(STATES + 1)]
)


@dataclass(frozen=True)
class Values:
    """What follows a run of a point is worth, by cells of time up to twice `LONGEST`; the last
    half are alike. One point's `ROW` comes after the other's."""

    waiting: array[float]  # by the wait of the next request at the end of the run
    # By the time the run takes, where nobody waits at its beginning, since one of `SILENCES`.
    arriving: list[array[float]]
    succeeding: list[Successor]  # where only one waits behind, who came one of `SILENCES` ago
    each: float  # what a request is worth on average
    stay: float  # what a change of points must be worth, at least
    states: np.ndarray  # the same by the point that ran last and by wait, to begin the next from

    def alone(self, silence: float) -> array[float]:
        """By the time the run takes, where nobody waits, and nobody came for so long."""
        return self.arriving[bisect(BETWEEN, silence)]

    def successor(self, silence: float) -> Successor:
        """Where only one waits behind, who came so long ago."""
        return self.succeeding[bisect(BETWEEN, silence)]


Solving = Generator[None, None, Values]


def together(options: tuple[Option, ...], given: float) -> int:
    """How many requests are looked at as one, a power of two: as many as are answered in the time
    between two states, where runs are short beside what requests are given.

    Else no state would be as far as a run from the next, and the horizon would end before those
    come who must wait for what is chosen now.
    """
    each = sum(option.busy / option.takes for option in options) / len(options)
    return 2 ** max(0, floor(log2(min(MOST, LONGEST / STATES * given / each))))


def by_cell(states: np.ndarray) -> array[float]:
    """Values by point and wait, one cell after the other."""
    return packed(states @ TO_CELLS)


def last(solving: Solving) -> Values:
    """What comes of all its steps."""
    while True:
        try:
            next(solving)
        except StopIteration as end:
            return end.value


def steps(
    options: tuple[Option, ...],
    given: float,
    rarity: float,
    shift: float,
    soon: float = AT_RANDOM,
    roused: float = 0.0,
    stay: float = 0.0,
    begin: np.ndarray | None = None,
) -> Solving:
    """Value iteration, from the values of another situation if there are any; in steps of about a
    tenth of a millisecond, for who comes meanwhile waits.

    Requests are looked at several `together`, where runs are short. What is said of one is true of
    all of these then, on average.

    `rarity` is the mean time between arrivals as a share of the time that requests are given,
    `shift` what a change of points costs as a share of an average run, and `soon` the share of
    arrivals that come soon after another. Whoever finds nobody at work is `roused` to a run after
    such a share of its time: in clumps, others have come by then.

    At random, and to a beat, a change must be worth more by `stay`, a share of a right answer; in
    clumps the less so, for each clump has its own points.
    """
    many, evenness = together(options, given), gaps.evenness(soon)
    stay *= min(1.0, evenness)
    runs, arrivals = Runs.of(options, given, shift), Arrivals(rarity, evenness)
    found = yield from process(runs, arrivals, many, roused, stay)
    value, gained = yield from found.solve(begin)
    worth = many * HORIZON * value
    each, rise = float((gained + (1.0 - HORIZON) * (value - gained)).mean()), float(gained.mean())
    arriving, succeeding = [], []
    for silence in SILENCES:
        yield
        arriving.append(by_cell(worth @ arrivals.after(silence).T))
        yield
        alone = unpacked(arriving[-1], ROW)
        succeeding.append(successor(runs, stay, alone, silence, rise))
    return Values(by_cell(worth), arriving, succeeding, each, stay, value)
