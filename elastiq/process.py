"""One server, first come first served, as a Markov decision process.

Its states are how long the next request has waited when the last run ends, and which point ran.
What is done in one is to run a point, or to refuse the request.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from elastiq import gaps
from elastiq.cells import LONGEST, STATES, WAITS, shares
from elastiq.company import Company
from elastiq.runs import CHANCES, Runs

HORIZON = 0.99  # what the next request counts, beside this one: about a hundred of them matter
ROUNDS = 200
TURNS = 3  # of these in a step
EVENEST = 64.0  # that so many come: more evenly is hardly more even
ENOUGH = 1e-3  # of a right answer: values so near to each other will do
UNHEARD_OF = 1e-6  # how likely such a silence is: it says nothing

LONGER = np.maximum(0.0, WAITS[:, None] - WAITS)


@dataclass(frozen=True)
class Arrivals:
    """How requests come, who wait in line."""

    rarity: float  # mean time between them, as a share of the time that they are given
    evenness: float

    def after(self, silence: float = 0.0) -> np.ndarray:
        """How much of each state the wait of the next is, once one who waited so long is gone, and
        where nobody had come for a while before that, since the first."""
        yet = float(gaps.later(np.array(silence), self.rarity, self.evenness))
        if yet < UNHEARD_OF:
            silence, yet = 0.0, 1.0
        passed = gaps.within(np.append(silence, silence + LONGER), self.rarity, self.evenness)
        until = (passed[1:] - passed[0]).reshape(LONGER.shape) / yet
        return shares(LONGER - until)

    def company(self, takes: int, waits: np.ndarray) -> Company:
        """At most so many of them, who are answered together."""
        return Company(takes, waits, self.rarity, self.evenness)

    def together(self, many: int) -> Arrivals:
        """The same, where so many are looked at as one."""
        return Arrivals(many * self.rarity, min(EVENEST, many * self.evenness))


@dataclass(frozen=True)
class Process:
    """What each point earns in a step, and where it leads; by wait of the request, by the last
    axis but where told otherwise."""

    earned: np.ndarray  # by whether the point ran last, and by point
    moves: np.ndarray  # the same, and by the wait of the next, at last
    # What a step ends, by point: a run that answers two is a step that ends it, and one that leaves
    # all as it is. So it is counted by the request, and not by the run.
    ends: np.ndarray
    refused: np.ndarray  # where it leads to refuse a request, by the wait of the next, at last
    stay: float  # what a change of points must be worth more

    def solve(
        self, value: np.ndarray | None
    ) -> Generator[None, None, tuple[np.ndarray, np.ndarray]]:
        """What each state is worth, by the point that ran last and by wait, and by how much that
        rises with each step; from other values, if there are any."""
        if value is None:
            value = np.zeros_like(self.ends)
        goes_on = HORIZON * (1.0 - self.ends)
        for turn in range(ROUNDS):
            if turn % TURNS == 0:
                yield
            same, other = self.earned + HORIZON * (self.moves @ value[..., None])[..., 0]
            other = other - self.stay * self.ends + goes_on * value[:, None]
            refused = HORIZON * value @ self.refused.T
            better = np.maximum(np.maximum(same + goes_on * value, refused), other.max(axis=1))
            # Only differences count, and they are found long before the values are.
            gained = better - value
            value = better
            if gained.max() - gained.min() < ENOUGH:
                break
        return value, gained


def process(
    runs: Runs, arrivals: Arrivals, many: int, roused: float, stay: float
) -> Generator[None, None, Process]:
    """That of such runs, where so many requests are looked at as one, and whoever finds nobody at
    work waits for as long as a worker takes to be `roused`."""
    # How long a request has waited when it is answered, and when the next is begun with: by whether
    # the point ran last, by point, by length of the run, and by wait of the request.
    waits = np.append(roused, WAITS[1:])  # who has waited for no time found nobody at work
    shifts = np.array((0.0, runs.shift))[:, None, None, None]
    pauses = runs.pauses[:, None, None]
    done = waits + runs.lengths[..., None] + shifts
    free = done + pauses
    if many > 1:
        sizes = {takes: arrivals.company(takes, waits).size for takes in set(runs.takes)}
        count = many / np.array([sizes[takes] for takes in runs.takes])[:, None]
        free = waits + runs.in_a_row(count) + count * pauses + shifts
    earned = runs.scores[:, None] * (CHANCES @ (done <= 1.0))
    next_waits = arrivals.together(many).after()
    yield
    ends = np.minimum(free * (STATES / LONGEST), STATES)
    near = np.maximum(0.0, 1.0 - np.abs(ends[..., None] - np.arange(STATES + 1)))
    yield
    moves = np.einsum("sacwv,c->sawv", near, CHANCES) @ next_waits
    ends_it = np.ones(moves.shape[1:3])
    companies: dict[int, Company] = {}
    for place, takes in enumerate(runs.takes):
        if takes > 1 and many == 1:
            yield
            company = companies.setdefault(takes, arrivals.company(takes, waits))
            ends_it[place] = share = 1.0 / company.size
            in_time = np.einsum("scw,c->sw", company.in_time(done[:, place]), CHANCES)
            earned[:, place] = runs.scores[place] * share * in_time
            for moved in range(2):
                yield
                leaves = company.leaves(free[moved, place])
                moves[moved, place] = share[:, None] * np.einsum("cwv,c->wv", leaves, CHANCES)
    return Process(earned, moves, ends_it, next_waits, stay / many)
