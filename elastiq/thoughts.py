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

SHARE = 0.01  # of all time may go into thoughts,
MUSED = 0.02  # seconds at once
HURRY = 2e-4  # seconds before a run whose choice would be a bad one,
PART = 0.1  # or such a part of the run, if that is more


class Thoughts:
    """Those of a dispatcher's policy."""

    def __init__(self, dispatcher: Dispatcher, clock: Callable[[], float]) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._from = -inf  # a moment: all it may think since then, it did

    def think(self) -> bool:
        """Let the policy work ahead, for a moment; False if there is nothing to do, or if it took
        its share of the time."""
        begun = self._clock()
        since = max(self._from, begun - MUSED / SHARE)
        if since > begun or not self._think():
            return False
        self._from = since + (self._clock() - begun) / SHARE
        return True

    def hurry(self, choice: Choice) -> float:
        """Let it work on what this choice lacks, whoever waits; the seconds that it took."""
        begun = now = self._clock()
        until = begun + max(HURRY, PART * choice.quickest)
        while self._dispatcher.astray and now < until and self._think():
            now = self._clock()
        return now - begun

    def _think(self) -> bool:
        """A thought, if there is one; one that fails is the last, for requests need none."""
        try:
            return self._from < inf and self._dispatcher.think()
        except Exception:
            log.exception("the policy cannot work ahead, and does so no more")
            self._from = inf
            return False
