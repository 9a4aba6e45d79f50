"""One thread that answers requests in order, each at the point that the dispatcher chooses."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from itertools import islice
from math import inf, isnan
from types import TracebackType
from typing import Any, NamedTuple

from elastiq.dispatcher import Choice, Dispatcher
from elastiq.drivers import Memory, Outputs
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull, SessionLost, WorkerClosed
from elastiq.latency import LatencyTable
from elastiq.load import LoadMonitor
from elastiq.policies import policy as find_policy
from elastiq.protocols import Arrays
from elastiq.records import PointRecord
from elastiq.sessions import Session, Sessions

log = logging.getLogger(__name__)

LIMIT = 64
LOOK_AHEAD = 16  # requests behind the first whose deadlines the dispatcher is told
PACE_OVER = 16  # arrivals
PACE_PAUSE = 2.5  # times the pace: what a longer gap counts as. The pace so found is a tenth
# under that of Poisson arrivals, which leaves the room that a queue near its limit needs
LEAST_GAP = 1e-5  # seconds, so that a pace of nothing can recover
PROBE = 0.25  # seconds without an answer, after which a prediction is put to the test


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


@dataclass(frozen=True, eq=False)
class Request:
    """Inputs and the future that their answer goes to. `expires` is a moment, or None."""

    inputs: Arrays
    arrived: float
    expires: float | None
    future: Future[Answer]
    session: str | None = None
    memory: Memory | None = None  # what was kept of that session by the name's owner of then
    point: str | None = None  # the one to answer at, whatever the load
    least_score: float = 0.0  # of the point that answers

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
            _settle(self, DeadlineMissed(f"the deadline passed after {waited:.1f} ms in the queue"))


class Worker:
    """Answers requests first come, first served; at most `limit` wait. Inputs are not copied.

    Where a point takes several requests at once, those who wait are answered together: nobody is
    kept waiting for company.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        execute: Execute,
        limit: int = LIMIT,
        on_close: Callable[[], None] = lambda: None,
        sessions: Sessions | None = None,
    ) -> None:
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._execute = execute
        self._limit = limit
        self._on_close = on_close
        self._queue: deque[Request] = deque()
        self._last_arrival: float | None = None
        self._pace: float | None = None
        self._last_run = -inf
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="elastiq-worker", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._queue)

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
    ) -> Future[Answer]:
        """Queue a request to be answered within `deadline` seconds, at the point that the policy
        chooses, unless it wants a certain `point`, or at least a score. Raises QueueFull, and
        SessionLost for a session that is over."""
        if deadline is not None and isnan(deadline):
            raise ElastiqError("the deadline is not a number of seconds")
        now = time.perf_counter()
        expires = None if deadline is None else now + deadline
        memory = None if session is None else self._remembering().find(session)
        if point is not None or least_score:
            if session is not None:
                raise ElastiqError("a session stays at the point where it began: it asks for none")
            self._dispatcher.reaches(point, least_score)
        request = Request(inputs, now, expires, Future(), session, memory, point, least_score)
        missed: list[Request] = []
        try:
            with self._changed:
                if self._closed:
                    raise WorkerClosed("the worker is closed and takes no more requests")
                self._follow_pace(now)
                if len(self._queue) >= self._limit:
                    missed = self._make_room(now)
                if len(self._queue) >= self._limit:
                    raise QueueFull(f"{self._limit} requests are waiting already. Try later.")
                self._queue.append(request)
                self._changed.notify()
        finally:
            # Outside the lock: a future runs the callbacks of whoever waits for it.
            for late in missed:
                late.refuse(now)
        return request.future

    def offer(self, point: PointRecord) -> None:
        """Let the dispatcher choose one more point from now on."""
        self._dispatcher.offer(point)

    def close(self, drain: bool = True) -> None:
        """Take no more requests, answer those waiting (or cancel them), and end."""
        with self._changed:
            self._closed = True
            dropped = [] if drain else list(self._queue)
            if not drain:
                self._queue.clear()
            self._changed.notify()
        for request in dropped:
            request.future.cancel()
            request.claim()  # which tells those who wait for several futures
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(drain=kind is None)

    def _run(self) -> None:
        try:
            while self._serve_one():
                pass
        finally:
            self._on_close()

    def _serve_one(self) -> bool:
        """Serve the first request; False when the worker is closed and has none left."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return False
                self._changed.wait()
            request = self._queue.popleft()
            now = time.perf_counter()
            slacks, pace = self._slacks(request, now), self._pace
        if request.expired(now):
            request.refuse(now)
        elif request.claim():
            self._answer(request, slacks, pace, now)
        return True

    def _answer(
        self, request: Request, slacks: list[float | None], pace: float | None, begun: float
    ) -> None:
        batch = [request]
        try:
            memory = None if request.session is None else self._recall(request)
            choice = self._choose(request, memory, slacks, pace)
            start = time.perf_counter()
            if self._hopeless(request, choice, start):
                self._give_up(request, memory, choice, start)
                return
            if choice.option.takes > 1 and not request.choosy:
                batch += self._companions(choice.option.takes - 1, start)
            self._last_run = start
            done = self._execute(choice.point, [one.inputs for one in batch], memory)
            took = time.perf_counter() - start
            answered = list(zip(batch, done.answers, strict=True))
        except BaseException as e:  # whatever an engine raises is its requesters', not ours
            for one in batch:
                _settle(one, e)
            # Else error, frame and future hold each other, and the inputs, for long.
            del request, one
            batch.clear()
        else:
            for one, answer in answered:
                if isinstance(answer, Exception):
                    _settle(one, answer)
                else:
                    _settle(one, Answer(answer, start - one.arrived, took, choice))
            # Whoever waited has the answer by now; the next request has waited for all of this.
            if done.ran:
                self._dispatcher.learn(choice, took, time.perf_counter() - begun - took, done.ran)
            if request.session is not None:
                self._remembering().grown(request.session)

    def _choose(
        self,
        request: Request,
        memory: Memory | None,
        slacks: list[float | None],
        pace: float | None,
    ) -> Choice:
        given = None if request.expires is None else request.expires - request.arrived
        if memory is None:
            choice = self._dispatcher.decide(slacks, pace, given, held=request.point)
            if choice.option.score >= request.least_score:
                return choice
            enough = self._dispatcher.cheapest(request.least_score)
            return self._dispatcher.decide(slacks, pace, given, held=enough)
        kind = memory.kind(request.inputs)
        if memory.point is None:
            # A session stays at its point, so the costliest request to come must fit there too.
            memory.point = self._dispatcher.decide(slacks, pace, given, memory.costliest).point
        return self._dispatcher.decide(slacks, pace, given, kind, memory.point)

    def _give_up(self, request: Request, memory: Memory | None, choice: Choice, now: float) -> None:
        """No time for an answer: a session has its last one, all others are refused."""
        if memory is not None and memory.latest is not None and request.inputs:
            waited = now - request.arrived
            _settle(request, Answer(memory.latest, waited, 0.0, choice, repeated=True))
        else:
            _settle(request, DeadlineMissed(_hopeless_words(choice)))

    def _companions(self, room: int, now: float) -> list[Request]:
        """Those next in line, to be answered together with the first."""
        found: list[Request] = []
        missed: list[Request] = []
        with self._changed:
            while self._queue and len(found) < room and not self._queue[0].choosy:
                request = self._queue.popleft()
                if request.expired(now):
                    missed.append(request)
                elif request.claim():
                    found.append(request)
        for late in missed:
            late.refuse(now)
        return found

    def _recall(self, request: Request) -> Memory:
        """What is kept of a request's session; never of another by the same name."""
        assert request.session is not None
        memory = self._remembering().find(request.session)
        if memory is not request.memory:
            raise SessionLost(f"the session {request.session!r} ended, and another has begun")
        return memory

    def _remembering(self) -> Sessions:
        if self._sessions is None:
            raise ElastiqError("this model knows no sessions: each of its requests stands alone")
        return self._sessions

    def _hopeless(self, request: Request, choice: Choice, now: float) -> bool:
        """Whether the chosen point is too slow for what is left: then nobody's time is wasted.

        Now and then such a request runs all the same, for a prediction may be wrong, and only a
        run can show it.
        """
        if request.expires is None or now + choice.predicted <= request.expires:
            return False
        return now - self._last_run < PROBE

    def _slacks(self, first: Request, now: float) -> list[float | None]:
        """The time left to the first and to those behind it that will still be served."""
        slacks = [None if first.expires is None else first.expires - now]
        for request in islice(self._queue, LOOK_AHEAD):
            if request.expires is None:
                slacks.append(None)
            elif request.expires > now and not request.future.cancelled():
                slacks.append(request.expires - now)
        return slacks

    def _follow_pace(self, now: float) -> None:
        """Keep the mean time between arrivals lately."""
        if self._last_arrival is not None:
            gap = now - self._last_arrival
            if self._pace is None:
                self._pace = gap
            else:  # one long pause says little of what comes in a burst
                gap = min(gap, PACE_PAUSE * self._pace + LEAST_GAP)
                self._pace += (gap - self._pace) / PACE_OVER
        self._last_arrival = now

    def _make_room(self, now: float) -> list[Request]:
        """Drop the requests nobody waits for any more; those that expired are to be refused."""
        live: list[Request] = []
        gone: list[Request] = []
        for request in self._queue:  # once, for a request may be cancelled while we look
            (gone if request.future.cancelled() or request.expired(now) else live).append(request)
        self._queue.clear()
        self._queue.extend(live)
        return gone


def _settle(request: Request, outcome: Answer | BaseException) -> None:
    try:
        if isinstance(outcome, BaseException):
            request.future.set_exception(outcome)
        else:
            request.future.set_result(outcome)
    except InvalidStateError:
        log.warning("a request was answered by somebody else meanwhile; its answer is lost")


def _hopeless_words(choice: Choice) -> str:
    left, needed = choice.situation.slack or 0.0, choice.predicted
    return f"{1e3 * left:.1f} ms are left, and {choice.point} takes {1e3 * needed:.1f} ms now"


def serve(
    points: Sequence[PointRecord],
    table: LatencyTable,
    execute: Execute,
    policy: str = "utility",
    limit: int = LIMIT,
    sessions: Sessions | None = None,
    **options: Any,
) -> Worker:
    """A worker over these points: load watched, the point chosen by the named policy."""
    monitor = LoadMonitor()
    chosen = find_policy(policy, **options)
    dispatcher = Dispatcher(points, table, chosen, monitor)
    monitor.start()
    return Worker(dispatcher, execute, limit, on_close=monitor.stop, sessions=sessions)
