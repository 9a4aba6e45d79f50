"""What later requests are worth in the situations that a device meets: found ahead, and kept.

A device meets the same few situations again and again, but to find what is worth how much in one
takes as long as several requests do. It is put off, and done in small steps while nobody waits and
between requests; meanwhile the values of a situation like it have to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log, log2
from typing import NamedTuple

from elastiq.atlas import ALIKE, RARE_APART, Atlas, Key
from elastiq.policies import Option
from elastiq.rhythm import AT_RANDOM
from elastiq.values import Solving, Values, last, steps, together

STEP = 0.2  # situations that differ by less, as logarithms, are one
SHIFT_STEP = 0.2  # of what a change of points costs, as a share of an average run
SOON_STEP = 0.125  # of all gaps
LEAST_ROUSED = 0.01  # of the time that is given; longer ones are told apart by halves
# Bounds of the time between arrivals, in times that one is given; of those that are looked at as
# one, together.
RAREST, FASTEST = 8.0, 0.02
WANTED = 4  # that are put off
FORESIGHT = 8  # steps between faster paces that are looked at before they are met,
NEARER = 4  # and between all paces, once nothing else is left


class Worth:
    """Finds values and keeps them. A change of points must be worth more by `stay`."""

    def __init__(self, stay: float = 0.0) -> None:
        self._stay = stay
        self.found = 0  # situations so far
        self._atlas = Atlas()
        self._wanted: dict[Key, Solving] = {}
        self._asked: _Asked | None = None
        self._ahead: Iterator[tuple[Key, int]] = iter(())  # what may come of a situation,
        self._from: Key | None = None  # of this one
        self._foreseen: Key | None = None  # from there, nothing is left to find

    def __call__(
        self,
        options: tuple[Option, ...],
        given: float,
        pace: float,
        shifting: float,
        soon: float = AT_RANDOM,
        rousing: float = 0.0,
    ) -> tuple[Values, int]:
        """What follows a run is worth, and how far away the situation is that this was found for.

        `pace` is the mean time between arrivals, of which a share come `soon` after another; one
        that finds nobody at work waits for `rousing`.
        """
        before = self._asked
        points = before.points if before and before.points.options is options else _Points(options)
        key = points.key(given, pace, shifting, soon, rousing)
        self._asked = asked = _Asked(key, points, given, self._stay)
        near, away = self._atlas.close(key)
        if near is None:
            near, away = key, 0
            self._keep(key, last(asked.solving(key)))
        values = self._atlas[near]
        if away > ALIKE and key not in self._wanted:
            while len(self._wanted) >= WANTED:
                self._wanted.pop(next(iter(self._wanted)))
            self._wanted[key] = asked.solving(key, values)
        return values, away

    @property
    def pending(self) -> bool:
        """Whether anything may be left to find."""
        asked = self._asked
        return bool(self._wanted) or (asked is not None and asked.key != self._foreseen)

    def think(self) -> None:
        """One step more of what was put off last, or else of what may come."""
        if not self._wanted:
            self._foresee()
            return
        key = next(reversed(self._wanted))
        try:
            next(self._wanted[key])
        except StopIteration as end:
            del self._wanted[key]
            self._keep(key, end.value)

    def _foresee(self) -> None:
        """Ask for the next of what may come of the last situation, unless it is known well."""
        if (asked := self._asked) is None:
            return
        if asked.key != self._from:
            fastest = asked.points.fastest(asked.given)
            self._from, self._ahead = asked.key, _ahead(asked.key, _level(fastest))
        if (foreseen := next(self._ahead, None)) is None:
            self._foreseen = asked.key
            return
        key, enough = foreseen
        near, away = self._atlas.nearest(key)
        if near is not None and away > enough:
            self._wanted[key] = asked.solving(key, self._atlas[near])

    def _keep(self, key: Key, found: Values) -> None:
        self._atlas.keep(key, found)
        self.found += 1


class _Points:
    """Options, and what they are apart from requests."""

    def __init__(self, options: tuple[Option, ...]) -> None:
        self.options = options
        means = [option.busy for option in options]
        self._scores = tuple(option.score for option in options)
        self._takes = tuple(option.takes for option in options)
        self._cost, self._mean = sum(means), sum(means) / len(means)
        self._spread = _level(min(means) / max(means))

    def slow(self, given: float) -> int:
        """How much of the time that is given all runs take."""
        return _level(self._cost / given)

    def fastest(self, given: float) -> float:
        """The shortest time between arrivals that is told apart."""
        return FASTEST / together(self.options, given)

    def key(self, given: float, pace: float, shifting: float, soon: float, rousing: float) -> Key:
        """The situation where requests come like this."""
        roused = min(1.0, rousing / given) / LEAST_ROUSED
        return Key(
            self._scores,
            self._takes,
            self.slow(given),
            self._spread,
            _level(min(RAREST, max(self.fastest(given), pace / given))),
            round((soon - AT_RANDOM) / SOON_STEP),
            round(shifting / self._mean / SHIFT_STEP),
            0 if roused <= 0.5 else 1 + round(log2(max(1.0, roused))),
        )


class _Asked(NamedTuple):
    """A situation that was asked for."""

    key: Key
    points: _Points
    given: float
    stay: float

    def solving(self, key: Key, near: Values | None = None) -> Solving:
        """To find what another is worth, that differs in how fast and how evenly requests come, and
        in how slow the device is; from the values of one that is known.

        Points cost what they do just now, and not what the step says; the pace is the step's.
        """
        return steps(
            self.points.options,
            self.given * exp(STEP * (self.key.slow - key.slow)),
            exp(STEP * key.rare),
            SHIFT_STEP * key.shift,
            AT_RANDOM + SOON_STEP * key.often,
            LEAST_ROUSED * 2.0 ** (key.roused - 1) if key.roused else 0.0,
            self.stay,
            None if near is None else near.states,
        )


def _ahead(key: Key, fastest: int) -> Iterator[tuple[Key, int]]:
    """What may come of a situation, and how near to it is near enough: a burst, of any pace; the
    situation itself, if one that is nearly alike had to do; and then all paces, from the next on,
    for in clumps they go up and down. That a device gets slower, or traffic more uneven, takes
    longer than to find what that means."""
    rarest, near = _level(RAREST), FORESIGHT // 2
    for rare in range(key.rare - FORESIGHT, fastest - near, -FORESIGHT):
        yield key._replace(rare=max(fastest, rare)), near * RARE_APART
    yield key, 0
    for away in range(NEARER, rarest - fastest, NEARER):
        for rare in (key.rare - away, key.rare + away):
            if fastest <= rare <= rarest:
                yield key._replace(rare=rare), ALIKE


def _level(ratio: float) -> int:
    return round(log(max(ratio, 1e-9)) / STEP)
