"""Packed weights: engines share them, answer the same to the last bit, and never depend on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import elastiq
from elastiq import cache, digest, packing
from elastiq.packing import PREFIX

BACKEND = "onnxruntime"

pytestmark = pytest.mark.usefixtures("own_cache")


def answers(bundle_path, settle=False, **options):
    """What every engine of this backend answers, as bytes."""
    with elastiq.open(bundle_path, **options) as bundle:
        keys = [engine.key for engine in bundle.manifest.engines if engine.backend == BACKEND]
        image = bundle.samples().input(0)
        engines = [bundle.engine(key) for key in keys]
        if settle:
            before = [engine(image)["logits"].tobytes() for engine in engines]
            bundle.settle()
            assert before == [engine(image)["logits"].tobytes() for engine in engines]
        return [engine(image)["logits"].tobytes() for engine in engines]


def files(prefix):
    return sorted(path for path in cache.folder().iterdir() if path.name.startswith(prefix))


def digests(prefix):
    return {path.name: digest.of_bytes(path.read_bytes()) for path in files(prefix)}


def mapped():
    """The files of the cache that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[-1].strip() for line in lines}
    return {path for path in paths if path.startswith(str(cache.folder()))}


@pytest.fixture(scope="module")
def packed_cache(tiny_bundle, new_cache):
    with new_cache() as folder:
        answers(tiny_bundle, settle=True)
    return folder


@pytest.fixture
def packed(tiny_bundle, packed_cache, own_cache):
    """The tiny bundle, after what it packs is in the cache."""
    shutil.copytree(packed_cache, own_cache)
    return tiny_bundle


def test_packed_engines_answer_the_same_to_the_last_bit(packed):
    plain = answers(packed, share=False)
    assert answers(packed) == plain
    with elastiq.open(packed) as bundle:
        engines = [bundle.engine(e.key) for e in bundle.manifest.engines if e.backend == BACKEND]
        assert {str(path) for path in files(PREFIX)} >= mapped() > set()
        assert engines


def test_an_engine_goes_on_with_packed_weights_once_they_are_there(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        key = next(e.key for e in bundle.manifest.engines if e.backend == BACKEND)
        engine = bundle.engine(key)
        assert not mapped()
        bundle.settle()
        assert mapped()
        image = bundle.samples().input(0)
        shared = engine(image)["logits"]
    with elastiq.open(tiny_bundle, share=False) as bundle:
        np.testing.assert_array_equal(shared, bundle.engine(key)(image)["logits"])


def test_a_weight_is_kept_once_whatever_the_number_of_engines(packed):
    with elastiq.open(packed) as bundle:
        engines = [e for e in bundle.manifest.engines if e.backend == BACKEND]
        used = sum(len(engine.weights) for engine in engines)
    assert len(files(f"{BACKEND}-")) == len(engines)
    assert len(files(PREFIX)) < used


def test_kept_weights_need_no_reading_of_those_shipped(packed, tmp_path):
    """The bundle's weights are checked before they are read; packed ones are read instead."""
    bundle = shutil.copytree(packed, tmp_path / "copy.elastiq")
    expected = answers(packed)
    for weight in (bundle / "weights").iterdir():
        weight.write_bytes(bytes(weight.stat().st_size))
    assert answers(bundle) == expected


@pytest.mark.parametrize("kind", [PREFIX, f"{BACKEND}-"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "foreign"])
def test_a_damaged_cache_is_made_again(packed, kind, damage):
    expected = answers(packed, share=False)
    kept = digests(kind)
    for path in files(kind):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink()
        content = {"flip": data, "truncate": data[:-1], "empty": b"", "foreign": bytes(len(data))}
        if damage != "remove":
            path.write_bytes(content[damage])
    assert answers(packed, settle=True) == expected
    assert digests(kind) == kept


def test_a_model_that_the_runtime_does_not_take_is_dropped(packed):
    expected = answers(packed, share=False)
    for path in files(f"{BACKEND}-"):
        cache.keep(path.name, b"")
    assert answers(packed, settle=True) == expected


def test_without_a_folder_to_write_to_all_goes_on(tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ELASTIQ_CACHE", str(tmp_path / "file" / "cache"))
    assert answers(tiny_bundle, settle=True) == answers(tiny_bundle, share=False)


def test_where_there_is_no_room_nothing_is_packed(tiny_bundle, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 1000)
    assert answers(tiny_bundle, settle=True) == answers(tiny_bundle, share=False)
    assert not files(PREFIX)


def test_processes_that_pack_at_the_same_time_do_not_disturb_each_other(tiny_bundle):
    code = (
        "import elastiq, sys\n"
        "with elastiq.open(sys.argv[1]) as bundle:\n"
        "    for point in bundle.manifest.points: bundle.load(point.name)\n"
        "    bundle.settle()\n"
    )
    command = [sys.executable, "-c", code, str(tiny_bundle)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        _, errors = child.communicate(timeout=300)
        assert (child.returncode, errors) == (0, "")
    assert files(PREFIX)
    assert answers(tiny_bundle) == answers(tiny_bundle, share=False)


def test_a_process_that_ends_early_leaves_nothing_half_made(tiny_bundle):
    code = "import elastiq, sys; elastiq.open(sys.argv[1]).load('queries=2')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not files("")


def test_a_model_of_small_weights_only_is_kept_as_it_is(tmp_path):
    """ONNX Runtime writes no file of weights beside it then."""
    (tmp_path / packing.MODEL).write_bytes(b"a model")
    assert packing.pack(tmp_path) == b"a model"
