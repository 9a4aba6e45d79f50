"""What only the device can do: plans, answers and costs, in a bundle that stays whole meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

import elastiq as product
from elastiq import cuda, device
from tests.conftest import PLUGINS, ROOT, TINY

PROFILED = "profile at 0% load, 100% load"
BOARD = """
name = "my-board"
description = "a board whose engines can run here, too"
machines = ["riscv64"]
backends = ["onnxruntime", "elsewhere"]
precisions = ["fp32", "int8"]
recipe = "portable"
threads = 1

[peak]
device = "an invented board"
rates = { fp32 = 1e9, int8 = 2e9 }
bandwidth = 1e9
launch = 1e-6
"""


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    (folder / "board.toml").write_text(BOARD)
    return {"ELASTIQ_DEVICES": str(folder)}


@pytest.fixture(scope="module")
def built(elastiq, boards, tmp_path_factory):
    """A bundle for a device that this machine is not, built once for each set of flags."""
    made = {}

    def bundle(target, *flags):
        if (target, flags) not in made:
            out = tmp_path_factory.mktemp("built") / "tiny.elastiq"
            elastiq("build", TINY, "-t", target, "--accuracy-drop", 5, "-o", out, *flags,
                    check=0, **boards)  # fmt: skip
            made[target, flags] = out
        return made[target, flags]

    return bundle


@pytest.fixture
def own(built, tmp_path):
    """A copy that may be finished."""

    def copy(target, *flags):
        return shutil.copytree(built(target, *flags), tmp_path / "own.elastiq")

    return copy


def finalize(elastiq, bundle, *flags, check=0):
    return elastiq("finalize", bundle, "--loads", "0,1", "--memory-loads", 0,
                   "--profile-seconds", 0.1, *flags, check=check)  # fmt: skip


def contents(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_engines_are_run_measured_and_chosen_on_the_device(elastiq, own):
    bundle = own("my-board")
    with product.open(bundle) as before:
        assert before.predicted and not before.measured
    told = json.loads(finalize(elastiq, bundle, "--json").stdout)
    assert set(told["errors"]) == {
        f"queries={q} {backend} {precision}"
        for q in (2, 8)
        for backend in ("onnxruntime", "elsewhere")
        for precision in ("fp32", "int8")
    }
    assert told["failures"] == []
    with product.open(bundle) as opened:
        assert opened.check() == len(opened.manifest.files)
        assert opened.table.device == device.this().name
        assert opened.measured and not opened.predicted
        assert {p.name for p in (bundle / "profiles").iterdir()} == {f"{device.this().name}.json"}
        chosen = {stage.engine for p in opened.manifest.points for stage in p.stages.values()}
        assert chosen <= set(opened.table.footprints)
        assert {engine.executed for engine in opened.manifest.engines} == {True}
        assert {p.stages["main"].engine.split("/")[2] for p in opened.manifest.points} == {
            "onnxruntime"  # the other one takes a hundred times longer
        }
        assert opened.infer(opened.samples().input(0), deadline=5.0)["logits"].shape == (1, 5)
    assert "answer as verified" in elastiq("check", bundle, check=0).stdout
    assert "measured on" in elastiq("inspect", bundle, check=0).stdout


def test_what_is_chosen_is_checked_by_its_own_answers(elastiq, own):
    """At one precision it was built for, at another it may be fastest."""
    bundle = own("my-board")
    with product.open(bundle) as before:
        answers = before.samples().outputs
        assert {"queries=2/fp32", "queries=2/int8", "queries=2"} <= set(answers)
    finalize(elastiq, bundle)
    with product.open(bundle) as opened:
        for point in opened.manifest.points:
            precision = point.stages["main"].engine.split("/")[-1]
            chosen = opened.samples().outputs[point.name]["logits"]
            expected = answers[f"{point.name}/{precision}"]["logits"]
            np.testing.assert_array_equal(chosen, expected)


def test_a_second_time_what_was_measured_is_found(elastiq, own):
    bundle = own("my-board")
    finalize(elastiq, bundle)
    again = finalize(elastiq, bundle)
    assert f"{PROFILED}: found" in again.stderr


@pytest.mark.parametrize(
    ("later", "limits", "words"),
    [
        ("crash", (), "SIGABRT"),
        ("hang", ("--build-seconds", 3), "longer than 3 s"),
        ("hoard", ("--build-memory", 0.5), "out of memory"),
    ],
)
def test_what_cannot_be_finished_is_left_out_and_told(elastiq, own, later, limits, words):
    bundle = own("my-board", "--set", f"elsewhere.later={later}", "--precision", "fp32")
    told = json.loads(finalize(elastiq, bundle, "--json", *limits).stdout)
    assert all("queries" in failure and words in failure for failure in told["failures"])
    assert len(told["failures"]) == 2
    assert {key.split("/")[2] for key in told["engines"]} == {"onnxruntime"}
    assert "is whole" in elastiq("check", bundle, check=0).stdout


def test_a_bundle_of_which_nothing_can_be_finished_stays_as_it_was(elastiq, own):
    bundle = own("my-board", "--set", "elsewhere.later=refuse", "--backend", "elsewhere")
    before = contents(bundle)
    done = finalize(elastiq, bundle, check=2)
    assert "no engine of queries=2 could be built" in done.stderr
    assert "wobble_7" in done.stderr
    assert contents(bundle) == before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_an_engine_that_does_not_run_here_is_not_chosen(elastiq, own):
    bundle = own("my-board", "--set", "elsewhere.does=spoil", "--precision", "fp32")
    told = json.loads(finalize(elastiq, bundle, "--json").stdout)
    assert len(told["failures"]) == 2
    assert all("it is spoilt" in failure for failure in told["failures"])
    executed = {key: engine["executed"] for key, engine in told["engines"].items()}
    assert executed == {
        f"queries={q}/main/{backend}/fp32": backend == "onnxruntime"
        for q in (2, 8)
        for backend in ("onnxruntime", "elsewhere")
    }


def test_killed_in_the_middle_it_leaves_the_bundle_and_goes_on(built, boards, own, store_folder):
    bundle = own("my-board", "--precision", "fp32")
    before = contents(bundle)
    command = [sys.executable, "-m", "compiler.cli", "finalize", str(bundle), "--loads", "0,1",
               "--memory-loads", "0", "--profile-seconds", "0.15"]  # fmt: skip
    environment = {**os.environ, "ELASTIQ_STORE": str(store_folder),
                   "PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGINS}"}  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if PROFILED in line:
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert contents(bundle) == before
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{PROFILED}: found" in done.stderr


JETSON = ("jetson-orin", "--backend", "tensorrt")


@pytest.mark.skipif(cuda.available(), reason="a GPU is here")
def test_without_the_device_its_plans_can_be_tried(elastiq, built, tmp_path):
    bundle, trial = built(*JETSON), tmp_path / "trial.elastiq"
    before = contents(bundle)
    done = elastiq("finalize", bundle, "--trial", "SM89", "-o", trial, check=0)
    assert "compiled, not executed" in done.stdout
    assert contents(bundle) == before
    with product.open(trial) as opened:
        opened.check()
        engines = opened.manifest.engines
        assert "SM89" in opened.manifest.toolchain["tensorrt"]
        layouts = {
            engine.key: json.loads((trial / engine.folder / "layout.json").read_text())
            for engine in engines
        }
        for engine in engines:
            assert engine.compiled and not engine.executed
            plan = layouts[engine.key]["plan"]
            assert plan in engine.weights
            assert opened.manifest.files[f"weights/{plan}"].size > 10_000
        assert {layout["capabilities"][0] for layout in layouts.values()} == {"SM89"}
        # One plan for both points, at each of three precisions.
        assert len({layout["plan"] for layout in layouts.values()}) == 3
        assert not opened.measured
    assert "Its engines were not executed" in elastiq("check", trial, check=0).stdout


@pytest.mark.skipif(cuda.available(), reason="a GPU is here")
def test_a_trial_whose_plans_fail_says_so_and_leaves_a_whole_bundle(elastiq, built, tmp_path):
    bundle, trial = built(*JETSON, "--precision", "fp32"), tmp_path / "trial.elastiq"
    flags = ("--trial", "SM89", "-o", trial, "--build-seconds", 0.05, "--json")
    own_cache = {"ELASTIQ_CACHE": str(tmp_path / "cache")}
    told = json.loads(elastiq("finalize", bundle, *flags, check=1, **own_cache).stdout)
    assert len(told["failures"]) == 2
    assert all("longer than 0.05 s" in failure for failure in told["failures"])
    assert {engine["compiled"] for engine in told["engines"].values()} == {False}
    assert "Its engines were not executed" in elastiq("check", trial, check=0).stdout


@pytest.mark.skipif(cuda.available(), reason="a GPU is here")
def test_a_trial_leaves_alone_what_other_backends_finish(elastiq, built, tmp_path):
    bundle, trial = built("my-board", "--precision", "fp32"), tmp_path / "trial.elastiq"
    told = json.loads(
        elastiq("finalize", bundle, "--trial", "SM89", "-o", trial, "--json", check=0).stdout
    )
    compiled = {key.split("/")[2]: engine["compiled"] for key, engine in told["engines"].items()}
    assert compiled == {"onnxruntime": True, "elsewhere": False}


@pytest.mark.skipif(cuda.available(), reason="a GPU is here")
def test_plans_that_were_made_before_a_power_cut_are_found_again(elastiq, built, tmp_path):
    bundle = built(*JETSON, "--precision", "fp32")
    own_cache = {"ELASTIQ_CACHE": str(tmp_path / "cache")}
    command = ("finalize", bundle, "--trial", "SM86", "-o")
    elastiq(*command, tmp_path / "one.elastiq", check=0, **own_cache)
    (kept,) = (tmp_path / "cache").glob("tensorrt_rtx-*")
    made = kept.stat().st_mtime_ns
    time.sleep(0.01)
    elastiq(*command, tmp_path / "two.elastiq", check=0, **own_cache)
    assert kept.stat().st_mtime_ns == made
    one, two = (contents(tmp_path / f"{n}.elastiq") for n in ("one", "two"))
    assert list(one.values()) == list(two.values())


@pytest.mark.skipif(cuda.available(), reason="a GPU is here")
def test_what_is_missing_is_told_in_a_line(elastiq, own):
    bundle = own(*JETSON)
    before = contents(bundle)
    assert "tensorrt is not installed" in finalize(elastiq, bundle, check=2).stderr
    assert "name another bundle" in finalize(elastiq, bundle, "--trial", "SM89", check=2).stderr
    assert contents(bundle) == before
    assert "no tensorrt engine" not in elastiq("check", bundle, check=0).stdout


TRTEXEC = """#!{python}
import sys, onnx
given = dict(a[2:].partition("=")[::2] for a in sys.argv[1:])
onnx.checker.check_model(onnx.load(given["onnx"]))
names = [i.name for i in onnx.load(given["onnx"]).graph.input]
assert given["shapes"].partition(":")[0] in names, names
open(given["saveEngine"], "w").write(given["shapes"] + " " + given["maxShapes"])
"""


@pytest.mark.parametrize("queries", [2, 8])
def test_the_script_gives_trtexec_the_graph_its_weights_and_its_shapes(built, tmp_path, queries):
    """trtexec itself cannot be had here: what stands in for it reads the graph with its weights."""
    stand_in = tmp_path / "trtexec"
    stand_in.write_text(TRTEXEC.format(python=sys.executable))
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    folder = built(*JETSON) / "engines" / "tensorrt" / f"queries={queries}" / "main" / "fp32"
    subprocess.run(
        ["sh", folder / "trtexec.sh", tmp_path / "plan", tmp_path / "timings"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "TRTEXEC": str(stand_in)},
    )
    shapes, most = (tmp_path / "plan").read_text().split()
    assert f"x{queries}x" in shapes
    assert "x8x" in most
    assert onnx.load(folder / "graph.onnx", load_external_data=False).graph.input
