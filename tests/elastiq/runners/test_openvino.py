"""OpenVINO on the device: warm at the second load, whatever became of the cache."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import elastiq
from elastiq import cache, device, jointmodel, kin
from elastiq.errands import errands
from elastiq.errors import EngineError
from elastiq.jointmodel import join
from elastiq.protocols import RunnerOptions
from elastiq.runners import openvino as runner

KEY = "queries=8/main/openvino/int8"
PARTS = ("queries=2/main/openvino/fp32", "queries=8/main/openvino/fp32")

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def engine_folder(motley_bundle):
    """Where an engine lies, and where its weights do."""
    with elastiq.open(motley_bundle) as bundle:
        (record,) = (e for e in bundle.manifest.engines if e.key == KEY)
    return motley_bundle / record.folder, motley_bundle / "weights"


@pytest.fixture
def feed(motley_bundle):
    with elastiq.open(motley_bundle) as bundle:
        return bundle.samples().input(0)


def answer(folder, weights, feed, threads=1):
    return runner.load(folder, RunnerOptions(weights, threads))(feed)["logits"]


def test_a_second_load_needs_no_weights_and_answers_the_same(engine_folder, feed, tmp_path):
    folder, weights = engine_folder
    first = answer(folder, weights, feed)
    second = answer(folder, tmp_path / "nowhere", feed)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("damage", ["flip", "truncate", "another"])
def test_a_damaged_or_foreign_cache_is_made_again(engine_folder, feed, damage):
    folder, weights = engine_folder
    first = answer(folder, weights, feed)
    (kept,) = cache.folder().iterdir()
    content = kept.read_bytes()
    if damage == "another":
        cache.keep(kept.name, b"no model at all")
    else:
        kept.write_bytes(content[:-100] if damage == "truncate" else b"x" + content[1:])
    np.testing.assert_array_equal(answer(folder, weights, feed), first)
    assert len(cache.find(kept.name)) > 100


def test_without_a_cache_it_works_too(engine_folder, feed, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ELASTIQ_CACHE", str(tmp_path / "file" / "cache"))
    assert np.isfinite(answer(*engine_folder, feed)).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_it_takes_the_threads_it_was_given(engine_folder, threads):
    folder, weights = engine_folder
    for _ in ("cold", "warm"):
        compiled = runner.load(folder, RunnerOptions(weights, threads))._compiled.model
        assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
        assert compiled.get_property("NUM_STREAMS") == 1


def test_the_hint_is_that_of_the_build(engine_folder, tmp_path):
    folder, weights = engine_folder
    own = shutil.copytree(folder, tmp_path / "own")
    layout = own / runner.LAYOUT
    layout.write_text(layout.read_text().replace('"latency"', '"throughput"'))
    compiled = runner.load(own, RunnerOptions(weights, 2))._compiled.model
    assert compiled.get_property("PERFORMANCE_HINT") == "THROUGHPUT"


def test_int8_is_exact_where_the_cpu_saturates(engine_folder):
    """Without VNNI, OpenVINO's own integer products are off by as much as 15 %."""
    compiled = runner.load(engine_folder[0], RunnerOptions(engine_folder[1]))._compiled.model
    kernels = {
        op.get_rt_info()["primitiveType"].astype(str)
        for op in compiled.get_runtime_model().get_ops()
    }
    products = {kernel for kernel in kernels if "gemm" in kernel or "jit" in kernel}
    assert products
    own = any(kernel.endswith("_i8") for kernel in products)
    assert own is device.this().exact_in_int8


@pytest.mark.parametrize("change", [lambda x: x[..., :3], lambda x: x.astype("float64")])
def test_a_wrong_input_is_an_error_and_the_engine_lives_on(engine_folder, feed, change):
    folder, weights = engine_folder
    engine = runner.load(folder, RunnerOptions(weights))
    with pytest.raises(EngineError, match="image"):
        engine({"image": change(feed["image"])})
    with pytest.raises(EngineError):
        engine({})
    assert np.isfinite(engine(feed)["logits"]).all()


def test_a_broken_model_is_an_error(engine_folder, tmp_path):
    own = shutil.copytree(engine_folder[0], tmp_path / "own")
    (own / runner.MODEL).write_text("<net>")
    with pytest.raises(EngineError, match="OpenVINO cannot load"):
        runner.load(own, RunnerOptions(engine_folder[1]))


def test_engines_that_share_weights_read_them_once(motley_bundle, digested):
    with elastiq.open(motley_bundle) as bundle:
        for engine in bundle.manifest.engines:
            if engine.backend == "openvino":
                bundle.engine(engine.key)
    assert len(digested) == len(set(digested)) > 0


@pytest.fixture
def parts(motley_bundle, monkeypatch):
    """The folders of two engines over the same weights that are worth sharing, and a way to open
    both as a new process would."""
    monkeypatch.setattr(runner, "WORTH", 0)
    with elastiq.open(motley_bundle) as bundle:
        records = {record.key: record.folder for record in bundle.manifest.engines}
    folders = [motley_bundle / records[key] for key in PARTS]
    options = RunnerOptions(motley_bundle / "weights", share=True)

    def opened():
        runner._kin.cache_clear()
        return [runner.load(folder, options) for folder in folders]

    yield folders, opened
    errands().settle()
    runner._kin.cache_clear()


def answers(engines, feed):
    return [engine(feed)["logits"].tobytes() for engine in engines]


def test_large_engines_over_the_same_weights_become_one_and_answer_as_before(parts, feed):
    _, opened = parts
    first = opened()
    alone = answers(first, feed)
    assert [engine.seat for engine in first] == [None, None]
    errands().settle()
    assert [engine.seat.place for engine in first] == [0, 1]
    assert first[0]._compiled is first[1]._compiled
    for _ in range(3):
        assert answers(first, feed) == alone

    again = opened()  # now the second finds it, and the first goes on with it
    assert [engine.seat.place for engine in again] == [0, 1]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: answers(again, feed), range(40)))
    assert found == [alone] * 40


def test_an_engine_that_is_opened_alone_carries_no_others(parts, engine_folder):
    folders, opened = parts
    opened()
    errands().settle()
    runner._kin.cache_clear()
    assert runner.load(folders[1], RunnerOptions(engine_folder[1], share=True)).seat is None


def test_a_closed_engine_goes_on_with_nothing(parts, feed):
    _, opened = parts
    engines = opened()
    engines[0].close()
    errands().settle()
    assert engines[0].seat is None and engines[1].seat is None
    with pytest.raises(EngineError, match="closed"):
        engines[0](feed)
    assert np.isfinite(engines[1](feed)["logits"]).all()


@pytest.mark.parametrize("what", ["", "-constants"])
def test_a_damaged_joint_is_made_again(parts, feed, what):
    _, opened = parts
    alone = answers(opened(), feed)
    errands().settle()
    (kept,) = (
        path
        for path in cache.folder().glob(f"openvino-joint-*{what}")
        if path.name.endswith("-constants") is bool(what)
    )
    kept.write_bytes(b"x" + kept.read_bytes()[1:])
    engines = opened()
    assert answers(engines, feed) == alone
    errands().settle()
    assert answers(engines, feed) == alone
    assert [engine.seat.place for engine in engines] == [0, 1]


def reversed_join(runtime, models):
    return join(runtime, models[::-1])


def failing_join(runtime, models):
    raise RuntimeError("no branch takes this")


@pytest.mark.parametrize("tried", [reversed_join, failing_join])
def test_engines_that_cannot_be_one_or_would_answer_otherwise_stay_alone(
    parts, engine_folder, feed, monkeypatch, tried
):
    folders, opened = parts
    alone = answers(opened(), feed)
    errands().settle()
    shutil.rmtree(cache.folder())
    monkeypatch.setattr(jointmodel, "join", tried)
    runner._unite(1, engine_folder[1], *folders)
    engines = opened()
    errands().settle()
    assert [engine.seat for engine in engines] == [None, None]
    assert {kin.find(engine.key).joint for engine in engines} == {kin.ALONE}
    assert answers(engines, feed) == alone


def test_int8_and_small_engines_stay_alone(parts, engine_folder, monkeypatch):
    folders, _ = parts
    options = RunnerOptions(engine_folder[1], share=True)
    assert runner.Shipped(folders[0], options).gains
    assert not runner.Shipped(engine_folder[0], options).gains
    assert not runner.Shipped(folders[0], RunnerOptions(engine_folder[1])).gains
    monkeypatch.setattr(runner, "WORTH", 16 << 20)
    assert not runner.Shipped(folders[0], options).gains
