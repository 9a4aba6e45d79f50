"""What a build is doing, for people: one bar with the time that is left, on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click


@dataclass
class Task:
    """One step of a build. Who runs it says whether it was found in the store."""

    label: str
    cached: bool = False
    seconds: float = 0.0
    note: str = ""  # what went wrong, without ending the build


class Progress:
    """Counts tasks against a total. On a terminal it draws a bar; elsewhere a line per task."""

    def __init__(self, total: int, silent: bool = False) -> None:
        self.tasks: list[Task] = []
        self._silent = silent
        self._lock = threading.Lock()  # tasks may run side by side
        self._bar: Any = None
        if not silent and sys.stderr.isatty():
            self._bar = click.progressbar(
                length=total, file=sys.stderr, show_eta=True, item_show_func=lambda label: label
            )

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.__exit__(None, None, None)

    @contextmanager
    def task(self, label: str) -> Iterator[Task]:
        task = Task(label)
        if self._bar:
            with self._lock:
                self._bar.current_item = label
                self._bar.render_progress()
        start = time.monotonic()
        yield task
        task.seconds = time.monotonic() - start
        with self._lock:
            self._tell(task)

    def _tell(self, task: Task) -> None:
        self.tasks.append(task)
        if self._bar:
            self._bar.update(1, task.label)
        elif not self._silent:
            found = "found" if task.cached else f"{task.seconds:.1f} s"
            note = f" ({task.note})" if task.note else ""
            print(f"  {task.label}: {found}{note}", file=sys.stderr, flush=True)


def silent() -> Progress:
    """A progress that shows nothing."""
    return Progress(0, silent=True)
