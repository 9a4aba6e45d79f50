"""When a policy works ahead: in a share of the time, and at once where a choice would be a bad one.

Whoever comes meanwhile waits for it, so that a thought must be short; that it fails is nobody's
matter but its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

from elastiq.choice import Choice
from elastiq.dispatcher import Dispatcher

log = logging.getLogger(__name__)

SHARE = 0.005  # of all time may go into thoughts,
MUSED = 0.004  # seconds at once: what is saved up in a rest is spent on those who come after it,
AT_FIRST = 0.2  # and so many more, once, while nobody waits: then there is all to find
SILENCE = 0.02  # seconds without a request: in a longer one hardly anybody waits for a thought,
IN_SILENCE = 0.03  # and this is their share
PART = 0.1  # of a run may go into thoughts before it, where its choice would be a bad one,
HURRY = 2e-4  # or so many seconds, if that is more:
HURRIED = 0.01  # of which so many at once,
HURRY_SHARE = 0.03  # and such a share of all time


class Thoughts:
    """Those of a dispatcher's policy."""

    def __init__(self, dispatcher: Dispatcher, clock: Callable[[], float]) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._first = AT_FIRST  # seconds left of these
        self._from = -inf  # a moment: all it may think since then, it did,
        self._hurried = -inf  # and all that others may be kept waiting for it

    def due(self, others_wait: bool = False) -> bool:
        """Whether there are any, and time for them."""
        at_first = self._first > 0.0 and not others_wait
        return (at_first or self._from <= self._clock()) and self._pending

    def until_due(self) -> float | None:
        """In how many seconds there is time for them; None if there are none."""
        return max(0.0, self._from - self._clock()) if self._pending else None

    def think(self, others_wait: bool = False, silence: float = 0.0) -> None:
        """Let the policy work ahead, for a moment, if it has not had its share of the time; nobody
        came for so long."""
        begun = self._clock()
        if not self.due(others_wait):
            return
        self._think()
        took = self._clock() - begun
        if self._first > 0.0 and not others_wait:
            self._first -= took
        else:
            share = SHARE if others_wait or silence < SILENCE else IN_SILENCE
            self._from = max(self._from, begun - MUSED / SHARE) + took / share

    def hurry(self, choice: Choice) -> float | None:
        """Let it work on what this choice lacks, whoever waits; the seconds that it took, or None
        if it had nothing to do, or did too much of that lately."""
        begun = now = self._clock()
        if begun < self._hurried or not self._pending:
            return None
        free = PART * choice.quickest
        while now < begun + max(HURRY, free) and self._dispatcher.astray and self._pending:
            self._think()
            now = self._clock()
        over = max(0.0, now - begun - free)
        self._hurried = max(self._hurried, begun - HURRIED / HURRY_SHARE) + over / HURRY_SHARE
        return now - begun

    @property
    def _pending(self) -> bool:
        try:
            return self._from < inf and self._dispatcher.pending
        except Exception:
            self._give_up()
            return False

    def _think(self) -> None:
        try:
            self._dispatcher.think()
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        """A thought that fails is the last, for requests need none."""
        log.exception("the policy cannot work ahead, and does so no more")
        self._from = inf
