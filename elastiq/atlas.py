"""The situations whose values are known, and which lies next to another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from elastiq.values import Values

KEPT = 160  # situations
# How far apart two situations are for each step between them: by what a policy loses that takes the
# values of one for those of the other, in quarters of a right answer in a hundred.
APART = 4, 2, 2, 2, 1, 1
SLOW_APART, SPREAD_APART, RARE_APART, OFTEN_APART, SHIFT_APART, ROUSED_APART = APART
SCORES_APART = 6  # where points have other scores
UNLIKE = 10**9  # other points
ALIKE = 4  # so near, situations are one: what is learnt moves by as much while runs go on
REGION = 2  # steps, of what is looked for by its place

_Region = tuple[tuple[float, ...], tuple[int, ...], int, int]


class Key(NamedTuple):
    """What tells situations apart, in steps."""

    scores: tuple[float, ...]
    takes: tuple[int, ...]  # requests, by each run
    slow: int  # how much of the time that is given all runs take
    spread: int  # how far the fastest is from the slowest
    rare: int  # how rarely requests come
    often: int  # how many of them come soon after another
    shift: int  # what a change of points costs
    roused: int  # how long one waits that finds nobody at work

    def apart(self, other: Key) -> int:
        """How far two situations are from each other."""
        scores, takes, slow, spread, rare, often, shift, roused = other
        if self.takes != takes:
            return UNLIKE
        return (
            SLOW_APART * abs(self.slow - slow)
            + SPREAD_APART * abs(self.spread - spread)
            + RARE_APART * abs(self.rare - rare)
            + OFTEN_APART * abs(self.often - often)
            + SHIFT_APART * abs(self.shift - shift)
            + ROUSED_APART * abs(self.roused - roused)
            + (SCORES_APART if self.scores != scores else 0)
        )


class Atlas:
    """The values of situations, and which lies next to another."""

    def __init__(self) -> None:
        self._values: dict[Key, Values] = {}
        self._regions: dict[_Region, Key] = {}  # what was found there last
        self._latest: Key | None = None  # that was near to another
        self._keys: list[Key] = []
        self._places = np.empty((0, len(APART)))
        self._kinds = np.empty((0, 2), np.int64)

    def __getitem__(self, key: Key) -> Values:
        return self._values[key]

    def close(self, key: Key) -> tuple[Key | None, int]:
        """A situation that is like this one, as soon as one is found, and how far it is."""
        if key in self._values:
            self._latest = key
            return key, 0
        for near in (self._regions.get(_region(key)), self._latest):
            if near is not None and (away := key.apart(near)) <= ALIKE:
                return near, away
        near, away = self.nearest(key)
        self._latest = near
        return near, away

    def nearest(self, key: Key) -> tuple[Key | None, int]:
        """The situation that is most like this one, and how far it is."""
        if key in self._values:
            return key, 0
        if not self._keys:
            return None, UNLIKE
        place, kind = _place(key)
        apart = np.abs(self._places - place) @ APART
        apart += (self._kinds != kind) @ (SCORES_APART, UNLIKE)
        near = int(apart.argmin())
        away = int(apart[near])
        return (self._keys[near], away) if away < UNLIKE else (None, UNLIKE)

    def keep(self, key: Key, found: Values) -> None:
        """Put down what was found. The oldest makes room."""
        if key not in self._values:
            if len(self._keys) >= KEPT:
                oldest = self._keys.pop(0)
                del self._values[oldest]
                if self._latest == oldest:
                    self._latest = None
                if self._regions.get(region := _region(oldest)) == oldest:
                    del self._regions[region]
                self._places, self._kinds = self._places[1:], self._kinds[1:]
            place, kind = _place(key)
            self._keys.append(key)
            self._places = np.vstack([self._places, place])
            self._kinds = np.vstack([self._kinds, kind])
        self._values[key] = found
        self._regions[_region(key)] = key


def _region(key: Key) -> _Region:
    """About where it lies, among others of its kind."""
    return key.scores, key.takes, key.slow // REGION, key.rare // REGION


def _place(key: Key) -> tuple[list[int], list[int]]:
    """Where exactly it lies, and its kind."""
    scores, takes, *place = key
    return place, [hash(scores), hash(takes)]
