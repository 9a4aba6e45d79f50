"""The content-addressed store: what was made once is found again, whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elastiq import digest

RECORD = "entry.json"


class Store:
    """Entries are folders named by the digest of all they were made from; weights by their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.weights = root / "weights"
        for folder in (self.weights, self._entries, self._drafts, self._locks):
            folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def default(cls) -> Store:
        """The user's own store: $ELASTIQ_STORE, else under their cache folder."""
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        return cls(Path(os.environ.get("ELASTIQ_STORE", cache / "elastiq")))

    def produce(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], None],
        again: Callable[[Path], bool] = lambda entry: False,
        resumes: bool = False,
    ) -> tuple[Path, bool]:
        """The entry made from `inputs`, and whether it was there already.

        `make` fills an empty folder, or if it `resumes` one in which it was killed before; only
        when it returns does the folder become the entry. An entry of which `again` holds is made
        again.
        """
        key = _key(kind, inputs)
        entry = self._entries / key
        with self._locked(key):
            if self._intact(entry) and not again(entry):
                return entry, True
            draft = self._draft(key, keep=resumes)
            start = time.monotonic()
            make(draft)
            self._seal(draft, dict(inputs), time.monotonic() - start)
            shutil.rmtree(entry, ignore_errors=True)
            draft.rename(entry)
            digest.sync(self._entries)
        return entry, False

    def has(
        self,
        kind: str,
        inputs: Mapping[str, Any],
        again: Callable[[Path], bool] = lambda entry: False,
    ) -> bool:
        """Whether `produce` would find what it is asked for."""
        entry = self._entries / _key(kind, inputs)
        return self._intact(entry) and not again(entry)

    @property
    def _entries(self) -> Path:
        return self.root / "entries"

    @property
    def _drafts(self) -> Path:
        return self.root / "drafts"

    @property
    def _locks(self) -> Path:
        return self.root / "locks"

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Two builds never make the same entry twice at once; the lock dies with its process."""
        with (self._locks / key).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _draft(self, key: str, keep: bool) -> Path:
        draft = self._drafts / key
        if not keep:
            shutil.rmtree(draft, ignore_errors=True)  # what a killed build left of it
        draft.mkdir(exist_ok=keep)
        return draft

    def _seal(self, draft: Path, inputs: dict[str, Any], seconds: float) -> None:
        files = {}
        for path in sorted(draft.rglob("*")):
            if path.is_file():
                files[path.relative_to(draft).as_posix()] = digest.of_file(path)
        record = {"inputs": inputs, "seconds": round(seconds, 3), "files": files}
        digest.write_atomically(draft / RECORD, json.dumps(record, indent=1).encode())
        digest.sync_tree(draft)

    def _intact(self, entry: Path) -> bool:
        """Whether an entry is there with every byte it was sealed with, weights included."""
        try:
            files = json.loads((entry / RECORD).read_bytes())["files"]
            if any(digest.of_file(entry / name) != sha for name, sha in files.items()):
                return False
            return all((self.weights / name).exists() for name in weights_of(entry))
        except (OSError, ValueError, KeyError):
            return False


def _key(kind: str, inputs: Mapping[str, Any]) -> str:
    return f"{kind}-{digest.of_value([kind, dict(inputs)])}"


def weights_of(entry: Path) -> tuple[str, ...]:
    """The weight files that an entry refers to, which it lists in `weights.json`."""
    path = entry / "weights.json"
    return tuple(json.loads(path.read_text())) if path.exists() else ()
