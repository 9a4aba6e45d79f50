"""The burner: takes its share, and never outlives whoever started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elastiq.burner import STREAMED, Burner, cores
from elastiq.errors import ElastiqError

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="reads /proc")
SECONDS = 1.0


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def share_taken(load):
    with Burner(load) as burner:
        assert len(burner.pids) == cores()
        before, start = [cpu_seconds(pid) for pid in burner.pids], time.monotonic()
        time.sleep(SECONDS)
        after, passed = [cpu_seconds(pid) for pid in burner.pids], time.monotonic() - start
    return (sum(after) - sum(before)) / passed / cores()


@pytest.mark.parametrize("load", [0.1, 0.3])
def test_it_takes_about_its_share(load):
    # On a busy machine it may get less than it wants, and never much more.
    assert 0.4 * load < share_taken(load) < 1.25 * load + 0.03


def resident(pid):
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in x]
    return 1024 * int(line.split()[1])


def test_it_may_stream_through_memory_with_its_share():
    with Burner(0.3, streams=True) as burner:
        assert all(resident(pid) > STREAMED for pid in burner.pids)
        before = sum(map(cpu_seconds, burner.pids))
        time.sleep(SECONDS)
        taken = (sum(map(cpu_seconds, burner.pids)) - before) / SECONDS / cores()
    assert 0.1 < taken < 0.45


def test_more_is_more():
    assert share_taken(0.1) < share_taken(1.0)


def test_its_share_may_change_while_it_burns():
    with Burner(1.0) as burner:
        burner.set(0.0)
        time.sleep(0.2)
        before = sum(map(cpu_seconds, burner.pids))
        time.sleep(SECONDS)
        idle = sum(map(cpu_seconds, burner.pids)) - before
        burner.set(0.5)
        time.sleep(SECONDS)
        busy = sum(map(cpu_seconds, burner.pids)) - before - idle
        with pytest.raises(ElastiqError, match="between 0 and 1"):
            burner.set(1.5)
    assert idle < 0.1 * SECONDS
    assert busy > idle + 0.2 * SECONDS


def test_no_load_is_no_process():
    with Burner(0.0) as burner:
        assert burner.pids == []


@pytest.mark.parametrize("load", [-0.1, 1.1, float("nan")])
def test_an_impossible_load_is_refused(load):
    with pytest.raises(ElastiqError, match="between 0 and 1"):
        Burner(load)


def test_its_processes_end_with_the_block():
    with pytest.raises(KeyError), Burner(0.1) as burner:
        pids = burner.pids
        raise KeyError
    assert pids and not any(alive(pid) for pid in pids)


def test_its_processes_die_when_their_parent_is_killed():
    program = (
        "import time\n"
        "from elastiq.burner import Burner\n"
        "with Burner(1.0) as burner:\n"
        "    print(*burner.pids, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == cores() and all(alive(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in pids))
