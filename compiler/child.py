"""The child process that a toolchain works in: it may crash, and takes nothing with it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from elastiq.errors import ElastiqError

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
DIES_FIRST = "500"  # of 1000, where the kernel is out of memory
GIB = 2**30


def main(parent: int, memory: float, talk: int, log: int) -> None:
    """Do what is asked for, until nobody asks any more."""
    _live_and_die(parent, memory)
    for stream in (1, 2):
        os.dup2(log, stream)
    asked = Connection(talk)
    with contextlib.suppress(EOFError):
        while True:
            function, arguments = asked.recv()
            os.ftruncate(log, 0)
            os.lseek(log, 0, os.SEEK_SET)
            asked.send(_attempt(function, arguments))


def _attempt(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    """What it answers, or the exception that it raises."""
    try:
        return function(*arguments)
    except (ElastiqError, OSError, MemoryError) as e:
        return type(e)(*e.args)  # without the frames and causes, which may not travel
    except Exception as e:  # a bug of the backend or its toolchain: not ours to fall over
        traceback.print_exc()
        sys.stderr.flush()
        return RuntimeError(f"{type(e).__name__}: {e}")


def _live_and_die(parent: int, memory: float) -> None:
    """Not outlive the build, not be stopped before it, and be the one that runs out of memory."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(DIES_FIRST)
    if os.getppid() != parent:
        sys.exit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if memory:
        limit = int(memory * GIB)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
