"""What many tests share: a store for the run, a tiny model, and a bundle built from it once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.zygote import Zygote

# Several workers share the cores: threads that have nothing to do must not spin on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parent.parent
PLUGINS = ROOT / "tests" / "plugins"
PATH = f"{ROOT}{os.pathsep}{PLUGINS}"
sys.path.append(str(PLUGINS))  # as if installed: a package with a backend, found by entry point
MODELS = ROOT / "tests" / "models"
FAMILIES = ("packed", "glimpses", "buckets")  # tiny models of more than one stage or request
TINY = f"{MODELS / 'tiny.py'}:Tiny"
BRIEFLY = ("--loads", "0,1", "--profile-seconds", 0.1)
LONGEST = (  # files of tests, the longest first: begun so, several workers end together
    "compiler/test_pipeline.py",
    "conformance/test_backends.py",
    "test_docs.py",
    "conformance/test_stages.py",
    "compiler/lab/test_lab.py",
    "compiler/test_finalize.py",
    "compiler/test_elsewhere.py",
    "elastiq/test_replay.py",
    "elastiq/server/test_protocol.py",
    "compiler/test_stages.py",
    "zoo/test_tore.py",
    "compiler/test_children.py",
    "compiler/test_budget.py",
    "benchmarks/test_soak.py",
    "test_wheel.py",
)


def pytest_collection_modifyitems(items):
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def device_cache(tmp_path_factory):
    """What runners keep on this device is kept for one run of the tests."""
    os.environ["ELASTIQ_CACHE"] = str(tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="session")
def new_cache(tmp_path_factory):
    """Go on with a cache that nobody else writes to: what other tests left to be packed, is."""
    from elastiq.errands import errands

    @contextlib.contextmanager
    def change():
        errands().settle()
        with pytest.MonkeyPatch.context() as patch:
            folder = tmp_path_factory.mktemp("own") / "cache"
            patch.setenv("ELASTIQ_CACHE", str(folder))
            yield folder

    return change


@pytest.fixture
def own_cache(new_cache):
    with new_cache() as folder:
        yield folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory, worker_id):
    """One for all processes of the run."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def store_folder(shared_folder):
    """What two processes of the run make alike, one does."""
    folder = shared_folder / "store"
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
def zygote():
    found = Zygote(PATH)
    yield found
    found.close()


@pytest.fixture(scope="session")
def elastiq(store_folder, zygote, tmp_path_factory):
    """Run the command line in a process of its own, with the run's store."""
    folder = tmp_path_factory.mktemp("output")

    def run(*arguments, cwd=ROOT, check=None, timeout=300, until=bool, **environment):
        own = {"ELASTIQ_STORE": str(store_folder), "PYTHONPATH": PATH, **environment}
        done = zygote.run(
            list(map(str, arguments)), cwd, {**os.environ, **own}, folder, timeout, until
        )
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def shared_bundle(elastiq, shared_folder):
    """A bundle by name, built once in the run by whoever needs it first. Not to be written to."""

    def once(name, model, *flags):
        out = shared_folder / f"{name}.elastiq"
        with (shared_folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not out.exists():
                elastiq("build", model, "--keep", "all", *flags, "-o", out, check=0)
        return out

    return once


@pytest.fixture(scope="session")
def tiny_bundle(shared_bundle):
    """The tiny model's, with every engine kept. By one backend, whatever is the fastest here."""
    return shared_bundle("tiny", TINY, *BRIEFLY, "--backend", "onnxruntime", "--accuracy-drop", 5)


@pytest.fixture(scope="session")
def motley_bundle(shared_bundle):
    """The same by every backend that is here."""
    return shared_bundle("motley", TINY, *BRIEFLY, "--accuracy-drop", 5)


@pytest.fixture(scope="session")
def family_bundle(shared_bundle):
    """A bundle of the tiny model of a family."""
    flags = (*BRIEFLY, "--memory-loads", 0, "--backend", "onnxruntime", "--accuracy-drop", 20)
    return lambda name: shared_bundle(name, f"{MODELS / name}.py:{name.capitalize()}", *flags)


@pytest.fixture
def own_bundle(tiny_bundle, tmp_path):
    """A copy of the tiny bundle that a test may spoil."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "own.elastiq"))
