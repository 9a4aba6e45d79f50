"""What many tests share: a store for the run, a tiny model, and a bundle built from it once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGINS = ROOT / "tests" / "plugins"
sys.path.append(str(PLUGINS))  # as if installed: a package with a backend, found by entry point
MODELS = ROOT / "tests" / "models"
FAMILIES = ("packed", "glimpses", "buckets")  # tiny models of more than one stage or request
TINY = f"{MODELS / 'tiny.py'}:Tiny"


@pytest.fixture(scope="session", autouse=True)
def device_cache(tmp_path_factory):
    """What runners keep on this device is kept for one run of the tests."""
    os.environ["ELASTIQ_CACHE"] = str(tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory, worker_id):
    """One for all processes of the run: what two of them build, one does."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "store"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def store(store_folder):
    from compiler.store import Store

    return Store(store_folder)


@pytest.fixture(scope="session")
def tiny():
    from compiler import source

    return source.load(TINY)


@pytest.fixture(scope="session")
def elastiq(store_folder):
    """Run the command line in a process of its own, with the run's store."""

    def run(*arguments, cwd=ROOT, check=None, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "compiler.cli", *map(str, arguments)],
            cwd=cwd,
            env={
                **os.environ,
                "ELASTIQ_STORE": str(store_folder),
                "PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGINS}",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def tiny_bundle(elastiq, tmp_path_factory):
    """A bundle of the tiny model with every engine kept. Not to be written to."""
    out = tmp_path_factory.mktemp("bundles") / "tiny.elastiq"
    elastiq("build", TINY, "--keep", "all", "--loads", "0,1", "--accuracy-drop", 5,
            "--profile-seconds", 0.2, "-o", out, check=0)  # fmt: skip
    return out


@pytest.fixture(scope="session")
def onnxruntime_bundle(elastiq, tmp_path_factory):
    """The same by one backend, whatever is the fastest here. Not to be written to."""
    out = tmp_path_factory.mktemp("bundles") / "onnxruntime.elastiq"
    elastiq("build", TINY, "--keep", "all", "--loads", "0,1", "--accuracy-drop", 5,
            "--backend", "onnxruntime", "--profile-seconds", 0.2, "-o", out, check=0)  # fmt: skip
    return out


@pytest.fixture(scope="session")
def family_bundle(elastiq, tmp_path_factory):
    """A bundle of the tiny model of a family, built once. Not to be written to."""
    folder = tmp_path_factory.mktemp("families")

    def build(name):
        out = folder / f"{name}.elastiq"
        if not out.exists():
            elastiq("build", f"{MODELS / name}.py:{name.capitalize()}", "--keep", "all",
                    "--loads", "0,1", "--accuracy-drop", 20, "--backend", "onnxruntime",
                    "--memory-loads", 0, "--profile-seconds", 0.1, "-o", out, check=0)  # fmt: skip
        return out

    return build


@pytest.fixture
def own_bundle(tiny_bundle, tmp_path):
    """A copy of the tiny bundle that a test may spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "own.elastiq"))
