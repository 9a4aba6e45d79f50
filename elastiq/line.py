"""Those who wait, up to a limit: by priority, and within one first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from elastiq.errors import QueueFull, WorkerClosed
from elastiq.requests import PRIORITIES, Request
from elastiq.rhythm import Listener, Rhythm

LOOK_AHEAD = 16  # requests behind the first that are told of


class Line:
    """A queue of requests. Any thread may join it; one waits to be called.

    Nobody is told anything here: a future runs the callbacks of whoever waits for it, and those
    must find the line unlocked.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lanes: tuple[deque[Request], ...] = tuple(deque() for _ in PRIORITIES)
        self._listener = Listener()
        self._closed = False
        self._lock = threading.Lock()
        # A condition would wake who waits, and then keep him waiting for its lock.
        self._bell = threading.Lock()
        self._bell.acquire()

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    @property
    def rhythm(self) -> Rhythm:
        """How requests come, lately."""
        return self._listener.rhythm

    def expected(self, now: float) -> Rhythm:
        """How they will have come if the next does now."""
        return self._listener.expected(now)

    def silence(self, now: float) -> float:
        """For how many seconds nobody has come."""
        return self._listener.silence(now)

    def until_news(self, now: float) -> float | None:
        """How many seconds of silence more make another rhythm of that; None if none do."""
        return self._listener.until_news(now)

    @property
    def over(self) -> bool:
        """Whether it is closed, and empty for ever."""
        return self._closed and not len(self)  # in this order: nobody joins once it is closed

    def join(self, request: Request) -> list[Request]:
        """Let one in, if need be for others, who leave: those nobody waits for any more, or else
        the last of the least priority, if that is less. Raises QueueFull, and WorkerClosed."""
        leave: list[Request] = []
        with self._lock:
            if self._closed:
                raise WorkerClosed("the worker is closed and takes no more requests")
            self._listener.hear(request.arrived, request.given)
            if len(self) >= self.limit:
                leave = self._gone(request.arrived) or self._lesser(request.priority)
                if not leave:
                    raise QueueFull(f"{self.limit} requests are waiting already. Try later.")
            self._lanes[request.priority - 1].append(request)
        return leave

    def first(self, future: Future[Any] | None = None) -> tuple[Request, list[Request], int] | None:
        """Take the first, if there is one, and if it is the one of this future; and tell of those
        behind it, and how many more there are."""
        with self._lock:
            waiting = self._all()
            request = next(waiting, None)
            if request is None or future not in (None, request.future):
                return None
            behind = list(islice(waiting, LOOK_AHEAD))
            self._pop()
            return request, behind, len(self) - len(behind)

    def take(self, wanted: Callable[[Request], bool]) -> Request | None:
        """Take the first, if there is one, and if it is one of those."""
        with self._lock:
            request = next(self._all(), None)
            return self._pop() if request is not None and wanted(request) else None

    def wait(self, seconds: float = -1) -> None:
        """Until somebody is called, or for so long; at times for no reason."""
        self._bell.acquire(timeout=seconds)

    def call(self) -> None:
        """Wake who waits. It takes as long as a choice does."""
        with suppress(RuntimeError):  # called already
            self._bell.release()

    def close(self, clear: bool) -> list[Request]:
        """Let nobody in any more; those who leave, if it is to be cleared."""
        with self._lock:
            self._closed = True
            leave = self._sweep(lambda request: True) if clear else []
        self.call()
        return leave

    def _all(self) -> Iterator[Request]:
        return chain(*self._lanes)

    def _pop(self) -> Request:
        return next(lane for lane in self._lanes if lane).popleft()

    def _gone(self, now: float) -> list[Request]:
        """Remove those nobody waits for any more: cancelled, or too late."""
        return self._sweep(lambda request: request.future.given_up or request.expired(now))

    def _lesser(self, priority: int) -> list[Request]:
        """Remove the last of the least priority, if that is less than this one."""
        lanes = (lane for lane in reversed(self._lanes[priority:]) if lane)
        return [lane.pop() for lane in islice(lanes, 1)]

    def _sweep(self, gone: Callable[[Request], bool]) -> list[Request]:
        swept: list[Request] = []
        for lane in self._lanes:
            kept: list[Request] = []
            for request in lane:  # asked once, for a request may be cancelled while we look
                (swept if gone(request) else kept).append(request)
            lane.clear()
            lane.extend(kept)
        return swept
