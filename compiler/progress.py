"""What a build is doing, for people: one bar with the time that is left, on a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click


@dataclass
class Task:
    """One step of a build. Who runs it says whether it was found in the store."""

    label: str
    size: int = 1  # in steps of the bar
    cached: bool = False
    seconds: float = 0.0
    note: str = ""  # what went wrong, without ending the build
    done: int = 0  # of the steps
    show: Callable[[Task, int, str], None] | None = field(default=None, repr=False)

    def advance(self, share: float) -> None:
        """Say how much of it is done."""
        if self.show:
            self.show(self, int(share * self.size), f"{self.label}: {share:.0%}")


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
    def task(self, label: str, size: int = 1) -> Iterator[Task]:
        task = Task(label, size, show=self._show)
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
            self._move(task, task.size, task.label)
        elif not self._silent:
            found = "found" if task.cached else f"{task.seconds:.1f} s"
            note = f" ({task.note})" if task.note else ""
            print(f"  {task.label}: {found}{note}", file=sys.stderr, flush=True)

    def _show(self, task: Task, done: int, label: str) -> None:
        if self._bar:
            with self._lock:
                self._move(task, done, label)

    def _move(self, task: Task, done: int, label: str) -> None:
        steps, task.done = done - task.done, done
        self._bar.current_item = label
        if steps:
            self._bar.update(steps)
        else:
            self._bar.render_progress()


def silent() -> Progress:
    """A progress that shows nothing."""
    return Progress(0, silent=True)
