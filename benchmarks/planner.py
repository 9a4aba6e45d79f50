"""A planner that knows all but the future: what more thought, and better knowledge, could be worth.

It knows how long runs take, and by what law requests arrive; it sees the first two dozen who wait.
Each choice is tried in many random futures, the same ones for every option, in which all further
choices go by the values of queues that `utility` computes. It takes a second for some ten choices:
no device has that, and no policy of a device knows what it knows. What it misses of the
clairvoyant's bound is foresight, and what the planner itself lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from elastiq import gaps
from elastiq.policies import Option
from elastiq.rhythm import SOON
from elastiq.worth import CELLS, LONGEST, solve

FUTURES = 96  # of each option
AHEAD = 4.0  # times that a request is given
SEEN = 24  # requests in line
GAPS = 100_000  # to draw from
SURE = 2.0  # standard errors that another option must be ahead of the usual choice
NOBODY, REFUSED = -1, -2  # choices


@dataclass(frozen=True)
class Law:
    """Independent gaps between requests: their mean in seconds, and their deviation over it."""

    pace: float
    cv: float

    @property
    def evenness(self) -> float:
        return self.cv**-2

    def gaps(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return random.gamma(self.evenness, self.pace / self.evenness, shape)


class Planner:
    """Answers requests that have `given` seconds each."""

    def __init__(self, options: Sequence[Option], given: float, law: Law) -> None:
        self._given, self._law = given, law
        self._random = np.random.default_rng(0)
        self._gaps = np.sort(law.gaps(self._random, (GAPS,)))
        self._scores = np.array([option.score for option in options])
        self._takes = np.array([option.takes for option in options])
        self._runs = np.array([(o.typical, o.likely, o.worst) for o in options])
        means = np.array([option.mean for option in options])
        rarity = law.pace / given
        soon = 1.0 - float(gaps.later(np.array(SOON), 1.0, law.evenness))
        values = solve(tuple(options), given, rarity, 0.0, soon)
        self._waiting, self._arriving = np.array(values.waiting), np.array(values.arriving)
        self._each = values.each
        self._least = min(law.pace, float((means / self._takes).min()))
        self._cells = CELLS / (LONGEST * given)
        self._mean_cells = np.minimum(CELLS, means * self._cells).round().astype(int)

    def earned(self, moments: np.ndarray, luck: np.ndarray) -> float:
        """The share of requests that are answered rightly in time, by the luck of their runs."""
        total, head, now = 0.0, 0, 0.0
        while head < len(moments):
            now = max(now, moments[head])
            if moments[head] + self._given <= now:
                head += 1
                continue
            come = int(np.searchsorted(moments, now, side="right"))
            option = self._choose(moments[head:come], now, now - moments[come - 1])
            if option < 0:
                head += 1
                continue
            lefts = moments[head:come] + self._given - now
            first = int((lefts < self._runs[option, 0]).sum())
            gone = min(first + self._takes[option], len(lefts))
            took = float(_took(self._runs[[option]], luck[[head + first]])[0])
            total += self._scores[option] * int((lefts[first:gone] >= took).sum())
            head, now = head + gone, now + took
        return total / len(moments)

    def _choose(self, waiting: np.ndarray, now: float, silent: float) -> int:
        """The option that earns most in the same futures, or to refuse the first in line."""
        queue = waiting[None, :SEEN] + self._given - now
        usual = int(self._usual(queue, np.ones_like(queue, bool))[0])
        fits = np.flatnonzero(self._runs[:, 0] <= queue.max())
        if usual == NOBODY or len(fits) < 2:
            return usual
        choices = [usual, REFUSED, *(int(option) for option in fits if option != usual)]
        earned = self._try(choices, waiting, now, silent)
        ahead = earned - earned[0]
        surely = ahead.mean(1) - SURE * ahead.std(1) / np.sqrt(FUTURES)
        return choices[int(surely.argmax())]

    def _try(
        self, choices: list[int], waiting: np.ndarray, now: float, silent: float
    ) -> np.ndarray:
        """What is earned after each choice (row) in each future (column)."""
        arrivals = np.tile(self._futures(waiting, now, silent), (len(choices), 1))
        luck = np.tile(self._random.random((FUTURES, 64)), (len(choices), 1))
        chosen = np.repeat(choices, FUTURES)
        rows = np.arange(len(chosen))
        nows, heads = np.full(len(rows), now), np.zeros(len(rows), int)
        earned = np.zeros(len(rows))
        until, places = now + AHEAD * self._given, np.arange(SEEN)
        for turn in range(luck.shape[1]):
            at = np.minimum(heads[:, None] + places, arrivals.shape[1] - 1)
            lefts = arrivals[rows[:, None], at] + self._given - nows[:, None]
            here = lefts <= self._given
            if turn:
                chosen = self._usual(lefts, here)
            goes = (chosen >= 0) & (nows <= until)
            option = np.where(goes, chosen, 0)
            first = (here & (lefts < self._runs[option, 0][:, None])).sum(1)
            gone = np.minimum(first + self._takes[option], here.sum(1))
            took = _took(self._runs[option], luck[:, turn])
            served = (places >= first[:, None]) & (places < gone[:, None])
            in_time = (served & (lefts >= took[:, None])).sum(1)
            earned += np.where(goes, self._scores[option] * in_time, 0.0)
            # The first leaves where nobody runs; and nothing happens until somebody comes.
            heads = np.minimum(heads + np.where(goes, gone, 1), arrivals.shape[1] - 1)
            nows = np.maximum(np.where(goes, nows + took, nows), arrivals[rows, heads])
            if (nows > until).all():
                break
        return earned.reshape(len(choices), FUTURES)

    def _futures(self, waiting: np.ndarray, now: float, silent: float) -> np.ndarray:
        """Those who wait, and who may come, in the order of arrival."""
        count = int(AHEAD * self._given / self._law.pace * (1.0 + self._law.cv)) + SEEN
        later = self._random.choice(self._gaps, (FUTURES, count))
        # Nobody has come for a while, so the gap is one of those that are longer.
        longer = min(int(np.searchsorted(self._gaps, silent)), GAPS - 50)
        later[:, 0] = self._gaps[self._random.integers(longer, GAPS, FUTURES)] - silent
        come = now + np.cumsum(np.maximum(0.0, later), 1)
        return np.concatenate([np.tile(waiting, (FUTURES, 1)), come], 1)

    def _usual(self, lefts: np.ndarray, here: np.ndarray) -> np.ndarray:
        """By the values of queues: the best option for each queue (row), or NOBODY is in time."""
        count = here.sum(1)
        rows = np.arange(len(lefts))
        best, highest = np.full(len(lefts), NOBODY), np.full(len(lefts), -np.inf)
        padded = np.where(here, lefts, np.inf)
        for option, takes in enumerate(self._takes):
            first = (padded < self._runs[option, 0]).sum(1)
            gone = np.minimum(first + takes, count)
            worth = (1 - gone) * self._each
            for place in range(takes):
                at = np.minimum(first + place, lefts.shape[1] - 1)
                worth += np.where(first + place < gone, self._hoped(option, lefts[rows, at]), 0.0)
            following = lefts[rows, np.minimum(gone, lefts.shape[1] - 1)]
            waited = np.maximum(0.0, self._given - following)
            extra = (count - gone - 1 - waited / self._law.pace) * self._least
            cells = np.minimum(CELLS, np.maximum(0.0, waited + extra) * self._cells).astype(int)
            run = self._mean_cells[option]
            worth += np.where(
                gone == count, self._arriving[option, run], self._waiting[option, run + cells]
            )
            better = (first < count) & (worth > highest)
            best[better], highest[better] = option, worth[better]
        return best

    def _hoped(self, option: int, within: np.ndarray) -> np.ndarray:
        """What an answer within such times is worth."""
        return self._scores[option] * np.interp(within, self._runs[option], (0.5, 0.9, 1.0), left=0)


def _took(runs: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """How long runs take, of these p50s, p90s and p99s: as in simulations."""
    low, middle, high = runs.T
    with np.errstate(divide="ignore"):
        rare = np.log(1.0 - luck)
    usual = low + (middle - low) * (np.log(0.5) - rare) / np.log(0.5 / 0.1)
    long = middle + (high - middle) * (np.log(0.1) - rare) / np.log(0.1 / 0.01)
    return np.select([luck <= 0.5, luck < 0.9, luck < 0.99], [low, usual, long], high)
