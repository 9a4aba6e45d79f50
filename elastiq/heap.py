"""Memory that loading an engine took and gave back: the C library keeps it, unless it is told."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any


def trim() -> None:
    """Return what is free to the system. Only glibc has to be told."""
    release = _malloc_trim()
    if release is not None:
        release(0)


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
