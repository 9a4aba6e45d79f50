"""Sleeps that end when they should."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SET_SLACK, GET_SLACK = 29, 30  # of Linux's prctl
LEAST = 1  # nanoseconds


@contextmanager
def exact() -> Iterator[None]:
    """Those of this thread: else Linux lets each last for up to 50 us longer, so that a core must
    not wake as often."""
    if sys.platform != "linux":
        yield
        return
    control = ctypes.CDLL(None).prctl
    before = control(GET_SLACK, 0, 0, 0, 0)
    control(SET_SLACK, LEAST, 0, 0, 0)
    try:
        yield
    finally:
        control(SET_SLACK, before, 0, 0, 0)
