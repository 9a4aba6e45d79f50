"""Where requests are handed in, and who answers them: one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from math import isnan

from elastiq.dispatcher import Dispatcher
from elastiq.errors import ElastiqError, QueueFull
from elastiq.line import Line
from elastiq.load import Load
from elastiq.protocols import Arrays
from elastiq.records import PointRecord
from elastiq.requests import NORMAL, PRIORITIES, Answer, Awaited, Execute, Request, settle
from elastiq.rhythm import Rhythm
from elastiq.service import Service
from elastiq.sessions import Session, Sessions
from elastiq.thoughts import Thoughts

LIMIT = 64
BETWEEN = 4  # turns without a moment to think, where others wait always
BREATH = 1e-4  # seconds between thoughts


class Desk:
    """Answers requests by priority, and else first come, first served; at most `limit` wait.
    Inputs are not copied.

    Somebody sits there and serves one after another: a worker's thread, or a simulation. Whoever
    waits for an answer while nobody does serves himself, for that is done sooner than another
    thread wakes.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        execute: Execute,
        limit: int = LIMIT,
        sessions: Sessions | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._clock = clock
        self._line = Line(limit)
        self._thoughts = Thoughts(dispatcher, clock)
        self._service = Service(dispatcher, execute, self._line, self._thoughts, sessions, clock)
        self._seat = threading.Lock()  # held by who serves, or thinks
        self._sitting: int | None = None  # the thread that serves
        self._turns = 0

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._line)

    @property
    def limit(self) -> int:
        """How many may wait."""
        return self._line.limit

    @property
    def load(self) -> Load | float:
        """The device's load, as the dispatcher knows it."""
        return self._dispatcher.load

    def reaches(self, point: str) -> None:
        """Refuse a point that is not there."""
        self._dispatcher.reaches(point, 0.0)

    def offer(self, point: PointRecord) -> None:
        """Let the dispatcher choose one more point from now on."""
        self._dispatcher.offer(point)

    def session(self, name: str | None = None) -> Session:
        """Begin a session, whose requests are answered from all that it sent before."""
        return Session(self, self._remembering().begin(name))

    def end(self, session: str) -> None:
        """Forget a session."""
        self._remembering().end(session)

    def submit(
        self,
        inputs: Arrays,
        deadline: float | None = None,
        session: str | None = None,
        point: str | None = None,
        least_score: float = 0.0,
        priority: int = NORMAL,
    ) -> Future[Answer]:
        """Queue a request to be answered within `deadline` seconds, at the point that the policy
        chooses, unless it wants a certain `point`, or at least a score. Raises QueueFull, and
        SessionLost for a session that is over.

        The answer may be made in the thread that waits for it, unless that waits with a timeout.
        """
        future = self._join(inputs, deadline, session, point, least_score, priority)
        self._line.call()
        return future

    def ask(
        self,
        inputs: Arrays,
        deadline: float | None = None,
        session: str | None = None,
        point: str | None = None,
        least_score: float = 0.0,
        priority: int = NORMAL,
    ) -> Answer:
        """Submit, and wait for the answer: sooner than by a future, for nobody has to be woken
        where nobody serves."""
        future = self._join(inputs, deadline, session, point, least_score, priority)
        if not self._serve_now(future) or self._thoughts.due():
            self._line.call()
        return future.result()

    def _join(
        self,
        inputs: Arrays,
        deadline: float | None,
        session: str | None,
        point: str | None,
        least_score: float,
        priority: int,
    ) -> Future[Answer]:
        """Let a request join the line."""
        now = self._clock()
        request = Request(
            inputs,
            now,
            None if deadline is None else now + deadline,
            Awaited(self._serve_now),
            session,
            None if session is None else self._remembering().find(session),
            point,
            least_score,
            priority,
        )
        self._check(request)
        try:
            leave = self._line.join(request)
        except QueueFull:
            self._service.count(request, False)
            raise
        for one in leave:
            self._see_off(one, now)
        return request.future

    def close(self, drain: bool = True) -> None:
        """Take no more requests; those waiting are still to be served, or else cancelled."""
        for request in self._line.close(clear=not drain):
            request.future.cancel()
            request.claim()  # which tells those who wait for several futures

    def serve_one(self) -> bool:
        """Wait for a request and serve it; False when closed, with none left."""
        while True:
            self._work_ahead()
            if self.waiting:
                with self._seat:
                    if self._serve():
                        return True
            elif self._line.over:
                return False
            else:
                self._line.wait(self._patience())

    def think(self) -> bool:
        """Let the policy work ahead, for a moment; False if it has nothing to do, or no time."""
        others_wait = self.waiting > 0
        if not self._thoughts.due(others_wait):
            return False
        silence = self._line.silence(self._clock())
        with self._seat:
            self._thoughts.think(others_wait, silence)
        return True

    def _patience(self) -> float:
        """How long to wait for somebody before there is something else to do; below 0: for ever."""
        news, thoughts = self._line.until_news(self._clock()), self._thoughts.until_due()
        return min((wait for wait in (news, thoughts) if wait is not None), default=-1)

    def _work_ahead(self) -> None:
        """Look about and let the policy think while nobody waits; where some always do, now and
        then."""
        self._turns += 1
        if not self.waiting or self._turns % BETWEEN == 0:
            with self._seat, suppress(Exception):  # what fails is told to whoever comes next
                self._dispatcher.look(self._coming())
            while self.think() and not self.waiting and not self._line.over:
                self._line.wait(BREATH)  # else nobody who wakes had the interpreter in time

    def _coming(self) -> Rhythm:
        """How requests come, by who comes next, if nobody waits."""
        return self._line.rhythm if self.waiting else self._line.expected(self._clock())

    def _serve_now(self, future: Future[Answer]) -> bool:
        """Serve the request of this future, if it is first and nobody serves."""
        if not self._seat.acquire(blocking=False):
            return False
        try:
            return self._serve(future)
        finally:
            self._seat.release()

    def _serve(self, future: Future[Answer] | None = None) -> bool:
        """Serve the first in line, if there is one, and if it is the one that is meant."""
        if (found := self._line.first(future)) is None:
            return False
        self._sitting = threading.get_ident()
        try:
            self._service.serve(*found)
        finally:
            self._sitting = None
        return True

    def _check(self, request: Request) -> None:
        """Refuse what nobody can be given."""
        if request.expires is not None and isnan(request.expires):
            raise ElastiqError("the deadline is not a number of seconds")
        if request.priority not in PRIORITIES:
            raise ElastiqError(
                f"there is no priority {request.priority}: 1 is served first, 3 last"
            )
        if request.session is None:
            if request.choosy:
                self._dispatcher.reaches(request.point, request.least_score)
        elif request.point is not None or request.least_score:
            raise ElastiqError("a session stays at the point where it began: it asks for none")
        elif request.priority != NORMAL:
            raise ElastiqError("a session's requests keep their order: they have no priority")

    def _see_off(self, request: Request, now: float) -> None:
        """Tell one who had to leave the line why."""
        if request.future.given_up or request.expired(now):
            self._service.turn_away(request, now)
        elif request.claim():
            self._service.count(request, False)
            settle(request, QueueFull("others of a higher priority wait. Try later."))

    def _remembering(self) -> Sessions:
        if self._sessions is None:
            raise ElastiqError("this model knows no sessions: each of its requests stands alone")
        return self._sessions
