"""Takes a share of the CPU from everybody else: to measure under load, and to test under load.

This file is also the program of its child processes, which is why it imports nothing of Elastiq
before it has to.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType

PERIOD = 0.02
STREAMED = 64 << 20  # bytes that each process goes through: more than its share of any cache
PIECE = 1 << 20


class Burner:
    """Keeps every core busy for `load` (0…1) of the time, from `with` to its end.

    One process a core, each working for that share of each period: at 0.5 on two cores, both are
    half busy. With `streams`, they spend it on copying memory that no cache holds, which takes
    bandwidth from all cores besides. The kernel may move processes between cores. They end with
    this process, however it ends. `set` changes the load within a period.
    """

    def __init__(self, load: float, streams: bool = False) -> None:
        self.load = _checked(load)
        self._work = STREAM if streams else SPIN
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Burner:
        for _ in range(cores() if self.load else 0):
            told = [str(self.load), str(os.getpid()), self._work]
            command = [sys.executable, "-I", "-S", __file__, *told]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._children.append(child)
        for child in self._children:
            if child.stdout is not None:
                child.stdout.read(1)  # it burns from now on
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        self._children.clear()

    def set(self, load: float) -> None:
        """Take another share from now on. Who began with none stays at none."""
        self.load = _checked(load)
        for child in self._children:
            if child.stdin is not None:
                child.stdin.write(f"{load}\n".encode())
                child.stdin.flush()

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]


def _checked(load: float) -> float:
    if not 0.0 <= load <= 1.0:
        from elastiq.errors import ElastiqError

        raise ElastiqError(f"a background load is between 0 and 1, not {load:g}")
    return load


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _spinning() -> Callable[[], object]:
    return lambda: None


def _streaming() -> Callable[[], object]:
    """Copies a piece at each call, from one half of the memory to the other."""
    memory = memoryview(bytearray(b"m") * STREAMED)
    half = STREAMED // 2
    places = itertools.cycle(range(0, half, PIECE))

    def copy() -> None:
        at = next(places)
        memory[half + at : half + at + PIECE] = memory[at : at + PIECE]

    return copy


SPIN, STREAM = "spin", "stream"
WORK = {SPIN: _spinning, STREAM: _streaming}


def burn(load: float, parent: int, work: Callable[[], object]) -> None:
    """Take `load` of one core's time until the parent process is gone, or says another share."""
    os.set_blocking(sys.stdin.fileno(), False)
    began, owed = time.monotonic(), 0.0
    while os.getppid() == parent:
        told = sys.stdin.buffer.read()
        if told:
            load, owed = float(told.split()[-1]), 0.0
        # Uneven periods: the kernel counts busy ticks, and would see even ones all or not at all.
        period = PERIOD * random.uniform(0.5, 1.5)
        # What others kept us from taking is made up for, but never more than one period of it.
        owed = min(owed, PERIOD) + load * period
        taken = time.process_time()
        while time.process_time() - taken < owed and time.monotonic() - began < period:
            work()
        owed -= time.process_time() - taken
        time.sleep(max(0.0, began + period - time.monotonic()))
        began = max(began + period, time.monotonic() - PERIOD)


if __name__ == "__main__":
    steps = WORK[sys.argv[3]]()
    sys.stdout.write("b")
    sys.stdout.flush()
    burn(float(sys.argv[1]), int(sys.argv[2]), steps)
