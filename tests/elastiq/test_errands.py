"""Work for later keeps out of everyone's way, unless somebody waits for it."""

import os
import threading

import pytest

from elastiq.errands import NICE, Errands

TELL = """
import os, sys, time
wanted, end = int(sys.argv[2]), time.monotonic() + 10
while os.nice(0) != wanted and time.monotonic() < end:
    time.sleep(0.01)  # who started it has to say so first
open(sys.argv[1], "w").write(str(os.nice(0)))
"""


@pytest.fixture
def tell(tmp_path, monkeypatch):
    """An errand that writes down how nice it is."""
    (tmp_path / "tell_niceness.py").write_text(TELL)
    monkeypatch.syspath_prepend(tmp_path)
    told = tmp_path / "told"
    return lambda wanted: ["tell_niceness", str(told), str(wanted)], lambda: int(told.read_text())


def test_it_is_nice_while_nobody_waits(tell):
    errand, told = tell
    errands, done = Errands(pause=0.0), threading.Event()
    errands.send(lambda: errand(NICE), done.set)
    assert done.wait(30)
    errands.stop()
    assert told() == NICE


def test_what_somebody_waits_for_is_not_held_back(tell):
    errand, told = tell
    errands = Errands(pause=60.0)
    errands.send(lambda: errand(os.nice(0)), lambda: None)
    errands.settle()
    errands.stop()
    assert told() == os.nice(0)
