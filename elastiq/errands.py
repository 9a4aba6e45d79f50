"""Work for later: commands that run one after another in child processes, out of everyone's way."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from queue import Queue

log = logging.getLogger(__name__)

Errand = Callable[[], Sequence[str] | None]
PAUSE = 2.0  # seconds before the first one, so that first answers are not delayed
NICE = 19


class Errands:
    """Runs Python modules. What is not done when the process ends is left undone."""

    def __init__(self, pause: float = PAUSE) -> None:
        self._pause = pause
        self._waiting: Queue[tuple[Errand, Callable[[], None]]] = Queue()
        self._hurry = threading.Event()
        self._stopped = False
        self._awaited = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def send(self, errand: Errand, then: Callable[[], None]) -> None:
        """Ask for an errand when its turn has come, run `python -m` with it unless there is none
        any more, and after its success call `then` in a thread."""
        self._waiting.put((errand, then))
        with self._lock:
            if self._thread is None:
                run = threading.Thread(target=self._run, name="elastiq-errands", daemon=True)
                self._thread = run
                run.start()

    def settle(self) -> None:
        """Wait until all is done that was sent. What is waited for need not be out of the way."""
        with self._lock:
            self._awaited += 1
        self._hurry.set()
        try:
            self._waiting.join()
        finally:
            with self._lock:
                self._awaited -= 1

    def stop(self) -> None:
        """End, and wait for the end: no thread may be inside a runtime while the process exits."""
        self._stopped = True
        self._hurry.set()
        self._waiting.put((lambda: None, lambda: None))
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        self._hurry.wait(self._pause)
        while not self._stopped:
            errand, then = self._waiting.get()
            name = "an errand"
            try:
                if not self._stopped and (arguments := errand()) is not None:
                    name = arguments[0]
                    if self._succeeds(arguments):
                        then()
            except OSError as e:  # no memory for a process, or an interpreter that starts none
                log.warning("%s could not be started: %s", name, e)
            except Exception:  # nobody waits for it, and it was only to make things better
                log.warning("%s failed", name, exc_info=True)
            finally:
                self._waiting.task_done()

    def _succeeds(self, arguments: Sequence[str]) -> bool:
        path = os.pathsep.join(part for part in sys.path if part)
        with subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as child:
            if not self._awaited:
                os.setpriority(os.PRIO_PROCESS, child.pid, NICE)
            while not self._stopped:
                try:
                    _, errors = child.communicate(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
                if child.returncode:
                    log.warning("%s failed: %s", arguments[0], errors.decode(errors="replace"))
                return child.returncode == 0
            child.kill()
            return False


@lru_cache(maxsize=1)
def errands() -> Errands:
    """Those of this process."""
    ours = Errands()
    atexit.register(ours.stop)
    return ours
