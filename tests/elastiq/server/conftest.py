"""A real server in a process of its own, as a user would start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT


@contextmanager
def started(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "compiler.cli", "serve", "--port", "0", "--grpc-port", "0", "--json",
         *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told = json.loads(line)
        yield SimpleNamespace(
            process=process,
            http=f"127.0.0.1:{told['http']}",
            grpc=f"127.0.0.1:{told['grpc']}",
            models=told["models"],
        )
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def start():
    return started


@pytest.fixture(scope="module")
def server(tiny_bundle):
    with started(f"tiny={tiny_bundle}") as running:
        yield running
