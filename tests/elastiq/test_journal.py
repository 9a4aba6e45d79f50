"""Notes outlive whoever wrote them, and a torn line is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from elastiq.journal import Journal
from tests.conftest import ROOT

NOTES = [{"a": 1}, {"b": [0.5, None]}, {"c": "ä"}]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "notes.jsonl"
    with Journal(path) as journal:
        for note in NOTES:
            journal.note(note)
    return path


def test_what_was_noted_is_there_again_and_more_can_be(path):
    with Journal(path) as journal:
        assert journal.notes == NOTES
        journal.note({"d": 4})
    with Journal(path) as journal:
        assert journal.notes == [*NOTES, {"d": 4}]


def test_wherever_it_is_cut_the_whole_notes_before_are_left(path):
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        with Journal(path) as journal:
            assert journal.notes == NOTES[: data[:size].count(b"\n")]
            journal.note({"after": size})
        with Journal(path) as journal:
            assert journal.notes[-1] == {"after": size}


def test_what_stands_behind_a_damage_is_dropped(path):
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:3] + b"\0\n" + third)
    with Journal(path) as journal:
        assert journal.notes == NOTES[:1]
    assert path.read_bytes() == first


def test_a_killed_process_loses_no_note(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from elastiq.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for number in range(10**9):\n"
        "    journal.note(number)\n"
        "    print(number, flush=True)\n"
    )
    path = tmp_path / "notes.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        said = [int(process.stdout.readline()) for _ in range(100)]
        os.kill(process.pid, signal.SIGKILL)
    with Journal(path) as journal:
        assert journal.notes[:100] == said
        assert journal.notes == list(range(len(journal.notes)))
