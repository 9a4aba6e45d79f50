"""What it is worth to be in time at all, where a share of requests was promised to be."""

from __future__ import annotations

OVER = 128  # requests that the share lately is averaged over
STEPS = 7  # of what it is worth: each is twice the one before
LEAST = 1.5  # right answers: the first of them
BEGIN = 4.0  # the step at the beginning, for it is easier kept than regained
SPARED = 0.25  # of those who may be late: for what cannot be foreseen
FAR = 0.05  # below the share
IN_VAIN = 2 * OVER  # requests at the last step, more than one backlog: it is out of reach
REST = 16 * OVER  # requests: after so many it is tried again


class Promise:
    """Goes up a step with each request that is late, and slowly down while all are in time: so fast
    that it stays where it is when the share is held by little more than was promised."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._down = (1.0 - SPARED) * (1.0 - share)
        self._at = BEGIN
        self._lately = 1.0
        self._in_vain = 0  # requests since it came to the last step
        self._resting = 0  # requests yet, until it is tried again

    def count(self, in_time: bool) -> None:
        """Take in what became of a request."""
        self._lately += (in_time - self._lately) / OVER
        if self._resting > 0:  # two threads at once may take it below
            self._resting -= 1
            return
        self._at = max(0.0, self._at - self._down) if in_time else min(STEPS, self._at + 1.0)
        self._in_vain = self._in_vain + 1 if round(self._at) == STEPS else 0
        if self._in_vain > IN_VAIN and self._lately < self._share - FAR:
            self._at, self._in_vain, self._resting = BEGIN, 0, REST

    @property
    def step(self) -> int:
        """How much it is worth now, 0…STEPS."""
        return 0 if self._resting > 0 else round(self._at)


def worth(step: int) -> float:
    """In right answers."""
    return LEAST * 2.0 ** (step - 1) if step else 0.0
