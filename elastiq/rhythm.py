"""The rhythm of arrivals: how fast requests come lately, how unevenly, and with how much time."""

from __future__ import annotations

from math import exp, inf
from typing import NamedTuple

OVER = 16  # arrivals that the pace is averaged over at least, or all since it changed
GIVEN_OVER = 64  # that the time given is: some come late, and others do not for that
PAUSE = 12.0  # times the pace: what a longer gap counts as, so that a burst is still known
# for one after a silence. Simulations of uneven arrivals lose by less and by more
LEAST_SILENCE = 1e-3  # seconds: a shorter one is no news
LEAST_GAP = 1e-5  # seconds, so that a pace of nothing can recover
SOON = 0.5  # of the pace: a shorter gap is a short one
SOON_OVER = 64  # arrivals that their share is averaged over
AT_RANDOM = 1.0 - exp(-SOON)  # what it is where nobody knows of anybody else
MOST_SOON = 0.99  # that is told apart
UNEVEN = 4 / 3  # the power of its odds that tells how much longer it takes to know the pace
LEAST_SOON = 0.05  # to a beat, too, a request may be held up, and come right before the next
RUSH = 0.0005  # so unlikely a row of short gaps is the pace of another time


class Rhythm(NamedTuple):
    """Times in seconds; None where nothing came yet."""

    pace: float | None = None  # mean time between arrivals
    soon: float = AT_RANDOM  # share of gaps that are short: more in clumps, less to a beat
    given: float | None = None  # mean time that requests have when they come


class Row(NamedTuple):
    """Short gaps, one after the other."""

    gaps: int = 0
    length: float = 0.0  # seconds
    odds: float = 1.0  # of so many

    def longer(self, gap: float, chance: float) -> Row:
        """With one more, where one comes by such a chance."""
        return Row(self.gaps + 1, self.length + gap, self.odds * chance)


class Listener:
    """Hears requests arrive."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._pace: float | None = None
        self._over = 1
        self._soon = AT_RANDOM
        self._row = Row()
        self._given: float | None = None

    @property
    def rhythm(self) -> Rhythm:
        """As it is by now."""
        return Rhythm(self._pace, self._soon, self._given)

    def expected(self, now: float) -> Rhythm:
        """As it will be if the next comes now."""
        if self._last is None or self._pace is None:
            return self.rhythm
        return self.rhythm._replace(pace=self._followed(self._pace, now - self._last))

    def silence(self, now: float) -> float:
        """For how many seconds nobody has come."""
        return inf if self._last is None else now - self._last

    def until_news(self, now: float) -> float | None:
        """How many seconds later that will be quite another one; None if it stays as it is."""
        if self._pace is None or (silence := self.silence(now)) >= self._longest(self._pace):
            return None
        return max(LEAST_SILENCE, silence)

    def hear(self, now: float, deadline: float | None) -> None:
        """One arrives, to be answered within `deadline` seconds."""
        if self._last is not None:
            self._follow(now - self._last)
        self._last = now
        if deadline is not None and 0.0 < deadline < inf:
            usual = deadline if self._given is None else self._given
            self._given = usual + (deadline - usual) / GIVEN_OVER

    def _follow(self, gap: float) -> None:
        if self._pace is None:
            self._pace = gap
            return
        short = gap < SOON * self._pace
        self._row = self._row.longer(gap, self._chance()) if short else Row()
        self._soon += (short - self._soon) / SOON_OVER
        if self._row.odds < RUSH:
            self._pace, self._over = self._row.length / self._row.gaps, self._row.gaps
            self._row = Row()
            return
        self._pace = self._followed(self._pace, gap)
        self._over = min(self._most(), self._over + 1)

    def _chance(self) -> float:
        """How likely a gap is short: of those that are more even than at random, it is known late
        how even they are."""
        return max(LEAST_SOON, self._soon * min(1.0, self._soon / AT_RANDOM))

    def _followed(self, pace: float, gap: float) -> float:
        """What becomes of it by such a gap."""
        gap = min(gap, self._longest(pace) + LEAST_GAP)
        return pace + (gap - pace) / min(self._most(), self._over + 1)

    def _most(self) -> int:
        """Arrivals that the pace is averaged over. One clump says little of the next, so there they
        are more; but only as many as come in the time that one is given, for who came before that
        is gone."""
        pace, soon = max(LEAST_GAP, self._pace or inf), min(MOST_SOON, self._soon)
        if self._given is None or OVER * pace >= self._given:
            return OVER
        odds = soon / (1.0 - soon) * (1.0 - AT_RANDOM) / AT_RANDOM
        return max(OVER, int(min(self._given / pace, OVER * odds**UNEVEN)))

    def _longest(self, pace: float) -> float:
        """What a gap counts as at most. One long pause says little of what comes in a burst, unless
        somebody may wait for as long."""
        return max(PAUSE * pace, self._given or 0.0)
