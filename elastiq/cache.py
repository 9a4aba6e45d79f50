"""What this device made for itself and can make again: files kept whole, or not at all."""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path

import numpy as np

from elastiq import digest

log = logging.getLogger(__name__)
SEAL = 32  # bytes of SHA-256 behind the content


def folder() -> Path:
    """$ELASTIQ_CACHE, else under the user's cache folder."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("ELASTIQ_CACHE", caches / "elastiq-device"))


def keep(name: str, content: bytes) -> None:
    """Keep a file. Where that fails, the next process makes it again."""
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed = content + bytes.fromhex(digest.of_bytes(content))
        digest.write_atomically(folder() / name, sealed)
    except OSError as e:
        log.warning("%s cannot be cached: %s", name, e)


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
    return body
