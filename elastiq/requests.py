"""Requests on their way: what is asked, what is answered, and that each is settled once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import NamedTuple

from elastiq.choice import Choice
from elastiq.drivers import Memory, Outputs
from elastiq.errors import DeadlineMissed
from elastiq.protocols import Arrays

log = logging.getLogger(__name__)
PRIORITIES = range(1, 4)  # the first is served first
NORMAL = 2


class Done(NamedTuple):
    """What became of requests that ran together: an answer or an error for each, in their order."""

    answers: Sequence[Outputs | Exception]
    ran: Sequence[str] = ()  # the stages that did


# At a point: requests that are answered together, or the next one of a session.
Execute = Callable[[str, Sequence[Arrays], Memory | None], Done]


@dataclass(frozen=True)
class Answer:
    """What a request gets. `waited` in the queue and `took` in the engines, in seconds."""

    outputs: Outputs
    waited: float
    took: float
    choice: Choice
    repeated: bool = False  # the session's last answer, for there was no time for another

    @property
    def point(self) -> str:
        return self.choice.point


class Awaited(Future[Answer]):
    """An answer to come. Whoever waits for it, however long it takes, may lend a hand.

    `given_up` tells whether it was cancelled, at the cost of reading an attribute."""

    __slots__ = ("_hasten", "given_up")

    def __init__(self, hasten: Callable[[Future[Answer]], bool]) -> None:
        super().__init__()
        self._hasten = hasten
        self.given_up = False

    def cancel(self) -> bool:
        self.given_up = super().cancel()
        return self.given_up

    def result(self, timeout: float | None = None) -> Answer:
        self._wait(timeout)
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return super().exception(timeout)

    def _wait(self, timeout: float | None) -> None:
        if timeout is None and not self.done():
            self._hasten(self)


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """Inputs and the future that their answer goes to. `expires` is a moment, or None."""

    inputs: Arrays
    arrived: float
    expires: float | None
    future: Awaited
    session: str | None = None
    memory: Memory | None = None  # what was kept of that session by the name's owner of then
    point: str | None = None  # the one to answer at, whatever the load
    least_score: float = 0.0  # of the point that answers
    priority: int = NORMAL

    @property
    def given(self) -> float | None:
        """The seconds it had when it came."""
        return None if self.expires is None else self.expires - self.arrived

    @property
    def choosy(self) -> bool:
        """Whether it cannot be answered at just any point."""
        return self.session is not None or self.point is not None or self.least_score > 0

    def expired(self, now: float) -> bool:
        return self.expires is not None and self.expires <= now

    def claim(self) -> bool:
        """Whether the request is still to be answered; from now on it cannot be cancelled."""
        try:
            return self.future.set_running_or_notify_cancel()
        except RuntimeError:  # somebody else has set its result
            return False

    def refuse(self, now: float) -> None:
        """Tell whoever waits that the deadline has passed, unless they have given up."""
        if self.claim():
            waited = 1e3 * (now - self.arrived)
            settle(self, DeadlineMissed(f"the deadline passed after {waited:.1f} ms in the queue"))


def settle(request: Request, outcome: Answer | BaseException) -> None:
    """Hand the outcome to whoever waits for it."""
    try:
        if isinstance(outcome, BaseException):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
    except InvalidStateError:
        log.warning("a request was answered by somebody else meanwhile; its answer is lost")
