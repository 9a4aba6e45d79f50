"""What this device made for itself and can make again: files kept whole, or not at all."""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from elastiq import digest

log = logging.getLogger(__name__)
DRAFT = "draft-"  # begins the name of a folder that somebody still writes
SEAL = 32  # bytes of SHA-256 behind the content
LIMIT = 4 << 30  # bytes, beyond which what was not used for longest goes
SHARE = 0.25  # of the disk's free space that one more thing may take
DAY = 86400.0
LEFT_BEHIND = 3600.0  # seconds, after which nobody writes to a draft any more


def folder() -> Path:
    """$ELASTIQ_CACHE, else under the user's cache folder."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("ELASTIQ_CACHE", caches / "elastiq-device"))


def has_room(size: int) -> bool:
    """Whether that many bytes can be kept, for longer than until the next ones come."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(folder()).free
        return os.access(folder(), os.W_OK) and size < min(LIMIT / 2, SHARE * free)
    except OSError:
        return False


def keep(name: str, content: bytes) -> None:
    """Keep a file. Where that fails, the next process makes it again."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed = content + bytes.fromhex(digest.of_bytes(content))
        digest.write_atomically(folder() / name, sealed)
    except OSError as e:
        log.warning("%s cannot be cached: %s", name, e)


def draft() -> tempfile.TemporaryDirectory[str]:
    """A folder to write into, on the same disk."""
    return tempfile.TemporaryDirectory(prefix=DRAFT, dir=folder())


def find(name: str) -> np.ndarray | None:
    """A kept file, mapped into memory; None if there is none, or a damaged one."""
    try:
        with (folder() / name).open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
    content = np.frombuffer(mapped, np.uint8)
    body, seal = content[:-SEAL], content[-SEAL:].tobytes().hex()
    if digest.of_bytes(body.data) != seal:
        log.warning("%s is damaged; it is made again", folder() / name)
        return None
    touch(name)
    return body


def let_go(content: np.ndarray) -> None:
    """Give back the memory that a kept file's content takes; what is looked at again is read again.

    Only for who has not changed it.
    """
    file: Any = content.base  # with its seal
    if hasattr(mmap, "MADV_DONTNEED"):
        file.base.obj.madvise(mmap.MADV_DONTNEED)


def let_reread(name: str) -> None:
    """Have a file that was just written read from the disk by whoever maps it next: then it lies in
    large pieces of memory, which a CPU finds sooner than the small ones it was written to. A tenth
    of the first run of an engine that was not used for a while."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError), (folder() / name).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touch(name: str) -> None:
    """Note, to the day, that a file is in use. A folder that is read-only needs no such notes."""
    path = folder() / name
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > DAY:
            os.utime(path)


def drop(name: str) -> None:
    """Forget a file that turned out to be of no use."""
    with contextlib.suppress(OSError):
        (folder() / name).unlink()


def trim(limit: int = LIMIT) -> None:
    """Remove what was not used for longest, until the rest is within the limit.

    Whoever has a file mapped keeps it; whoever looks for it later makes it again.
    """
    files = []
    for path in folder().iterdir():
        with contextlib.suppress(OSError):  # another process may be trimming, too
            status = path.stat()
            if path.name.startswith(DRAFT):
                if time.time() - status.st_mtime > LEFT_BEHIND:
                    shutil.rmtree(path)
            elif path.is_file():
                files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= limit:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
