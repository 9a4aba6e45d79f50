"""One thread that answers requests in order, each at the point that the dispatcher chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from elastiq.desk import LIMIT, Desk
from elastiq.dispatcher import Dispatcher
from elastiq.latency import LatencyTable
from elastiq.load import LoadMonitor
from elastiq.policies import policy as find_policy
from elastiq.records import PointRecord
from elastiq.requests import Execute
from elastiq.sessions import Sessions


class Worker(Desk):
    """A desk with somebody at it, from now until it is closed."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        execute: Execute,
        limit: int = LIMIT,
        on_close: Callable[[], None] = lambda: None,
        sessions: Sessions | None = None,
    ) -> None:
        super().__init__(dispatcher, execute, limit, sessions)
        self._on_close = on_close
        self._thread = threading.Thread(target=self._run, name="elastiq-worker", daemon=True)
        self._thread.start()

    def close(self, drain: bool = True) -> None:
        """Take no more requests, answer those waiting (or cancel them), and end."""
        super().close(drain)
        if threading.get_ident() not in (self._thread.ident, self._sitting):
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
            while self.serve_one():
                pass
        except BaseException:
            Desk.close(self, drain=False)  # nobody waits for ever for who is gone
            raise
        finally:
            with self._seat:  # somebody may be serving himself
                self._on_close()


def serve(
    points: Sequence[PointRecord],
    table: LatencyTable,
    execute: Execute,
    policy: str = "utility",
    limit: int = LIMIT,
    sessions: Sessions | None = None,
    load: LoadMonitor | None = None,
    **options: Any,
) -> Worker:
    """A worker over these points: load watched, the point chosen by the named policy.

    Several workers may share who watches the `load`; it is started and stopped by others then.
    """
    chosen = find_policy(policy, **options)
    monitor = load or LoadMonitor()
    dispatcher = Dispatcher(points, table, chosen, monitor, limit=limit)
    if load is not None:
        return Worker(dispatcher, execute, limit, sessions=sessions)
    monitor.start()
    return Worker(dispatcher, execute, limit, on_close=monitor.stop, sessions=sessions)
