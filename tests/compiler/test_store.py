"""The store: whole entries or none, made once, redone when anything they came from changes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from compiler.store import Store


def write(text):
    return lambda folder: (folder / "made").write_text(text) and None


def forbidden(folder):
    raise AssertionError("made again")


@pytest.fixture
def own(tmp_path):
    return Store(tmp_path)


def test_the_same_inputs_are_made_once(own):
    entry, cached = own.produce("kind", {"a": 1}, write("x"))
    assert not cached
    assert own.produce("kind", {"a": 1}, forbidden) == (entry, True)
    assert (entry / "made").read_text() == "x"


def test_other_inputs_or_another_kind_make_another_entry(own):
    entries = {
        own.produce(kind, inputs, write("x"))[0]
        for kind in ("one", "two")
        for inputs in ({"a": 1}, {"a": 2}, {"a": 1, "b": None})
    }
    assert len(entries) == 6


def test_a_failure_is_never_served(own):
    def fails(folder):
        (folder / "made").write_text("half")
        raise RuntimeError("power")

    with pytest.raises(RuntimeError):
        own.produce("kind", {}, fails)
    entry, cached = own.produce("kind", {}, write("whole"))
    assert not cached
    assert (entry / "made").read_text() == "whole"


@pytest.mark.parametrize("damage", ["alter", "truncate", "remove", "record"])
def test_a_damaged_entry_is_made_again(own, damage):
    entry, _ = own.produce("kind", {}, write("whole"))
    if damage == "alter":
        (entry / "made").write_text("whale")
    elif damage == "truncate":
        (entry / "made").write_text("")
    elif damage == "remove":
        (entry / "made").unlink()
    else:
        (entry / "entry.json").write_text("{")
    entry, cached = own.produce("kind", {}, write("whole"))
    assert not cached
    assert (entry / "made").read_text() == "whole"


def test_an_entry_whose_weights_are_gone_is_made_again(own):
    def make(folder):
        (own.weights / "abc").write_text("w")
        (folder / "weights.json").write_text('["abc"]')

    own.produce("kind", {}, make)
    assert own.produce("kind", {}, forbidden)[1]
    (own.weights / "abc").unlink()
    assert not own.produce("kind", {}, make)[1]


def _slowly(root, started):
    def make(folder):
        (folder / "made").write_text("half")
        started.set()
        time.sleep(60)

    Store(root).produce("kind", {}, make)


def test_a_killed_build_leaves_nothing_that_a_later_one_trips_over(own):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    child = context.Process(target=_slowly, args=(own.root, started))
    child.start()
    assert started.wait(30)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    entry, cached = own.produce("kind", {}, write("whole"))
    assert not cached
    assert (entry / "made").read_text() == "whole"


def _count(root, log):
    def make(folder):
        with log.open("a") as file:
            file.write("made\n")
        time.sleep(0.2)

    Store(root).produce("kind", {}, make)


def test_two_builds_at_once_make_an_entry_once(own, tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_count, args=(own.root, log)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert log.read_text() == "made\n"


def test_who_resumes_finds_what_a_killed_make_left(own):
    def killed(folder):
        (folder / "notes").write_text("half")
        raise KeyboardInterrupt

    def rest(folder):
        (folder / "made").write_text((folder / "notes").read_text() + ", and the rest")

    with pytest.raises(KeyboardInterrupt):
        own.produce("kind", {}, killed, resumes=True)
    entry, cached = own.produce("kind", {}, rest, resumes=True)
    assert not cached
    assert (entry / "made").read_text() == "half, and the rest"
    assert own.produce("kind", {}, forbidden, resumes=True) == (entry, True)
