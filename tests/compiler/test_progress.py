"""What people see of a build: a bar that moves on a terminal, lines of what was done elsewhere."""

import io
import re
import time
from types import SimpleNamespace

import pytest

from compiler import progress
from compiler.passes.profile import Level, profile
from compiler.progress import Progress
from compiler.store import Store
from elastiq.records import TensorSpec


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Where progress is shown; `sys.stderr` itself is pytest's, and it takes it back."""
    shown = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=shown))
    return shown


def shares(text):
    """How full the bar was, each time it was drawn, and what it said."""
    return [
        (int(a), b) for a, b in re.findall(r"(\d+)%(?:  [\d:]+)?  ([^\r\x1b]*?) *(?=\r|$)", text)
    ]


def test_the_bar_moves_within_a_long_task(terminal):
    with Progress(8) as shown:
        with shown.task("short"):
            pass
        with shown.task("long", 6) as task:
            task.advance(0.34)
            task.advance(0.35)
            task.advance(0.5)
        with shown.task("last"):
            pass
    assert shares(terminal.getvalue()) == [
        (0, "short"),
        (12, "short"),
        (12, "long"),
        (37, "long: 34%"),
        (37, "long: 35%"),
        (50, "long: 50%"),
        (87, "long"),
        (87, "last"),
    ]


class Sleeper:
    """An engine whose runs take a millisecond."""

    inputs: tuple[TensorSpec, ...] = ()

    def __init__(self, name):
        self.key = self.identity = name

    def load(self, threads):
        return self

    def __call__(self, inputs):
        time.sleep(0.001)

    def close(self):
        pass


def test_to_profile_moves_the_bar_while_it_runs(terminal, tmp_path):
    engines = [Sleeper("a"), Sleeper("b")]
    with Progress(5) as shown:
        profile(engines, [Level(0.0), Level(0.2)], 1.5, 1, Store(tmp_path), shown)
    drawn = shares(terminal.getvalue())
    told = [int(text.rpartition(": ")[2].rstrip("%")) for _, text in drawn if ": " in text]
    assert len(told) >= 2
    assert told == sorted(told)
    assert [full for full, _ in drawn] == sorted(full for full, _ in drawn)


def test_elsewhere_there_is_a_line_of_each_task(capsys):
    with Progress(3) as shown:
        with shown.task("made", 2) as task:
            task.advance(0.5)
        with shown.task("kept") as task:
            task.cached = True
            task.note = "but old"
    made, kept = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"  made: \d+\.\d s", made)
    assert kept == "  kept: found (but old)"
