"""What the live page shows: what became of the latest requests of each model, and its wishes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull
from elastiq.load import Load
from elastiq.requests import Answer
from elastiq.server.models import Served

KEPT = 512  # requests of each model
IN_TIME, LATE, REFUSED, FAILED = "in time", "late", "refused", "failed"


class Event(NamedTuple):
    """One request. Times in milliseconds."""

    number: int
    moment: float  # seconds on the server's clock
    state: str
    latency: float
    deadline: float | None
    point: str | None
    score: float | None


@dataclass(frozen=True)
class Hand:
    """What somebody has set by hand, for requests that say nothing of it themselves."""

    point: str | None = None
    deadline: float | None = None  # seconds


class Live:
    """Keeps the latest requests of each model, and counts all of them."""

    def __init__(self) -> None:
        self._events: dict[str, deque[Event]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._numbers: dict[str, int] = {}
        self._last: dict[str, str] = {}

    def answered(
        self, model: str, now: float, took: float, deadline: float | None, answer: Answer
    ) -> None:
        """Take in an answer that took so many seconds since its request came."""
        late = deadline is not None and took > deadline
        option = answer.choice.option
        state = LATE if late else IN_TIME
        self._add(model, now, state, took, deadline, option.point, option.score)
        if self._last.get(model, option.point) != option.point:
            self._count(model, "shifts")
        self._last[model] = option.point

    def failed(
        self, model: str, now: float, took: float, deadline: float | None, error: Exception
    ) -> None:
        """Take in a request that got no answer. Those that were wrong themselves say nothing."""
        refused = isinstance(error, (DeadlineMissed, QueueFull))
        if refused or not isinstance(error, ElastiqError):
            self._add(model, now, REFUSED if refused else FAILED, took, deadline, None, None)

    def page(self, served: Served, hand: Hand, since: int) -> dict[str, Any]:
        """A model as it is now, with the requests since one of that number."""
        load = served.worker.load
        events = self._events.get(served.name, ())
        return {
            "name": served.name,
            "version": served.version,
            "load": load.as_dict() if isinstance(load, Load) else {"others": load, "known": True},
            "waiting": served.worker.waiting,
            "points": [
                {"name": point.name, "score": point.score}
                for point in served.bundle.manifest.points
            ],
            "point": self._last.get(served.name),
            "hand": asdict(hand),
            "counts": dict(self._counts.get(served.name, {})),
            "events": [event._asdict() for event in events if event.number > since],
            "number": self._numbers.get(served.name, 0),
        }

    def _add(
        self,
        model: str,
        now: float,
        state: str,
        took: float,
        deadline: float | None,
        point: str | None,
        score: float | None,
    ) -> None:
        number = self._numbers[model] = self._numbers.get(model, 0) + 1
        due = None if deadline is None else 1e3 * deadline
        event = Event(number, now, state, 1e3 * took, due, point, score)
        self._events.setdefault(model, deque(maxlen=KEPT)).append(event)
        self._count(model, state)

    def _count(self, model: str, what: str) -> None:
        counts = self._counts.setdefault(model, {})
        counts[what] = counts.get(what, 0) + 1


def hand(told: Mapping[str, Any], served: Served) -> Hand:
    """What somebody wants by hand: a point and a deadline in milliseconds, or null for none."""
    wrong = set(told) - {"point", "deadline_ms"}
    if wrong:
        raise ElastiqError(f"{', '.join(sorted(wrong))} cannot be set; point and deadline_ms can")
    point, due = told.get("point"), told.get("deadline_ms")
    if point is not None:
        served.worker.reaches(point)
    if due is not None and (isinstance(due, bool) or not isinstance(due, (int, float))):
        raise ElastiqError(f"deadline_ms is {due!r}; it must be a number, or null")
    if due is not None and not 0 < due < 1e9:
        raise ElastiqError(f"deadline_ms is {due!r}; it must be above 0")
    return Hand(point, None if due is None else due / 1e3)
