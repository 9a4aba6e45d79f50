"""A process that has imported what most commands need, and is forked for each of them.

Importing torch and its exporter takes longer than most tests' own work, and would be done two
hundred times. A command's child still has its own memory, environment, folder and exit code.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Words = list[str]
Env = dict[str, str]
LOOK = 0.02  # seconds
AHEAD = (
    "compiler.pipeline",
    "compiler.source",
    "compiler.passes.quantize",
    "onnxruntime",
    "torch.export._trace",
    "torch.onnx._internal.exporter._compat",
)


class Zygote:
    """The one of this process. Commands run one at a time."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        arguments: Words,
        cwd: Path,
        env: Env,
        folder: Path,
        timeout: float,
        until: Callable[[], object] = lambda: False,
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` does, with the output as text, which passes through a folder. What
        takes longer, or runs until something is so, is killed with all that it started."""
        out, err = folder / "stdout", folder / "stderr"
        told = {"arguments": arguments, "cwd": str(cwd), "env": env, "files": [str(out), str(err)]}
        with self._lock:
            pid = self._ask(told)
            ended = threading.Event()
            with ThreadPoolExecutor(1) as pool:
                watch = pool.submit(_watch, pid, ended, timeout, until)
                code = self._ask(None)
                ended.set()
            watch.result()  # nobody believes that it was killed where it was not
            return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, told: object) -> int:
        print(json.dumps(told), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _watch(pid: int, ended: threading.Event, timeout: float, until: Callable[[], object]) -> None:
    end = time.monotonic() + timeout
    while not ended.wait(LOOK):
        if time.monotonic() > end or until():
            os.killpg(pid, signal.SIGKILL)
            break


def serve() -> None:
    from compiler.cli import main

    for module in AHEAD:
        importlib.import_module(module)
    own = {str(Path(__file__).parent), *os.environ["PYTHONPATH"].split(os.pathsep)}
    sys.path[:] = [place for place in sys.path if place not in own]
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            _become(main, **json.loads(line))
        os.setpgid(pid, pid)  # before anybody knows it, and can kill it with all that it starts
        print(pid, flush=True)
        sys.stdin.readline()  # asked for its end
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(main: Callable[[], object], arguments: Words, cwd: str, env: Env, files: Words) -> None:
    """Be the command, to the end."""
    for descriptor, name in enumerate([os.devnull, *files]):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(name, flags), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = [cwd, *env["PYTHONPATH"].split(os.pathsep)]
    sys.argv = ["elastiq", *arguments]
    try:
        main()
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
