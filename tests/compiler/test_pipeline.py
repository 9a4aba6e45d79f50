"""The whole build: it goes on after any kill, repeats itself to the byte, redoes what it must."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial

import pytest

import elastiq
from elastiq import digest
from tests.conftest import ROOT, TINY

KILLS = 10
# What is measured, and the answers of the engines that were measured fastest.
MEASURED = ("profiles/", "report.html", "manifest.json", "samples.npz")


@pytest.fixture(scope="session")
def build(elastiq):
    """Builds in processes of their own; one that takes longer than a timeout is killed there."""

    def once(store, out, *flags, model=TINY, backends=("onnxruntime", "openvino"), **how):
        flags = (*flags, *(flag for name in backends for flag in ("--backend", name)))
        return elastiq(
            "build", model, "--keep", "all", "--loads", 0, "--memory-loads", 0,
            "--profile-seconds", 0.1, "--accuracy-drop", 100, "-o", out, *flags,
            ELASTIQ_STORE=str(store), **how,
        )  # fmt: skip

    return once


def made_again(done):
    """The tasks that were not found in the store."""
    tasks = [line.strip() for line in done.stderr.splitlines() if line.startswith("  ")]
    return [task.split(":")[0] for task in tasks if not task.endswith("found")]


def contents(bundle):
    """Every file that follows from no measurement, by digest."""
    files = {p.relative_to(bundle).as_posix(): p for p in bundle.rglob("*") if p.is_file()}
    return {n: digest.of_file(p) for n, p in files.items() if not n.startswith(MEASURED)}


@pytest.fixture(scope="module")
def undisturbed(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    build(folder / "store", folder / "tiny.elastiq", check=0)
    return folder


def when(entries, count, later):
    """Tells whether so many entries are there, for so long."""
    since = []

    def until():
        if not since and len(list(entries.glob("*"))) >= count:
            since.append(time.monotonic())
        return since and time.monotonic() - since[0] > later

    return until


def test_a_build_killed_at_ten_moments_ends_byte_identical(build, tmp_path):
    one = partial(build, backends=("onnxruntime",))
    whole, out = tmp_path / "whole.elastiq", tmp_path / "tiny.elastiq"
    one(tmp_path / "undisturbed", whole, check=0)
    made = len(list((tmp_path / "undisturbed" / "entries").iterdir()))
    moments = random.Random(0)
    codes = [
        one(
            tmp_path / "store",
            out,
            until=when(tmp_path / "store" / "entries", count, moments.uniform(0.0, 0.3)),
        ).returncode
        for count in sorted(moments.choices(range(made), k=KILLS))
    ]
    assert set(codes) <= {-signal.SIGKILL, 0}  # the last one may end before
    assert codes.count(-signal.SIGKILL) > KILLS // 2
    one(tmp_path / "store", out, check=0)
    assert contents(out) == contents(whole)
    assert contents(out)
    assert [
        path.name for path in tmp_path.iterdir() if path.name.startswith(".tiny.elastiq.old")
    ] == []


def test_nothing_is_made_twice(build, undisturbed):
    before = contents(undisturbed / "tiny.elastiq")
    again = build(undisturbed / "store", undisturbed / "tiny.elastiq", check=0)
    assert [task.split()[0] for task in made_again(again)] == ["bundle"]
    assert contents(undisturbed / "tiny.elastiq") == before


@pytest.mark.parametrize(
    ("flags", "redone"),
    [
        (
            ("--calibration-samples", "7"),
            {"smooth", "quantize", "compile", "verify", "profile", "weigh"},
        ),
        (("--loads", "0,1"), {"profile"}),
        (("--keep", "fastest"), {"screen"}),
        (("--points", "queries=8"), {"profile"}),
        (("--threads", "2"), {"verify", "profile", "weigh"}),
    ],
)
def test_a_changed_setting_redoes_what_follows_from_it_and_no_more(
    build, undisturbed, tmp_path, flags, redone
):
    done = made_again(build(undisturbed / "store", tmp_path / "b.elastiq", *flags, check=0))
    names = {task.split()[0] for task in done} - {"bundle"}
    if "screen" in names:  # those that are left are measured anew, if any was set aside
        names -= {"profile"}
    assert names == redone
    assert not any("fp32" in task for task in done if task.startswith("compile"))


def test_under_load_only_what_ships_is_measured(build, undisturbed, tmp_path):
    out = tmp_path / "b.elastiq"
    build(undisturbed / "store", out, "--keep", "fastest", "--loads", "0,1", check=0)
    with elastiq.open(out) as bundle:
        points = bundle.manifest.points
        chosen = {stage.engine for point in points for stage in point.stages.values()}
        rows = Counter(row.engine for row in bundle.table.rows)
    assert {engine for engine, count in rows.items() if count == 2} == chosen
    assert chosen <= rows.keys()


def test_an_archive_is_the_same_bytes_each_time(build, undisturbed, tmp_path):
    archives = []
    for name in ("a", "b"):
        out = tmp_path / name / "x.elastiq"
        out.parent.mkdir()
        build(undisturbed / "store", out, "--archive", check=0)
        archives.append(out.with_name("x.elastiq.zst"))
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with elastiq.open(archives[0]) as bundle:
        assert bundle.check()


def test_a_file_that_is_no_archive_is_not_overwritten(build, undisturbed, tmp_path):
    (tmp_path / "x.elastiq.zst").write_text("mine")
    done = build(undisturbed / "store", tmp_path / "x.elastiq", "--archive", check=2)
    assert "not overwritten" in done.stderr
    assert (tmp_path / "x.elastiq.zst").read_text() == "mine"


def test_the_fake_backend_carries_the_whole_pipeline(build, undisturbed, tmp_path):
    out = tmp_path / "fake.elastiq"
    build(undisturbed / "store", out, backends=("fake",), check=0)
    manifest = json.loads((out / "manifest.json").read_text())
    assert {engine["backend"] for engine in manifest["engines"]} == {"fake"}
    for engine in manifest["engines"]:
        assert engine["precision"] != "fp32" or engine["quality"]["max_error"] < 1e-4


def test_a_model_without_a_metric_is_scored_by_agreement(build, undisturbed, tmp_path):
    out = tmp_path / "b.elastiq"
    build(undisturbed / "store", out, model=TINY.replace("Tiny", "Unmeasured"), check=0)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["metric"] == "agreement with queries=8 in torch"
    assert manifest["points"][-1]["score"] == 1.0
    assert 0 < manifest["points"][0]["score"] < 1.0


def test_a_full_disk_is_told_in_one_line(tmp_path):
    """A real full disk: a tmpfs of 200 kB, in a mount namespace of its own."""
    script = (
        f"mount -t tmpfs -o size=200k none {tmp_path} && "
        f"exec {sys.executable} -m compiler.cli build {TINY} -o {tmp_path}/b.elastiq"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        cwd=ROOT,
        env={**os.environ, "ELASTIQ_STORE": str(tmp_path / "store")},
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"this machine allows no mount namespace: {done.stderr}")
    assert done.returncode == 2
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
