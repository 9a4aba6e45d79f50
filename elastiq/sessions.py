"""Sessions: what drivers keep from one request to the next, bounded in number and bytes."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from elastiq.drivers import Memory
from elastiq.errors import ElastiqError, SessionLost
from elastiq.protocols import Arrays

LIMIT = 64
ROOM = 64 * 2**20  # bytes, of all together
IDLE = 60.0  # seconds without a request, after which a session is over


@dataclass
class _Held:
    memory: Memory
    used: float
    size: int


class Sessions:
    """The sessions of a worker by name. Who was idle for longest makes room for others."""

    def __init__(
        self,
        begin: Callable[[], Memory],
        limit: int = LIMIT,
        room: int = ROOM,
        idle: float = IDLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._limit = limit
        self._room = room
        self._idle = idle
        self._clock = clock
        self._held: OrderedDict[str, _Held] = OrderedDict()  # the one used last stands last
        self._size = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """In bytes, of all that is kept."""
        return self._size

    def begin(self, name: str | None = None) -> str:
        """Begin a session, under this name or a new one."""
        name = name or uuid.uuid4().hex
        with self._lock:
            self._expire()
            if name in self._held:
                raise ElastiqError(f"the session {name!r} has begun already; end it first")
            while len(self._held) >= self._limit:
                self._drop(next(iter(self._held)))
            memory = self._begin()
            self._held[name] = _Held(memory, self._clock(), memory.size)
            self._size += memory.size
        return name

    def find(self, name: str) -> Memory:
        """What is kept of a session, which is in use from now on."""
        with self._lock:
            self._expire()
            if name not in self._held:
                raise SessionLost(
                    f"there is no session {name!r}: it was never begun, has ended, was idle for "
                    f"{self._idle:g} s, or made room for others. Begin a new one."
                )
            self._held.move_to_end(name)
            held = self._held[name]
            held.used = self._clock()
            return held.memory

    def grown(self, name: str) -> None:
        """Take in what a session keeps now; others make room for it."""
        with self._lock:
            held = self._held.get(name)
            if held is None:
                return
            self._size += held.memory.size - held.size
            held.size = held.memory.size
            while self._size > self._room:
                self._drop(next(iter(self._held)))

    def end(self, name: str) -> None:
        """Forget a session, if it is still there."""
        with self._lock:
            if name in self._held:
                self._drop(name)

    def _expire(self) -> None:
        now = self._clock()
        while self._held:
            name, held = next(iter(self._held.items()))
            if now - held.used <= self._idle:
                return
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._size -= self._held.pop(name).size


class Host(Protocol):
    """Who answers a session's requests: a worker."""

    def ask(self, inputs: Arrays, deadline: float | None, session: str) -> Any: ...

    def end(self, session: str) -> None: ...


class Session:
    """One sequence of requests: each answer is made of all that was sent before."""

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self.name = name

    def see(self, inputs: Arrays, deadline: float | None = None) -> Any:
        """Answer after one more glimpse, within `deadline` seconds."""
        return self._host.ask(inputs, deadline, self.name)

    def look(self, deadline: float | None = None) -> int:
        """Which of the candidates to look at next, by what was seen so far."""
        answer = self._host.ask({}, deadline, self.name)
        return int(answer.outputs["next"].item())

    def close(self) -> None:
        """Forget what was seen."""
        self._host.end(self.name)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
