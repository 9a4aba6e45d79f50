"""A lab of real processes on this machine: what it builds, and what becomes of those killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import elsewhere
import pytest

from compiler.cli import main
from compiler.lab import quiet
from elastiq import device, digest
from elastiq.errors import EngineError
from targets.devices import target
from tests.conftest import PLUGINS, ROOT, TINY

distributed = quiet.distributed()
from compiler.lab import client  # noqa: E402
from compiler.workshop import Unavailable  # noqa: E402

CPU = target("cpu-x86")
pytestmark = pytest.mark.skipif(not CPU.here, reason="this machine is no cpu-x86")
FLAGS = ("--keep", "all", "--loads", "0", "--memory-loads", "0",
         "--profile-seconds", "0.3", "--accuracy-drop", "100",
         "--backend", "onnxruntime", "--backend", "elsewhere",
         "--set", "elsewhere.does=dawdle", "--set", "elsewhere.only=queries=8")  # fmt: skip
REMADE = ("engine-", "verify-", "profile-")
MEASURED = ("profiles/", "report.html", "manifest.json", "samples.npz")
PATIENT = 60.0  # seconds that this machine may take for anything


def command(*arguments, store, **environment):
    """A process of the command line, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "compiler.cli", *map(str, arguments)],
        cwd=ROOT,
        env={
            **os.environ,
            "ELASTIQ_STORE": str(store),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGINS}",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def said(process, words):
    """The first line that has these words."""
    heard = ""
    for line in process.stderr:
        heard += line
        if words in line:
            return line
    raise AssertionError(heard)


def end(process):
    """As when the power fails."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    return err


def until(true, seconds=PATIENT):
    """What is true at last."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def built(folder):
    """A build on this machine that goes on while the lab starts."""
    process = command("build", TINY, "-o", folder / "alone.elastiq", *FLAGS, store=folder / "store")
    yield process
    end(process)


@pytest.fixture(scope="module")
def lab(folder, built):
    """The address of a lab with a worker that builds and one that owns this machine."""
    process = command("lab", "start", "--local", "--port", 0, store=folder / "workers")
    try:
        yield said(process, "ready: ").split()[-1]
    finally:
        end(process)


@pytest.fixture(scope="module")
def watcher(lab):
    with client.connected(lab) as connected:
        yield lambda: client.view(connected, lab)


@pytest.fixture(scope="module")
def alone(folder, built):
    """What this machine builds without a lab."""
    finish(built)
    return folder / "alone.elastiq"


def contents(bundle):
    """Every file that follows from no measurement, by digest."""
    files = {p.relative_to(bundle).as_posix(): p for p in bundle.rglob("*") if p.is_file()}
    return {n: digest.of_file(p) for n, p in files.items() if not n.startswith(MEASURED)}


def remade(folder, name):
    """A store in which the graphs are, and what a lab can make of them is not."""
    store = folder / name
    shutil.copytree(folder / "store", store)
    for entry in (store / "entries").iterdir():
        if entry.name.startswith(REMADE):
            shutil.rmtree(entry)
    return store


def processes(address):
    """The processes of the workers, by name."""
    with client.connected(address) as connected:
        pids = connected.run(os.getpid, on_error="ignore")  # some may be dying
        names = {w["address"]: w["name"] for w in client.view(connected, address)["workers"]}
        return {names[place]: pid for place, pid in pids.items()}


def _scheduler(address):
    """The process of the scheduler, which started the others."""
    with client.connected(address) as connected:
        return connected.run_on_scheduler(os.getpid)


def test_a_sweep_equals_a_local_build_overlaps_and_survives_that_workers_are_killed(
    lab, alone, folder, watcher
):
    out = folder / "swept.elastiq"
    pids = processes(lab)
    building = command("build", TINY, "--lab", lab, "-o", out, *FLAGS, store=remade(folder, "own"))
    seen = []

    def doing(worker, what):
        seen.append({w["name"]: w["doing"] for w in watcher()["workers"]})
        return building.poll() is not None or seen[-1].get(worker, "").startswith(what)

    until(lambda: doing("build-0", "compile queries=8 main fp32 elsewhere"))
    os.kill(pids["build-0"], signal.SIGKILL)
    until(lambda: doing("device", "measure"))
    os.kill(pids["device"], signal.SIGKILL)
    until(lambda: doing("device", "nothing that is done"))
    finish(building)
    until(lambda: processes(lab).keys() == pids.keys())
    assert not set(processes(lab).values()) & set(pids.values())
    assert contents(out) == contents(alone)
    assert contents(out)
    assert any(
        one.get("build-0", "").startswith("compile queries=8")
        and one.get("device", "").startswith(("verify queries=2", "measure"))
        for one in seen
    )
    (table,) = (out / "profiles").glob("*.json")
    assert table.stem == device.this().name
    assert len(json.loads(table.read_text())["rows"]) == 2 * 2 * 2  # points, backends, precisions


def test_what_a_device_runs_needs_no_torch_and_may_crash(lab):
    with client.opened(lab, CPU, PATIENT) as opened:
        with pytest.raises(EngineError, match="SIGABRT: free"):
            opened.run(elsewhere.fall, [], "crash")
        loaded = set(opened.run(elsewhere.loaded, []))  # by a new process
        assert "compiler.passes.compile" in loaded
        assert not loaded & {"torch", "onnx", "distributed"}


def test_the_view_tells_people_and_machines_who_does_what(lab, elastiq):
    told = json.loads(elastiq("lab", "status", lab, "--json", check=0).stdout)
    shown = elastiq("lab", "status", lab, check=0).stdout
    for worker in told["workers"]:
        assert worker["name"] in shown


def test_nobody_else_reaches_a_lab_on_one_machine(lab, watcher):
    import psutil

    pids = [*processes(lab).values(), _scheduler(lab)]
    listening = [
        connection.laddr.ip
        for pid in pids
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > len(pids)
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["jetson-orin", "nvidia-gpu"])
def test_a_device_that_nobody_has_is_said_to_be_missing(lab, name, monkeypatch):
    if target(name).here:
        pytest.skip(f"this machine is a {name}")
    with (
        pytest.raises(Unavailable, match=f"owns a {name} .*--device {name}"),
        client.opened(lab, target(name), PATIENT),
    ):
        pass


def test_nobody_speaks_for_a_device_that_it_is_not(lab, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["lab", "worker", lab, "--device", "cpu-arm64"])
    assert stop.value.code == 2
    assert "is no cpu-arm64" in capsys.readouterr().err


def test_a_lab_that_is_not_there_is_one_line(capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(SystemExit) as stop:
        main(["build", TINY, "--lab", address])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert f"no lab answers at {address}" in shown
    assert len(shown.splitlines()) == 1


def test_a_scheduler_that_is_no_lab_is_told_from_one():
    cluster = distributed.LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", processes=False
    )
    address = cluster.scheduler_address
    with cluster, pytest.raises(Unavailable, match="no lab"), client.opened(address, CPU, PATIENT):
        pass


def test_a_lab_in_which_nobody_builds_says_so(folder):
    process = command("lab", "scheduler", "--port", 0, store=folder / "empty")
    try:
        address = said(process, "lab at ").split()[-1]
        with pytest.raises(Unavailable, match="nobody who builds"):
            client.opened(address, CPU, PATIENT).__enter__()
    finally:
        end(process)


def test_a_worker_of_another_version_is_named(lab, monkeypatch):
    monkeypatch.setattr(client.work, "versions", lambda: {"elastiq": "0.0.1"})
    with pytest.raises(Unavailable, match=r"worker (build-0|device) .* another version"):
        client.opened(lab, CPU, PATIENT).__enter__()


def test_a_device_that_changes_meanwhile_measures_nothing_more(lab):
    with client.opened(lab, CPU, PATIENT) as opened:
        opened.circumstances["kernel"] = "of yesterday"
        with pytest.raises(Unavailable, match="instead of of yesterday"):
            opened.run(elsewhere.loaded, [])


def test_what_arrives_damaged_is_refused(lab):
    with client.connected(lab) as connected:
        put = connected.scheduler.elastiq_put
        with pytest.raises(ValueError, match="damaged"):
            connected.sync(put, name="0" * 64, draft="", data=b"other bytes", last=True)
        assert list(connected.sync(connected.scheduler.elastiq_lacks, names=["0" * 64]))


@contextmanager
def running(*arguments, words, **means):
    process = command(*arguments, **means)
    try:
        said(process, words)
        yield process
    finally:
        end(process)


def test_a_device_that_reboots_in_mid_task_loses_nothing_and_one_that_stays_away_is_told(
    lab, folder, watcher
):
    (folder / "devices").mkdir()
    (folder / "devices" / "board.toml").write_text(
        'name = "board"\ndescription = "this one"\nmachines = ["x86_64", "AMD64"]\n'
        'backends = ["onnxruntime"]\nprecisions = ["fp32"]\nrecipe = "cpu"\nthreads = 1\n'
    )
    board = ("lab", "worker", lab, "--device", "board", "--name", "board")
    means = {"words": "worker board", "store": folder / "board",
             "ELASTIQ_DEVICES": str(folder / "devices")}  # fmt: skip
    from targets import toml
    from targets.devices import Target

    known = toml.read(Target, folder / "devices" / "board.toml")

    def busy():
        return any(w["name"] == "board" and w["doing"] for w in watcher()["workers"])

    found = []
    with running(*board, **means) as first, client.opened(lab, known, 2 * PATIENT) as opened:
        asking = threading.Thread(target=lambda: found.append(opened.run(elsewhere.slow, [], 2.0)))
        asking.start()
        until(busy)
        end(first)
        with running(*board, **means) as second:
            asking.join(PATIENT)
            assert found == [2.0]
            end(second)
        until(lambda: not any(w["name"] == "board" for w in watcher()["workers"]))
        opened._patience = 1.0
        with pytest.raises(Unavailable, match="no worker of the lab with board came back"):
            opened.run(elsewhere.slow, [], 0.0)


def test_a_lab_that_goes_in_mid_build_ends_it_with_one_line(folder, lab, watcher):
    """The last test of this lab."""
    pid = _scheduler(lab)
    store = remade(folder, "left")
    building = command("build", TINY, "--lab", lab, "-o", folder / "left.elastiq", *FLAGS,
                       store=store)  # fmt: skip
    until(lambda: any(w["doing"] for w in watcher()["workers"]))
    os.killpg(pid, signal.SIGKILL)
    _, err = building.communicate(timeout=2 * PATIENT)
    assert building.returncode == 2, err
    assert "lab was lost" in err.splitlines()[-1]
    assert "Traceback" not in err
