"""Child processes of toolchains, started when they are first needed, and kept: imports are slow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection, Pipe
from typing import Any

# The parent's path, and not the current folder: that may hold packages of the user's own.
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from compiler.child import main; \
main(*json.loads(sys.argv[2]))"
LAST_WORDS = 400  # characters of what a child printed before it died


class Died(Exception):
    """A child that did not come back: `kind` is crash, memory or time."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Child:
    """A process in which one toolchain works; a new one after it died."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._talk: Connection | None = None

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
        """What a module's function answers. Raises what it raises, or Died."""
        talk = self._started()
        try:
            talk.send((function, arguments))
            in_time = talk.poll(seconds)
            answer = talk.recv() if in_time else None
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise self._dead() from None
        except BaseException:  # its answer would be taken for that to the next question
            self._end("stopped", "")
            raise
        if not in_time:
            raise self._end("time", f"it took longer than {seconds:g} s, and was ended")
        if isinstance(answer, MemoryError):
            raise self._end("memory", "it ran out of memory")
        if isinstance(answer, RuntimeError):
            raise Died("crash", str(answer))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _started(self) -> Connection:
        if self._talk is None:
            self._talk, theirs = Pipe()
            log = self._log.fileno()
            means = [os.getpid(), self._memory, theirs.fileno(), log]
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, json.dumps(sys.path), json.dumps(means)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), log),
            )
            theirs.close()
        return self._talk

    def _dead(self) -> Died:
        assert self._process is not None
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return self._end("memory", "it was killed, most likely for memory")
        words = self._said()
        if "bad_alloc" in words or "MemoryError" in words:
            return self._end("memory", f"it ran out of memory: {words}")
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return self._end("crash", f"its process ended {how}" + (f": {words}" if words else ""))

    def _end(self, kind: str, words: str) -> Died:
        assert self._process is not None and self._talk is not None
        self._process.kill()
        self._process.wait()
        self._talk.close()
        self._talk = None
        return Died(kind, words)

    def _said(self) -> str:
        self._log.seek(0)
        said = " ".join(self._log.read().decode(errors="replace").split())
        return said[-LAST_WORDS:]


class Children:
    """The processes of one toolchain: one more is started where all are at work."""

    def __init__(self, memory: float) -> None:
        self._memory = memory
        self._idle: list[Child] = []

    def call(self, function: Callable[..., Any], *arguments: Any, seconds: float) -> Any:
        """What `Child.call` answers, from a child of its own."""
        try:
            child = self._idle.pop()
        except IndexError:
            child = Child(self._memory)
        try:
            return child.call(function, *arguments, seconds=seconds)
        finally:
            self._idle.append(child)


@cache
def children(name: str, memory: float = 0.0) -> Children:
    """The children of a toolchain, each allowed so many GiB of memory; 0: as much as there is."""
    return Children(memory)
