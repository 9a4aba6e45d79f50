"""Threads side by side: answers in order, errors told, and nobody waited for who is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from compiler.crew import Crew, crew
from compiler.passes.compile import compile
from compiler.passes.trace import trace
from compiler.progress import Progress, silent
from compiler.store import Store
from compiler.terms import Terms
from compiler.workshop import Here
from targets.backends import backend, configured
from tests.conftest import PLUGINS, ROOT, TINY


def test_calls_are_at_work_together_and_answer_in_order():
    met = threading.Barrier(2)

    def call(number):
        met.wait(30)
        return number

    assert list(crew(2).side_by_side([partial(call, 1), partial(call, 2)])) == [1, 2]


def test_after_an_error_no_more_are_begun():
    begun = []
    failed = threading.Event()

    def fail():
        raise KeyError("one")

    def wait():
        failed.wait(30)

    own = Crew(1)
    with pytest.raises(KeyError, match="one"):
        list(own.side_by_side([fail, wait, partial(begun.append, 3)]))
    failed.set()
    assert list(own.side_by_side([lambda: 4])) == [4]
    assert begun == []


MISSED = """
import signal, threading, time
from compiler.crew import Crew

def call():
    time.sleep(1)  # now all others wait
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    time.sleep(300)

list(Crew(1).side_by_side([call]))
"""


def heeding():
    """Who runs these tests in the background ignores what Ctrl-C sends, and so would a child."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_that_does_not_wake_who_waits_is_heeded():
    """As one that comes just before, or to another thread."""
    command, env = [sys.executable, "-c", MISSED], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=60, preexec_fn=heeding
    )
    assert "KeyboardInterrupt" in done.stderr


def met(tiny, store, tmp_path, monkeypatch, measures):
    """Whether two engines were in the making at once."""
    monkeypatch.setattr(backend("elsewhere"), "measures", measures)
    monkeypatch.setattr(Here, "builders", 2)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "weights").symlink_to(store.weights)
    own, progress = Store(tmp_path / "store"), Progress(0, silent=True)
    graphs = trace(tiny, tiny.points, store, silent())
    terms = Terms(configured(("elsewhere.does=dawdle",)))
    atwork, most = set(), []
    produce = own.produce

    def noted(kind, inputs, make, *rest):
        def both(folder):
            atwork.add(folder)
            most.append(len(atwork))
            make(folder)
            atwork.discard(folder)

        return produce(kind, inputs, both, *rest)

    monkeypatch.setattr(own, "produce", noted)
    made = compile(graphs, ("elsewhere",), own, progress, terms)
    assert [engine.graph.point for engine in made.engines] == list(tiny.points)
    return max(most) > 1


@pytest.mark.parametrize("measures", [False, True])
def test_engines_are_built_side_by_side_unless_one_is_measured(
    tiny, store, tmp_path, monkeypatch, measures
):
    assert met(tiny, store, tmp_path, monkeypatch, measures) is not measures


def test_who_is_interrupted_waits_for_no_engine_and_keeps_no_failure(tmp_path):
    command = ["compile", TINY, "--backend", "elsewhere", "--set", "elsewhere.does=hang"]
    build = subprocess.Popen(
        [sys.executable, "-m", "compiler.cli", *command, "--precision", "fp32"],
        env=os.environ | {"ELASTIQ_STORE": str(tmp_path), "PYTHONPATH": f"{ROOT}:{PLUGINS}"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeding,
    )
    while not list(tmp_path.glob("drafts/engine-*")):
        assert build.poll() is None
        time.sleep(0.05)
    build.send_signal(signal.SIGINT)
    _, said = build.communicate(timeout=60)
    assert build.returncode != 0
    assert "run the same command to go on" in said
    assert not list(tmp_path.glob("entries/engine-*"))
