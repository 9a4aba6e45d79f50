"""The line of requests, and how the first of them is answered: by whom and when is not its matter.

A worker's thread serves one after another; a simulation does the same by a clock of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice
from math import inf, isnan

from elastiq.choice import Choice
from elastiq.dispatcher import Dispatcher
from elastiq.drivers import Memory
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull, SessionLost, WorkerClosed
from elastiq.line import Line
from elastiq.load import Load
from elastiq.protocols import Arrays
from elastiq.records import WHOLE, PointRecord
from elastiq.requests import NORMAL, PRIORITIES, Answer, Execute, Request, settle
from elastiq.rhythm import Listener, Rhythm
from elastiq.sessions import Session, Sessions
from elastiq.thoughts import Thoughts

LIMIT = 64
LOOK_AHEAD = 16  # requests behind the first whose deadlines the dispatcher is told
BETWEEN = 4  # requests served without a moment to think, where others wait always
BREATH = 1e-4  # seconds between thoughts
PROBE = 0.25  # seconds without an answer, after which a prediction is put to the test


class Desk:
    """Answers requests by priority, and else first come, first served; at most `limit` wait.
    Inputs are not copied.

    Where a point takes several requests at once, those who wait are answered together: nobody is
    kept waiting for company.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        execute: Execute,
        limit: int = LIMIT,
        sessions: Sessions | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._execute = execute
        self._limit = limit
        self._clock = clock
        self._queue = Line(limit)
        self._listener = Listener()
        self._last_run = -inf
        self._served = 0
        self._thoughts = Thoughts(dispatcher, clock)
        self._changed = threading.Condition()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._queue)

    @property
    def limit(self) -> int:
        """How many may wait."""
        return self._limit

    @property
    def load(self) -> Load | float:
        """The device's load, as the dispatcher knows it."""
        return self._dispatcher.load

    def think(self) -> bool:
        """Let the policy work ahead, for a moment; False if it has nothing to do, or no time."""
        return self._thoughts.think()

    def reaches(self, point: str) -> None:
        """Refuse a point that is not there."""
        self._dispatcher.reaches(point, 0.0)

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
        SessionLost for a session that is over."""
        now = self._clock()
        request = Request(
            inputs,
            now,
            None if deadline is None else now + deadline,
            Future(),
            session,
            None if session is None else self._remembering().find(session),
            point,
            least_score,
            priority,
        )
        self._check(request)
        self._admit(request, deadline)
        return request.future

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

    def _admit(self, request: Request, deadline: float | None) -> None:
        """Let it into the line, if need be for one that is too late, or that matters less."""
        missed: list[Request] = []
        displaced = None
        now = request.arrived
        try:
            with self._changed:
                if self._closed:
                    raise WorkerClosed("the worker is closed and takes no more requests")
                self._listener.hear(now, deadline)
                if self._queue.full:
                    missed = self._queue.take_gone(now)
                if self._queue.full:
                    displaced = self._queue.take_lesser(request.priority)
                    if displaced is None:
                        self._count(request, False)
                        raise QueueFull(f"{self._limit} requests are waiting already. Try later.")
                self._queue.add(request)
                self._changed.notify()
        finally:
            # Outside the lock: a future runs the callbacks of whoever waits for it.
            for late in missed:
                self._turn_away(late, now)
        if displaced is not None and displaced.claim():
            self._count(displaced, False)
            settle(displaced, QueueFull("others of a higher priority wait. Try later."))

    def offer(self, point: PointRecord) -> None:
        """Let the dispatcher choose one more point from now on."""
        self._dispatcher.offer(point)

    def close(self, drain: bool = True) -> None:
        """Take no more requests; those waiting are still to be served, or else cancelled."""
        with self._changed:
            self._closed = True
            dropped = [] if drain else self._queue.clear()
            self._changed.notify()
        for request in dropped:
            request.future.cancel()
            request.claim()  # which tells those who wait for several futures

    def serve_one(self) -> bool:
        """Wait for a request and serve it; False when closed, with none left."""
        self._served += 1
        if not self._queue or self._served % BETWEEN == 0:
            while self.think() and not self._queue and not self._closed:
                self._breathe()
        with self._changed:
            while not self._queue:
                if self._closed:
                    return False
                self._changed.wait()
            request = self._queue.take()
            now = self._clock()
            slacks, rhythm = self._slacks(request, now), self._listener.rhythm
        if request.expired(now):
            self._turn_away(request, now)
        elif request.claim():
            self._answer(request, slacks, rhythm, now)
        return True

    def _breathe(self) -> None:
        """Let others have the interpreter, who would not wake in time if it were only let go of."""
        with self._changed:
            if not self._queue and not self._closed:
                self._changed.wait(BREATH)

    def _answer(
        self, request: Request, slacks: list[float | None], rhythm: Rhythm, begun: float
    ) -> None:
        batch = [request]
        try:
            memory = None if request.session is None else self._recall(request)
            choice = self._choose(request, memory, slacks, rhythm)
            start = self._clock()
            if self._hopeless(request, choice, start):
                self._give_up(request, memory, choice, start)
                if memory is None:  # a session's point and costs are its own
                    self._give_up_behind(choice, start)
                return
            if choice.option.takes > 1 and not request.choosy:
                batch += self._companions(choice.option.takes - 1, start)
            self._last_run = start
            done = self._execute(choice.point, [one.inputs for one in batch], memory)
            took = self._clock() - start
            answered = list(zip(batch, done.answers, strict=True))
        except BaseException as e:  # whatever an engine raises is its requesters', not ours
            for one in batch:
                settle(one, e)
            # Else error, frame and future hold each other, and the inputs, for long.
            del request, one
            batch.clear()
        else:
            for one, answer in answered:
                if isinstance(answer, Exception):
                    settle(one, answer)
                else:
                    settle(one, Answer(answer, start - one.arrived, took, choice))
            # Whoever waited has the answer by now; the next request has waited for all of this.
            if done.ran:
                self._dispatcher.learn(choice, took, self._clock() - begun - took, done.ran)
            for one in batch:
                self._count(one, one.expires is None or start + took <= one.expires)
            if request.session is not None:
                self._remembering().grown(request.session)

    def _choose(
        self,
        request: Request,
        memory: Memory | None,
        slacks: list[float | None],
        rhythm: Rhythm,
    ) -> Choice:
        if request.expires is None:
            rhythm = rhythm._replace(given=None)
        if memory is None:
            choice = self._decide(slacks, rhythm, held=request.point)
            if choice.option.score >= request.least_score:
                return choice
            enough = self._dispatcher.cheapest(request.least_score)
            return self._decide(slacks, rhythm, held=enough)
        kind = memory.kind(request.inputs)
        if memory.point is None:
            # A session stays at its point, so the costliest request to come must fit there too.
            memory.point = self._decide(slacks, rhythm, memory.costliest).point
        return self._decide(slacks, rhythm, kind, memory.point)

    def _decide(
        self,
        slacks: list[float | None],
        rhythm: Rhythm,
        kind: str = WHOLE,
        held: str | None = None,
    ) -> Choice:
        """What the policy chooses, if it need be once it has thought; or a point that is held."""
        choice = self._dispatcher.decide(slacks, rhythm, kind, held)
        if held is None and self._dispatcher.astray:
            slacks = _later(slacks, self._thoughts.hurry(choice))
            choice = self._dispatcher.decide(slacks, rhythm, kind)
        return choice

    def _give_up(self, request: Request, memory: Memory | None, choice: Choice, now: float) -> None:
        """No time for an answer: a session has its last one, all others are refused."""
        if memory is not None and memory.latest is not None and request.inputs:
            waited = now - request.arrived
            settle(request, Answer(memory.latest, waited, 0.0, choice, repeated=True))
        else:
            settle(request, DeadlineMissed(_hopeless_words(request, choice, now)))
        self._count(request, False)

    def _give_up_behind(self, choice: Choice, now: float) -> None:
        """Nor is there for those next in line whom no point could answer in time any more: under
        overload, to choose for each of them would take longer than to answer some."""
        soonest = now + choice.quickest
        while late := self._take_late(soonest):
            if late.expired(now):
                self._turn_away(late, now)
            elif late.claim():
                self._give_up(late, None, choice, now)

    def _take_late(self, soonest: float) -> Request | None:
        """The next in line, if it must be answered earlier than that, and can do without."""
        with self._changed:
            first = self._queue.first if self._queue else None
            if first is None or first.session is not None or not first.expired(soonest):
                return None
            return self._queue.take()

    def _companions(self, room: int, now: float) -> list[Request]:
        """Those next in line, to be answered together with the first."""
        found: list[Request] = []
        missed: list[Request] = []
        with self._changed:
            while self._queue and len(found) < room and not self._queue.first.choosy:
                request = self._queue.take()
                if request.expired(now):
                    missed.append(request)
                elif request.claim():
                    found.append(request)
        for late in missed:
            self._turn_away(late, now)
        return found

    def _turn_away(self, request: Request, now: float) -> None:
        if not request.future.cancelled():
            self._count(request, False)
        request.refuse(now)

    def _count(self, request: Request, in_time: bool) -> None:
        """Tell the dispatcher what became of a request that was its to place."""
        if request.expires is not None and not request.choosy:
            self._dispatcher.settle(in_time)

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
        """Whether the policy refuses it, or the chosen point is too slow for what is left: then
        nobody's time is wasted.

        Now and then such a request runs all the same, for a prediction may be wrong, and only a
        run can show it.
        """
        if request.expires is None:
            return False
        if not choice.decision.refuses and now + choice.predicted <= request.expires:
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


def _later(slacks: list[float | None], seconds: float) -> list[float | None]:
    return [None if slack is None else slack - seconds for slack in slacks]


def _hopeless_words(request: Request, choice: Choice, now: float) -> str:
    left, needed = (request.expires or now) - now, choice.predicted
    return f"{1e3 * left:.1f} ms are left, and {choice.point} takes {1e3 * needed:.1f} ms now"
