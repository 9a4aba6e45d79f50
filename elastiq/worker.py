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
from typing import Any

import numpy as np

from elastiq.dispatcher import Choice, Dispatcher
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull
from elastiq.latency import LatencyTable
from elastiq.load import LoadMonitor
from elastiq.policies import policy as find_policy
from elastiq.protocols import Arrays
from elastiq.records import PointRecord

log = logging.getLogger(__name__)

LIMIT = 64
LOOK_AHEAD = 16  # requests behind the first whose deadlines the dispatcher is told
PACE_OVER = 16  # arrivals
PACE_PAUSE = 2.5  # times the pace: what a longer gap counts as. The pace so found is a tenth
# under that of Poisson arrivals, which leaves the room that a queue near its limit needs
LEAST_GAP = 1e-5  # seconds, so that a pace of nothing can recover
PROBE = 0.25  # seconds without an answer, after which a prediction is put to the test

Execute = Callable[[str, Arrays], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Answer:
    """What a request gets. `waited` in the queue and `took` in the engine, in seconds."""

    outputs: dict[str, np.ndarray]
    waited: float
    took: float
    choice: Choice

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
            self.future.set_exception(
                DeadlineMissed(f"the deadline passed after {waited:.1f} ms in the queue")
            )


class Worker:
    """Answers requests first come, first served; at most `limit` wait. Inputs are not copied."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        execute: Execute,
        limit: int = LIMIT,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
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

    def submit(self, inputs: Arrays, deadline: float | None = None) -> Future[Answer]:
        """Queue a request to be answered within `deadline` seconds. Raises QueueFull."""
        if deadline is not None and isnan(deadline):
            raise ElastiqError("the deadline is not a number of seconds")
        now = time.perf_counter()
        expires = None if deadline is None else now + deadline
        request = Request(inputs, now, expires, Future())
        missed: list[Request] = []
        try:
            with self._changed:
                if self._closed:
                    raise ElastiqError("the worker is closed and takes no more requests")
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
            while self._next():
                pass
        finally:
            self._on_close()

    def _next(self) -> bool:
        try:
            return self._serve_one()
        except InvalidStateError:
            log.warning("a request was answered by somebody else meanwhile; its answer is lost")
            return True

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
        try:
            given = None if request.expires is None else request.expires - request.arrived
            choice = self._dispatcher.decide(slacks, pace, given)
            start = time.perf_counter()
            if self._hopeless(request, choice, start):
                request.future.set_exception(DeadlineMissed(_hopeless_words(choice)))
                return
            self._last_run = start
            outputs = self._execute(choice.point, request.inputs)
            took = time.perf_counter() - start
        except BaseException as e:  # whatever an engine raises is its requester's, not ours
            request.future.set_exception(e)
            del request  # else error, frame and future hold each other, and the inputs, for long
        else:
            answer = Answer(outputs, start - request.arrived, took, choice)
            request.future.set_result(answer)
            # Whoever waited has the answer by now; the next request has waited for all of this.
            self._dispatcher.learn(choice, took, time.perf_counter() - begun - took)

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


def _hopeless_words(choice: Choice) -> str:
    left, needed = choice.situation.slack or 0.0, choice.predicted
    return f"{1e3 * left:.1f} ms are left, and {choice.point} takes {1e3 * needed:.1f} ms now"


def serve(
    points: Sequence[PointRecord],
    table: LatencyTable,
    execute: Execute,
    policy: str = "utility",
    limit: int = LIMIT,
    **options: Any,
) -> Worker:
    """A worker over these points: load watched, the point chosen by the named policy."""
    monitor = LoadMonitor()
    chosen = find_policy(policy, **options)
    dispatcher = Dispatcher(points, table, chosen, monitor)
    monitor.start()
    return Worker(dispatcher, execute, limit, on_close=monitor.stop)
