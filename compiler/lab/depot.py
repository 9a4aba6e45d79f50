"""The depot: files on their way from one store to another, by digest, where the scheduler runs.

So that what a worker made is not lost with it, and what many workers need is sent here once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from compiler.lab.labels import label_of
from compiler.lab.parcels import CHUNK
from elastiq import digest

DRAFT = ".part"


class Depot(SchedulerPlugin):
    """Keeps files, and tells how far the tasks are."""

    name = "elastiq-depot"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: Counter[str] = Counter()
        self._scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        scheduler.handlers |= {
            "elastiq_lacks": self.lacks,
            "elastiq_put": self.put,
            "elastiq_get": self.get,
            "elastiq_view": self.view,
        }

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if start == "processing" and finish == "memory":
            self._done[label_of(key).split()[0]] += 1

    async def lacks(self, names: list[str]) -> list[str]:
        """Those of the files that are not here."""
        return [name for name in names if not self._file(name).exists()]

    async def put(self, name: str, draft: str, data: bytes, last: bool) -> str:
        """Take one more part of a file, which is here when its bytes are those of its name."""
        path = self._file(draft or uuid.uuid4().hex).with_suffix(DRAFT)
        with path.open("ab") as file:
            file.write(data)
        if last:
            if await asyncio.to_thread(digest.of_file, path) != name:
                path.unlink()
                raise ValueError(f"{name} arrived damaged")
            path.replace(self._file(name))
        return path.stem

    async def get(self, name: str, offset: int) -> bytes | None:
        """The next part of a file; None if it is not here."""
        try:
            with self._file(name).open("rb") as file:
                file.seek(offset)
                return file.read(CHUNK)
        except FileNotFoundError:
            return None

    def _file(self, name: str) -> Path:
        """Names are digests: nothing else is read or written."""
        if not name.isalnum():
            raise ValueError(f"{name!r} is not the name of a file here")
        return self._folder / name

    async def view(self) -> dict[str, Any]:
        """Who does what, what waits, and how many tasks of each kind were done."""
        assert self._scheduler is not None
        waits = {"queued", "no-worker", "waiting"}
        waiting = [label_of(t.key) for t in self._scheduler.tasks.values() if t.state in waits]
        workers = []
        for worker in self._scheduler.workers.values():
            tasks = sorted(worker.processing, key=lambda task: task.priority or ())
            doing, *behind = [label_of(task.key) for task in tasks] or [""]
            waiting += behind
            workers.append(
                {
                    "name": str(worker.name),
                    "address": worker.address,
                    "resources": dict(worker.resources),
                    "doing": doing,
                }
            )
        return {"workers": workers, "waiting": sorted(waiting), "done": dict(self._done)}
