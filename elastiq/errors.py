"""One family of errors that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ElastiqError(Exception):
    """Something the user can fix: says what failed, where, and what to do. No traceback needed."""


class BundleError(ElastiqError):
    """A bundle that cannot be trusted or read: missing, truncated, altered, or too new."""


class EngineError(ElastiqError):
    """An engine that could not be loaded or run, in its runtime's own words."""


class DeadlineMissed(ElastiqError):
    """A request whose deadline passed before an engine could take it: refused."""


class QueueFull(ElastiqError):
    """A request refused at the door because too many are waiting already."""


class SessionLost(ElastiqError):
    """A session that was never begun, has ended, was idle for too long, or made room for others."""


class WorkerClosed(ElastiqError):
    """A request that came after its worker's end."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ElastiqError:
    """The error for a name that does not exist, with the nearest that does."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ElastiqError(f"no {kind} is called {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


def missing(package: str, extra: str) -> ElastiqError:
    """The error for an optional package that is not installed, with the command that brings it."""
    return ElastiqError(
        f"{package} is not installed. Install it with: pip install 'elastiq[{extra}]'"
    )
