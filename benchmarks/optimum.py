"""What the best of all policies earns that does not see the future, found exactly.

Time goes by in slots. Requests come at the beginning of one, with independent gaps between them,
and runs take whole slots. So a queue is a set of ages, the bits of a number; and all that there is
to know is that number, how long ago the last request came, and how much of a run is left.

The policy knows by what law requests come and how long runs may take. It serves in order of
arrival, refuses whom it likes, and may wait. Its value is found by going back from the end of time,
slot by slot: no policy earns more in a slot than the most that any state gained in the last step.
So it is known what is best in each state, and the policy can be played with the requests that
another got: where they come in clumps, one share of luck decides over many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from elastiq import gaps
from elastiq.schedule import Way, most

NEVER = 1e-6  # gaps that are longer than all but so few are not told apart
ENOUGH = 5e-4  # of a slot's worth: what is between the most and the least that it can be
STRIDE = 0.9  # of a step: where requests come to a beat, whole ones would go on in a circle
STEPS = 20_000
WAIT, REFUSE = -1, -2

# What a run leaves of each of the first states, in which somebody may wait; and by its length, how
# likely that is, and what it earns.
Served = tuple[np.ndarray, list[tuple[int, float, np.ndarray]]]


class Choice(NamedTuple):
    """A point: what an answer is worth, how many a run answers, and how likely it takes so many
    slots."""

    score: float
    takes: int
    runs: dict[int, float]


@dataclass(frozen=True)
class Gaps:
    """Independent gaps between requests, in slots."""

    ends: np.ndarray  # how likely one ends with its first slot, its second…, and then as its last

    @classmethod
    def of(cls, mean: float, cv: float) -> Gaps:
        """At least one slot. At random, or as long beyond it as a gamma distribution has it."""
        if cv == 1.0:
            return cls(np.array([1.0 / mean]))
        evenness = ((mean - 1.0) / (cv * mean)) ** 2
        longest = round(gaps.NEVER * (mean - 1.0) / evenness)
        edges = np.concatenate([[0.0], np.arange(longest) + 0.5])
        later = gaps.later(edges, mean - 1.0, evenness)
        later = later[later > NEVER]
        return cls(1.0 - later[1:] / later[:-1])

    @cached_property
    def longer(self) -> np.ndarray:
        """How likely a gap is longer than no slot, than one…"""
        return np.concatenate([[1.0], np.cumprod(1.0 - self.ends)])

    @property
    def mean(self) -> float:
        return float(self.longer[:-1].sum() + self.longer[-1] / self.ends[-1])

    def draw(self, count: int, random: np.random.Generator) -> np.ndarray:
        """So many gaps."""
        drawn = len(self.longer) - np.searchsorted(self.longer[::-1], random.random(count))
        beyond = drawn == len(self.longer)
        drawn[beyond] += random.geometric(self.ends[-1], int(beyond.sum())) - 1
        return drawn


class States(Protocol):
    """All that a server may find; values lie along the last axis, one for each."""

    count: int  # the last of them: nobody waits, and nobody has come for long
    fewer: np.ndarray  # where one is without the oldest

    def after(self, many: int) -> np.ndarray:
        """Where one is a slot later, when so many come in it."""
        ...

    def slot(self, values: np.ndarray) -> np.ndarray:
        """The values a slot earlier."""
        ...

    def refuse(self, values: np.ndarray) -> None:
        """Refuse the oldest wherever that is better."""
        ...

    def served(self, choice: Choice, given: int) -> Served: ...


@dataclass(frozen=True)
class Best:
    """The best policy."""

    earns: float  # from each request, on average
    states: States
    served: list[Served]  # of each choice that may be in time
    done: np.ndarray  # where no run goes on: one of these, or REFUSE, or WAIT

    def play(self, moments: np.ndarray, random: np.random.Generator) -> float:
        """What it earns from each of the requests that come in these slots."""
        lengths = [([run[0] for run in won], [run[1] for run in won]) for _, won in self.served]
        state, left, total = self.states.count - 1, 0, 0.0
        for many in np.bincount(moments).tolist():
            state = self.states.after(many)[state]
            left -= 1
            while left <= 0 and (what := self.done[state]) != WAIT:
                if what == REFUSE:
                    state = self.states.fewer[state]
                    continue
                run = random.choice(len(lengths[what][0]), p=lengths[what][1])
                then, won = self.served[what]
                total += won[run][2][state]
                state, left = then[state], lengths[what][0][run]
        return total / len(moments)


def best(choices: Sequence[Choice], given: int, gaps: Gaps) -> Best:
    """What earns most where each request is given so many slots."""
    return solve(choices, given, _States(oldest(choices, given), gaps), gaps.mean)


def oldest(choices: Sequence[Choice], given: int) -> int:
    """The age at which one may still be in time."""
    return max(0, given - min(slots for choice in choices for slots in choice.runs))


def solve(choices: Sequence[Choice], given: int, states: States, every: float) -> Best:
    """The same, for requests one of which comes every so many slots on average."""
    lengths = [slots for choice in choices for slots in choice.runs]
    served = [states.served(choice, given) for choice in choices if min(choice.runs) <= given]
    values = np.zeros((1 + max(lengths), states.count))  # by how much of a run is left
    for _ in range(STEPS):
        running = states.slot(values[:-1])
        earlier = np.concatenate([running[:1], running])  # to begin nothing is to wait a slot
        done = np.full(states.count, WAIT)
        for what, (then, won) in enumerate(served):
            hoped = sum(chance * (now + earlier[slots][then]) for slots, chance, now in won)
            idle = earlier[0, : len(then)]
            done[: len(then)][hoped > idle] = what
            np.maximum(idle, hoped, out=idle)
        kept = earlier[0].copy()
        states.refuse(earlier[0])
        done[earlier[0] > kept] = REFUSE
        rise = earlier - values
        if rise.max() - rise.min() <= ENOUGH * rise.max():
            return Best(float(rise.max() * every), states, served, done)
        values += STRIDE * rise
    raise ArithmeticError(f"after {STEPS} slots, values still differ in how they rise")


def foreseen(choices: Sequence[Choice], given: int, moments: np.ndarray) -> float:
    """The same of who knows in which slots they come."""
    ways = [Way(one.takes, (one.score,), tuple(one.runs.items())) for one in choices]
    pauses = [0.0] * max(one.takes for one in choices)
    return float(most(moments, given, [ways] * len(moments), pauses)[0]) / len(moments)


class _States:
    """All that a server may find: first every set of ages of those who wait, as bits of a number,
    and then every time since the last request, where nobody waits."""

    def __init__(self, oldest: int, gaps: Gaps) -> None:
        self._ages = oldest + 1
        self._sets = np.arange(1 << self._ages)
        self._last = len(gaps.ends) - 1  # from this age on, all are alike
        self.count = len(self._sets) + self._last
        self._newest = np.zeros_like(self._sets)
        self._without = self._sets.copy()  # without the oldest
        for age in range(self._ages):
            self._newest[1 << age :: 2 << age] = age
            self._without[1 << age : 2 << age] -= 1 << age
        older = (self._sets << 1) & self._sets[-1]
        silent = np.arange(1, self._last + 1)
        self._chance = gaps.ends[np.concatenate([self._newest, silent]).clip(max=self._last)]
        self._one_more = np.concatenate([older | 1, np.ones_like(silent)])
        self._no_more = np.concatenate(
            [np.where(older, older, self._nobody(self._newest + 1)), self._nobody(silent + 1)]
        )
        self.fewer = self._left(self._without)

    def _nobody(self, since: np.ndarray) -> np.ndarray:
        """Nobody waits, and the last has come so long ago: just now is the set of nobody."""
        since = since.clip(max=self._last)
        return np.where(since, self._sets[-1] + since, 0)

    def _left(self, sets: np.ndarray) -> np.ndarray:
        """Where one is when these are left of all sets: whoever came last, or nobody of them."""
        left = np.where(sets, sets, self._nobody(self._newest))
        return np.concatenate([left, np.arange(len(self._sets), self.count)])

    def after(self, many: int) -> np.ndarray:
        return self._one_more if many else self._no_more

    def slot(self, values: np.ndarray) -> np.ndarray:
        come = values[:, self._one_more]
        return come * self._chance + values[:, self._no_more] * (1.0 - self._chance)

    def refuse(self, values: np.ndarray) -> None:
        for age in range(self._ages):  # fewer first: another may be refused after it
            block = slice(1 << age, 2 << age)
            np.maximum(values[block], values[self.fewer[block]], out=values[block])

    def served(self, choice: Choice, given: int) -> Served:
        shortest = min(choice.runs)
        left = self._sets & ((2 << (given - shortest)) - 1)  # the others would be late anyway
        earned = {slots: np.where(left, 0.0, -np.inf) for slots in choice.runs}
        for _ in range(choice.takes):
            fewer = self._without[left]
            age = np.log2(np.maximum(1, left - fewer))
            for slots, sums in earned.items():
                sums += np.where((left > 0) & (age + slots <= given), choice.score, 0.0)
            left = fewer
        nobody = np.full(self._last, -np.inf)
        return self._left(left), [
            (slots, choice.runs[slots], np.concatenate([sums, nobody]))
            for slots, sums in earned.items()
        ]
