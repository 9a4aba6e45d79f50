"""What requests yet to come are worth to a server, by how long the first of them has waited.

One server, first come first served, arrivals as uneven as they are: at the end of each run, all
that matters is how long the next request has waited (which tells how many wait behind it), and
which point ran. The points form a Markov decision process over both; its value tells what the time
that a run takes would have earned, and what a change of points costs those who come after it.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections.abc import Generator
from dataclasses import dataclass
from math import floor, log2

import numpy as np

from elastiq import gaps
from elastiq.cells import CELLS, LONGEST, ROW, STATES, WAITS, packed, shares, unpacked
from elastiq.company import Company
from elastiq.policies import Option
from elastiq.rhythm import AT_RANDOM
from elastiq.successor import Runs, Successor

CHANCES = np.array((0.5, 0.4, 0.1))  # of a run up to the p50, the p90, and longer
# How far above the p50, or the p90, such runs lie on average: of the way to the p90, or the p99,
# where the longer of them are distributed exponentially.
LIKELY_MEAN, WORST_MEAN = 0.371, 0.39
HORIZON = 0.99  # what the next request counts, beside this one: about a hundred of them matter
ROUNDS = 200
TURNS = 3  # of these in a step
SILENCES = (0.0, 0.03, 0.1, 0.3, 1.0)  # since somebody came, as shares of the time that is given
BETWEEN = (0.015, 0.06, 0.18, 0.6)  # these: from where on the next is nearer
UNHEARD_OF = 1e-6  # how likely such a silence is: it says nothing
MOST = 256  # requests that are looked at as one
EVENEST = 64.0  # that so many come: more evenly is hardly more even
ENOUGH = 1e-3  # of a right answer: values so near to each other will do

LONGER = np.maximum(0.0, WAITS[:, None] - WAITS)
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
    """Value iteration, with refusing a request as one more choice, from the values of another
    situation if there are any; in steps of about a tenth of a millisecond, for who comes meanwhile
    waits.

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
    runs = np.array([_lengths(option) for option in options]) / given
    shifting = shift * sum(option.busy for option in options) / len(options) / given
    pauses = np.array([option.after for option in options])[:, None, None] / given
    # How long a request has waited when it is answered, and when the next is begun with: by whether
    # the point ran last, by point, by length of the run, and by wait of the request.
    waits = np.append(roused, WAITS[1:])  # who has waited for no time found nobody at work
    shifts = np.array((0.0, shifting))[:, None, None, None]
    done = waits + runs[..., None] + shifts
    free = done + pauses
    if many > 1:
        count = many / _sizes(options, waits, rarity, evenness)[:, None]
        free = waits + _in_a_row(runs, count) + count * pauses + shifts
    scores = np.array([option.score for option in options])
    earned = scores[:, None] * (CHANCES @ (done <= 1.0))
    # The wait of the next is what this one waited and took, less the time between their arrivals.
    next_waits = _waits_after(many * rarity, min(EVENEST, many * evenness))
    yield
    ends = np.minimum(free * (STATES / LONGEST), STATES)
    near = np.maximum(0.0, 1.0 - np.abs(ends[..., None] - np.arange(STATES + 1)))
    yield
    moves = np.einsum("sacwv,c->sawv", near, CHANCES)
    moves = moves @ next_waits
    # Counted by the request and not by the run: one that answers two is a step that ends it, and
    # one that leaves all as it is.
    ends_it = np.ones((len(options), STATES + 1))
    companies: dict[int, Company] = {}
    for place, option in enumerate(options):
        if option.takes > 1 and many == 1:
            yield
            company = companies.setdefault(
                option.takes, Company(option.takes, waits, rarity, evenness)
            )
            ends_it[place] = share = 1.0 / company.size
            in_time = company.in_time(done[:, place])
            earned[:, place] = option.score * share * np.einsum("scw,c->sw", in_time, CHANCES)
            for moved in range(2):
                yield
                leaves = company.leaves(free[moved, place])
                moves[moved, place] = share[:, None] * np.einsum("cwv,c->wv", leaves, CHANCES)
    goes_on = HORIZON * (1.0 - ends_it)
    # By the point that ran last, and by wait.
    value = np.zeros((len(options), STATES + 1)) if begin is None else begin
    for turn in range(ROUNDS):
        if turn % TURNS == 0:
            yield
        same, other = earned + HORIZON * (moves @ value[..., None])[..., 0]
        other = other - stay / many * ends_it + goes_on * value[:, None]
        refused = HORIZON * value @ next_waits.T
        better = np.maximum(np.maximum(same + goes_on * value, refused), other.max(axis=1))
        # Only differences count, and they are found long before the values are.
        gained = better - value
        value = better
        if gained.max() - gained.min() < ENOUGH:
            break
    worth = many * HORIZON * value
    each, rise = float((gained + (1.0 - HORIZON) * (value - gained)).mean()), float(gained.mean())
    all_runs = Runs(CHANCES, runs, pauses[:, 0, 0], shifting, stay, scores)
    arriving, succeeding = [], []
    for silence in SILENCES:
        yield
        after = _waits_after(rarity, evenness, silence)
        arriving.append(by_cell(worth @ after.T))
        yield
        alone = unpacked(arriving[-1], ROW)
        succeeding.append(all_runs.successor(alone, silence, rise, HORIZON))
    return Values(by_cell(worth), arriving, succeeding, each, stay, value)


def _sizes(
    options: tuple[Option, ...], waits: np.ndarray, rarity: float, evenness: float
) -> np.ndarray:
    """How many a run of each answers on average, by how long the first of them has waited."""
    sizes = {
        takes: Company(takes, waits, rarity, evenness).size
        for takes in {option.takes for option in options}
    }
    return np.array([sizes[option.takes] for option in options])


def _in_a_row(runs: np.ndarray, count: np.ndarray) -> np.ndarray:
    """How long so many runs take: one evens the other out."""
    means = (runs @ CHANCES)[:, None, None]
    return count * means + np.sqrt(count) * (runs[..., None] - means)


def _lengths(option: Option) -> tuple[float, float, float]:
    """What runs take on average, by how likely they are."""
    _, _, typical, likely, worst, *_ = option
    return (
        typical,
        typical + LIKELY_MEAN * (likely - typical),
        likely + WORST_MEAN * (worst - likely),
    )


def _waits_after(rarity: float, evenness: float = 1.0, silence: float = 0.0) -> np.ndarray:
    """How much of each state the wait of the next request is after such a time, where nobody had
    come for a while before that, since the first."""
    yet = float(gaps.later(np.array(silence), rarity, evenness))
    if yet < UNHEARD_OF:
        silence, yet = 0.0, 1.0
    passed = gaps.within(np.append(silence, silence + LONGER), rarity, evenness)
    until = (passed[1:] - passed[0]).reshape(LONGER.shape) / yet
    return shares(LONGER - until)
