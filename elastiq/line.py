"""Those who wait, up to a limit: by priority, and within one first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from elastiq.requests import PRIORITIES, Request


class Line:
    """A queue of requests. Its lock is its owner's matter."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lanes: tuple[deque[Request], ...] = tuple(deque() for _ in PRIORITIES)

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def __iter__(self) -> Iterator[Request]:
        return chain(*self._lanes)

    @property
    def full(self) -> bool:
        return len(self) >= self._limit

    @property
    def first(self) -> Request:
        return next(iter(self))

    def add(self, request: Request) -> None:
        self._lanes[request.priority - 1].append(request)

    def take(self) -> Request:
        """Remove the first."""
        return next(lane for lane in self._lanes if lane).popleft()

    def clear(self) -> list[Request]:
        """Remove all."""
        return self._sweep(lambda request: True)

    def take_gone(self, now: float) -> list[Request]:
        """Remove those nobody waits for any more: cancelled, or too late."""
        return self._sweep(lambda request: request.future.cancelled() or request.expired(now))

    def take_lesser(self, priority: int) -> Request | None:
        """Remove the last of the least priority, if that is less than this one."""
        lanes = (lane for lane in reversed(self._lanes[priority:]) if lane)
        lane = next(lanes, None)
        return None if lane is None else lane.pop()

    def _sweep(self, gone: Callable[[Request], bool]) -> list[Request]:
        swept: list[Request] = []
        for lane in self._lanes:
            kept: list[Request] = []
            for request in lane:  # asked once, for a request may be cancelled while we look
                (swept if gone(request) else kept).append(request)
            lane.clear()
            lane.extend(kept)
        return swept
