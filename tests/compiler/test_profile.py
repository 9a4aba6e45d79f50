"""Profiling: killed at any moment, it loses no window that it measured, and engines keep turns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compiler.passes.profile import JOURNAL, Level, levels
from elastiq.latency import CPU, MEMORY
from tests.conftest import ROOT, TINY

SECONDS = 1.0  # a level takes four of them
WINDOWS = 30  # that are waited for before it is killed


def test_levels_are_in_order_and_streaming_for_no_time_is_to_be_idle():
    found = levels((1.0, 0.0, 0.5), (1.0, 0.0))
    assert found == (Level(0.0), Level(0.5), Level(1.0), Level(1.0, MEMORY))
    assert [str(level) for level in found[1::2]] == ["50% load", "100% memory load"]
    assert {level.pressure for level in levels((0.0,), (0.0,))} == {CPU}


def windows(journal: Path) -> list[dict]:
    notes = [json.loads(line) for line in journal.read_text().splitlines()]
    return [note["window"] for note in notes if "window" in note]


@pytest.fixture(scope="module")
def killed_and_ended(tmp_path_factory):
    """What was noted when it was killed in the midst of a level, and what when it had ended."""
    store = tmp_path_factory.mktemp("profile") / "store"
    command = [sys.executable, "-m", "compiler.cli", "profile", TINY, "--backend", "onnxruntime",
               "--accuracy-drop", "100", "--keep", "all", "--loads", "0", "--memory-loads", "0.2",
               "--profile-seconds", str(SECONDS), "--json"]  # fmt: skip
    environment = {**os.environ, "ELASTIQ_STORE": str(store), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        end = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < end:
            (*_, journal) = [Path(), *store.glob(f"drafts/profile-*/{JOURNAL}")]
            if journal.is_file() and journal.read_bytes().count(b"\n") >= WINDOWS:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = windows(journal)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (entry,) = [
        path for path in store.glob(f"entries/profile-*/{JOURNAL}") if windows(path)[0] == before[0]
    ]
    return before, windows(entry), json.loads(done.stdout)["table"]


def test_a_kill_loses_no_window(killed_and_ended):
    before, after, table = killed_and_ended
    assert len(before) >= WINDOWS - 2
    assert after[: len(before)] == before
    idle = {row["engine"]: row["latency"] for row in table["rows"] if row["pressure"] == CPU}
    for engine, latency in idle.items():
        runs = [w["times"] for w in after if w["engine"] == engine and not w["first"]]
        assert latency["samples"] == sum(map(len, runs))
        first = next(w for w in before if w["engine"] == engine and w["first"])
        assert latency["first_run"] == first["times"][0]


def test_engines_take_turns_across_it(killed_and_ended):
    _, after, _ = killed_and_ended
    turns = [w["engine"] for w in after if not w["first"]]
    engines = sorted(set(turns))
    rounds = min(turns.count(engine) for engine in engines)
    for at in range(0, rounds * len(engines), len(engines)):
        assert sorted(turns[at : at + len(engines)]) == engines


def test_both_pressures_have_rows_and_no_energy_is_invented(killed_and_ended):
    _, _, table = killed_and_ended
    assert {row["pressure"] for row in table["rows"]} == {CPU, MEMORY}
    if table["circumstances"]["energy"] == "no counter":
        assert {row["energy"] for row in table["rows"]} == {None}
    assert {row["energy"] for row in table["rows"] if row["pressure"] == MEMORY} == {None}
