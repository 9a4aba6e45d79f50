"""Sleeps that end when they should."""

import ctypes
import sys
import threading
import time
from statistics import median

import pytest

from elastiq import timers


def late(count=30):
    """How much longer sleeps of a millisecond last, half of the time."""
    found = []
    for _ in range(count):
        due = time.perf_counter() + 0.001
        time.sleep(0.001)
        found.append(time.perf_counter() - due)
    return median(found)


def slack():
    return ctypes.CDLL(None).prctl(timers.GET_SLACK, 0, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets sleeps last longer")
def test_they_are_exact_in_this_thread_and_for_as_long_as_it_is_wanted():
    before, others = slack(), []
    other, done = (
        threading.Thread(target=lambda: (done.wait(), others.append(slack()))),
        threading.Event(),
    )
    other.start()
    with pytest.raises(ValueError), timers.exact():
        assert slack() == timers.LEAST
        done.set()
        other.join()
        raise ValueError
    assert slack() == before and others == [before]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets sleeps last longer")
def test_sleeps_last_less_too_long():
    sloppy, exact = [], []
    for _ in range(5):
        sloppy.append(late())
        with timers.exact():
            exact.append(late())
    assert median(exact) < median(sloppy)


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    with timers.exact():
        time.sleep(0.0)
