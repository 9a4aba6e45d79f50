"""TVM's libraries on the device: what was built for another is refused in words."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import pytest

import elastiq
from elastiq.errors import EngineError
from elastiq.protocols import RunnerOptions

pytest.importorskip("tvm")

from elastiq.runners import tvm as runner

KEY = "queries=8/main/tvm/fp32"


@pytest.fixture(scope="module")
def engine_folder(motley_bundle):
    with elastiq.open(motley_bundle) as bundle:
        (record,) = (e for e in bundle.manifest.engines if e.key == KEY)
    return motley_bundle / record.folder, motley_bundle / "weights"


@pytest.fixture
def feed(motley_bundle):
    with elastiq.open(motley_bundle) as bundle:
        return bundle.samples().input(0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "riscv64"}, "it is for riscv64"),
        ({"version": "0.1"}, "Install apache-tvm==0.1"),
        ({"flags": ["sse9"]}, "it uses sse9, which this CPU has not"),
        ({"gpu": "sm_87"}, "GPU"),
        ({"library": "../../elsewhere.so"}, "elsewhere"),
    ],
)
def test_an_engine_for_something_else_is_refused(engine_folder, tmp_path, change, said):
    folder, weights = engine_folder
    own = shutil.copytree(folder, tmp_path / "own")
    layout = json.loads((own / runner.LAYOUT).read_text())
    (own / runner.LAYOUT).write_text(json.dumps(layout | change))
    with pytest.raises(elastiq.errors.ElastiqError, match=said):
        runner.load(own, RunnerOptions(weights))


def test_two_engines_at_one_path_are_not_mistaken_for_each_other(engine_folder, feed, tmp_path):
    """The system hands out the library it has loaded from a path, whatever lies there by now."""
    folder, weights = engine_folder
    own = shutil.copytree(folder, tmp_path / "own")
    first = runner.load(own, RunnerOptions(weights))
    answer = first(feed)["logits"]
    shutil.rmtree(own)
    shutil.copytree(folder.parent.parent.parent / "queries=2" / "main" / "fp32", own)
    other = runner.load(own, RunnerOptions(weights))(feed)["logits"]
    assert np.abs(other - answer).max() > 1e-3
    np.testing.assert_array_equal(first(feed)["logits"], answer)


@pytest.mark.parametrize("change", [lambda x: x[..., :3], lambda x: x.astype("float64")])
def test_a_wrong_input_is_an_error_and_the_engine_lives_on(engine_folder, feed, change):
    engine = runner.load(engine_folder[0], RunnerOptions(engine_folder[1]))
    with pytest.raises(EngineError, match="image"):
        engine({"image": change(feed["image"])})
    with pytest.raises(EngineError):
        engine({})
    assert np.isfinite(engine(feed)["logits"]).all()


def test_engines_have_the_weights_in_common_that_are_the_same(motley_bundle, feed):
    weights = motley_bundle / "weights"
    with elastiq.open(motley_bundle) as bundle:
        records = {record.key: motley_bundle / record.folder for record in bundle.manifest.engines}
    folders = [records[f"queries={queries}/main/tvm/fp32"] for queries in (2, 8)]
    alone = [runner.load(folder, RunnerOptions(weights)) for folder in folders]
    answers = [engine(feed)["logits"] for engine in alone]
    assert not runner._known
    engines = [runner.load(folder, RunnerOptions(weights, share=True)) for folder in folders]
    for engine, expected in zip(engines, answers, strict=True):
        np.testing.assert_array_equal(engine(feed)["logits"], expected)
    first, second = (set(map(id, engine._kept)) for engine in engines)
    assert len(first & second) > len(first) // 2
    for engine in engines:
        engine.close()
    gc.collect()
    assert not runner._known
