"""Profiling: killed at any moment, it loses no window that it measured, and engines keep turns."""

from __future__ import annotations

import itertools
import json
import signal
from functools import partial
from pathlib import Path

import pytest

from compiler.passes.profile import JOURNAL, Level, levels
from elastiq.latency import CPU, MEMORY
from tests.conftest import TINY

SECONDS = 1.0  # at most, an engine at a level
WINDOWS = 60  # that are waited for before it is killed
LEVELS = (CPU, MEMORY)  # those beside others, which are measured together


def test_levels_are_in_order_and_streaming_for_no_time_is_to_be_idle():
    found = levels((1.0, 0.0, 0.5), (1.0, 0.0))
    assert found == (Level(0.0), Level(0.5), Level(1.0), Level(1.0, MEMORY))
    assert [str(level) for level in found[1::2]] == ["50% load", "100% memory load"]
    assert {level.pressure for level in levels((0.0,), (0.0,))} == {CPU}


def windows(journal: Path) -> list[tuple[int, dict]]:
    """All that were noted, and of which level."""
    notes = [json.loads(line) for line in journal.read_text().splitlines()]
    return [(note["level"], note["window"]) for note in notes if "window" in note]


@pytest.fixture(scope="module")
def killed_and_ended(elastiq, tmp_path_factory):
    """What was noted when it was killed in the midst of its turns, and what when it had ended."""
    store = tmp_path_factory.mktemp("profile") / "store"
    profile = partial(
        elastiq, "profile", TINY, "--backend", "onnxruntime", "--accuracy-drop", 100,
        "--keep", "all", "--loads", "0,0.3", "--memory-loads", 1, "--profile-seconds", SECONDS,
        "--json", ELASTIQ_STORE=str(store),
    )  # fmt: skip

    def journals():
        return [*store.glob(f"drafts/profile-*/{JOURNAL}")]

    def midst():
        data = b"".join(path.read_bytes() for path in journals())
        return b'"level": 1' in data and data.count(b"\n") >= WINDOWS

    assert profile(until=midst).returncode == -signal.SIGKILL
    (journal,) = journals()
    before = windows(journal)
    done = profile(check=0)
    (entry,) = [
        path for path in store.glob(f"entries/profile-*/{JOURNAL}") if windows(path)[0] == before[0]
    ]
    return before, windows(entry), json.loads(done.stdout)["table"]


def test_a_kill_loses_no_window(killed_and_ended):
    before, after, table = killed_and_ended
    assert len(before) >= 3 * WINDOWS // 4  # the others are looks at the device
    assert after[: len(before)] == before
    each = len(table["rows"]) // (1 + len(LEVELS))  # the idle device comes first
    for level, pressure in enumerate(LEVELS):
        rows = table["rows"][(level + 1) * each :][:each]
        assert {row["pressure"] for row in rows} == {pressure}
        own = [window for at, window in after if at == level]
        for row in rows:
            runs = [w["times"] for w in own if w["engine"] == row["engine"] and not w["first"]]
            assert row["latency"]["samples"] == sum(map(len, runs))
            first = next(w for w in own if w["engine"] == row["engine"] and w["first"])
            assert row["latency"]["first_run"] == first["times"][0]


def test_engines_take_turns_across_it(killed_and_ended):
    _, after, _ = killed_and_ended
    for level in range(len(LEVELS)):
        turns = [w["engine"] for at, w in after if at == level and not w["first"]]
        engines = sorted(set(turns))
        rounds = min(turns.count(engine) for engine in engines)
        for at in range(0, rounds * len(engines), len(engines)):
            assert sorted(turns[at : at + len(engines)]) == engines


def test_levels_take_turns_across_it(killed_and_ended):
    before, after, _ = killed_and_ended
    at = [level for level, _ in itertools.groupby(after, key=lambda noted: noted[0])]
    assert at[:8] == [0, 1] * 4
    assert len(list(itertools.groupby(before, key=lambda noted: noted[0]))) < len(at)


def test_both_pressures_have_rows_and_no_energy_is_invented(killed_and_ended):
    _, _, table = killed_and_ended
    assert {row["pressure"] for row in table["rows"]} == {CPU, MEMORY}
    if table["circumstances"]["energy"] == "no counter":
        assert {row["energy"] for row in table["rows"]} == {None}
    assert {row["energy"] for row in table["rows"] if row["pressure"] == MEMORY} == {None}
