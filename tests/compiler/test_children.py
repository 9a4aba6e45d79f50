"""A toolchain may refuse, raise, crash, hang or eat all memory: the build goes on, and says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compiler.children import Child, Died
from compiler.passes.compile import compile
from compiler.passes.trace import trace
from compiler.progress import Progress, silent
from compiler.store import Store
from compiler.terms import Terms
from elastiq.errors import ElastiqError
from targets.backends import backend, configured
from tests.conftest import ROOT, TINY


@pytest.fixture(scope="module")
def traced(tiny, store):
    return trace(tiny, tiny.points, store, silent())


@pytest.fixture
def own_store(tmp_path, store):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "weights").symlink_to(store.weights)
    return Store(tmp_path / "store")


def terms(does, **limits):
    given = (f"elsewhere.does={does}", "elsewhere.only=queries=8")
    return Terms(configured(given), **limits)


def build(own, graph, out, **settings):
    elsewhere = backend("elsewhere")
    own.call(elsewhere.build, graph, out, elsewhere.Settings(**settings), seconds=60)


FALLS = [
    ("refuse", {}, "refused", "node 'wobble_7'"),
    ("raise", {}, "crash", "KeyError: 'tables'"),
    ("crash", {}, "crash", "by SIGABRT: free(): invalid pointer"),
    ("exit", {}, "crash", "exit code 3"),
    ("hang", {"seconds": 3.0}, "time", "longer than 3 s"),
    ("hoard", {"memory": 0.5}, "memory", "ran out of memory"),
]


@pytest.mark.parametrize(("does", "limits", "kind", "words"), FALLS)
def test_a_build_goes_on_without_the_engine_and_tells_why(
    traced, own_store, does, limits, kind, words
):
    backends = ("elsewhere", "onnxruntime")
    made = compile(traced, backends, own_store, silent(), terms(does, **limits))
    assert {engine.key for engine in made.engines} == {
        "queries=2/main/elsewhere/fp32",
        "queries=2/main/onnxruntime/fp32",
        "queries=8/main/onnxruntime/fp32",
    }
    (failure,) = made.failures
    assert failure.kind == kind
    assert words in failure.words
    for part in ("queries=8", "main", "elsewhere", "fp32"):
        assert part in str(failure)


@pytest.mark.parametrize("does", ["crash", "hang"])
def test_what_failed_is_tried_again_only_when_asked(traced, own_store, does):
    def tasks(retry):
        progress = Progress(0, silent=True)
        asked = terms(does, seconds=3.0, retry=retry)
        compile(traced, ("elsewhere", "onnxruntime"), own_store, progress, asked)
        return [task.label for task in progress.tasks if not task.cached]

    assert len(tasks(retry=False)) == 4
    assert tasks(retry=False) == []
    assert tasks(retry=True) == ["compile queries=8 fp32 elsewhere"]


def test_a_point_that_is_left_with_no_engine_is_an_error(traced, own_store):
    with pytest.raises(ElastiqError, match=r"queries=8.*SIGABRT"):
        compile(traced, ("elsewhere",), own_store, silent(), terms("crash"))


def test_a_child_that_was_killed_from_outside_is_followed_by_another(traced, tmp_path):
    own = Child(1.5)
    build(own, traced[0], tmp_path)
    os.kill(own._process.pid, signal.SIGKILL)
    with pytest.raises(Died, match="memory"):
        build(own, traced[0], tmp_path)
    build(own, traced[0], tmp_path)


def test_a_build_that_was_interrupted_leaves_no_answer_behind(traced, tmp_path):
    own = Child(2.0)

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(KeyboardInterrupt):
            build(own, traced[0], tmp_path, does="hang")
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ElastiqError, match="wobble"):
        build(own, traced[0], tmp_path, does="refuse")


def test_it_does_not_outlive_its_parent():
    code = (
        "import os; from compiler.children import Child; c = Child(0.0); c._started();"
        "print(c._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail(f"{pid} lives on")


def test_a_folder_with_packages_named_as_ours_does_not_mislead_it(elastiq, tmp_path):
    for name in ("targets", "compiler", "elastiq"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    code = f"import sys; sys.path[0] = {str(ROOT)!r}; from compiler.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "compile", TINY, "--backend", "onnxruntime", "--json"],
        cwd=tmp_path,
        env={**os.environ, "ELASTIQ_STORE": str(tmp_path / "store"), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failures"] == []


def test_an_engine_that_does_not_load_is_left_out_and_told(elastiq):
    flags = ("--backend", "elsewhere", "--backend", "onnxruntime", "--set", "elsewhere.does=spoil")
    told = json.loads(elastiq("verify", TINY, *flags, "--json", check=0).stdout)
    assert {failure["kind"] for failure in told["failures"]} == {"run"}
    assert all("it is spoilt" in failure["words"] for failure in told["failures"])
    assert {name.split()[-1] for name in told["quality"]} == {"onnxruntime"}


def test_the_summary_tells_what_failed(elastiq):
    flags = ("--backend", "elsewhere", "--backend", "onnxruntime", "--set", "elsewhere.does=crash")
    shown = elastiq("compile", TINY, *flags, check=0)
    assert "no fp32 engine by elsewhere at queries=8, stage 'main'" in shown.stdout
    assert "invalid pointer" in shown.stderr
    told = json.loads(elastiq("compile", TINY, *flags, "--json", check=0).stdout)
    assert {failure["kind"] for failure in told["failures"]} == {"crash"}
