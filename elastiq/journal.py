"""Notes in a file, a line of JSON each: what a killed process noted is there when it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any


class Journal:
    """`notes` are those of before; `note` adds one, which outlives this process from then on.

    A line that a process was killed in the midst of is dropped, and so is all behind a damage.
    """

    def __init__(self, path: Path) -> None:
        whole, self.notes = _whole(path.read_bytes()) if path.exists() else (0, [])
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def note(self, note: Any) -> None:
        self._file.write(json.dumps(note).encode() + b"\n")
        self.notes.append(note)


def _whole(data: bytes) -> tuple[int, list[Any]]:
    """How many bytes are whole notes, and these."""
    size, notes = 0, []
    for line in data.splitlines(keepends=True):
        try:
            note = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        notes.append(note)
        size += len(line)
    return size, notes
