"""The wheel, installed alone in a fresh environment: a command and a device side that work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv

import pytest

from tests.conftest import ROOT

BASE = {"click", "numpy", "elastiq", "pip", "setuptools"}
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The programs of an environment with nothing but the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"  # building writes beside the sources, so it gets some of its own
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "demo", "build", "*.egg-info"))
    builds = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, tree]
    subprocess.run(builds, check=True, capture_output=True, env=ALONE)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    programs = folder / "venv" / "bin"
    constraints = ROOT / "constraints.txt"
    subprocess.run(
        [programs / "pip", "install", "-q", "-c", constraints, wheel],
        check=True,
        cwd=folder,
        env=ALONE,
    )
    return programs


def run(*command, cwd):
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ALONE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_needs_the_base_dependencies_only(fresh, tmp_path):
    listed = json.loads(run(fresh / "pip", "list", "--format", "json", cwd=tmp_path))
    assert {package["name"].lower() for package in listed} <= BASE


def test_the_command_and_the_library_work(fresh, tmp_path):
    assert "Commands:" in run(fresh / "elastiq", "--help", cwd=tmp_path)
    assert "cpu-x86" in run(fresh / "elastiq", "targets", cwd=tmp_path)
    found = json.loads(run(fresh / "elastiq", "doctor", "--json", cwd=tmp_path))
    missing = [check["detail"] for check in found["checks"] if not check["ok"]]
    assert any("elastiq[compile]" in detail for detail in missing)
    run(fresh / "python", "-c", "import elastiq; print(elastiq.__version__)", cwd=tmp_path)


def test_a_bundle_can_be_read_and_names_the_runtime_that_is_missing(fresh, tiny_bundle, tmp_path):
    assert "queries=8" in run(fresh / "elastiq", "inspect", tiny_bundle, cwd=tmp_path)
    done = subprocess.run(
        [fresh / "elastiq", "run", tiny_bundle],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=ALONE,
    )
    assert done.returncode == 2
    assert re.search(r"pip install 'elastiq\[(onnxruntime|openvino)\]'", done.stderr)


def test_building_without_the_compiler_says_what_to_install(fresh, tmp_path):
    done = subprocess.run(
        [fresh / "elastiq", "build", "zoo.perceiver:model"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=ALONE,
    )
    assert done.returncode == 2
    assert "pip install 'elastiq[compile]'" in done.stderr
