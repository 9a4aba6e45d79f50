"""A crew: threads that work side by side, each waiting for a child process of a toolchain.

They live as long as this process, for a child dies with the thread that started it; and they are
daemons, so that who is interrupted waits for none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Made = TypeVar("Made")

HEED = 0.5  # seconds between looks at whether one was interrupted


class Crew:
    """So many threads."""

    def __init__(self, size: int) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        for number in range(size):
            Thread(target=self._work, name=f"elastiq-crew-{number}", daemon=True).start()

    def side_by_side(self, calls: Sequence[Callable[[], Made]]) -> Iterator[Made]:
        """What each call makes, in their order. After an error no more of them are begun."""
        futures: list[Future[Made]] = []
        for call in calls:
            futures.append(Future())
            self._waiting.put((futures[-1], call))
        try:
            for future in futures:
                # What comes just before a wait, or to another thread, does not interrupt it.
                while not wait([future], HEED).done:
                    pass
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _work(self) -> None:
        while True:
            future, call = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as e:
                future.set_exception(e)


@cache
def crew(size: int) -> Crew:
    """The crew of that size."""
    return Crew(size)
