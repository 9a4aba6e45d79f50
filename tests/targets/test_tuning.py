"""TVM's own products: right whatever the tile, and tuning that goes on where it was stopped."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest

from compiler.passes.trace import trace
from compiler.progress import silent
from elastiq.errors import ElastiqError
from targets import kernels, tuning
from targets.backends import backend, tuner
from targets.kernels import Product, Tile
from tests.conftest import TINY

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

SMALL = Product(8, 32, 64)
SETTINGS = backend("tvm").Settings()


def test_tiles_fit_their_product():
    for product in (SMALL, Product(196, 768, 512), Product(7, 33, 24)):
        found = kernels.tiles(product)
        assert found
        assert len(set(found)) == len(found)
        for tile in found:
            assert product.rows % tile.rows == product.columns % tile.columns == 0
            assert product.depth % tile.unrolled == 0
    assert not kernels.tiles(Product(8, 32, 10))


def test_what_was_chosen_is_read_as_it_was_written():
    chosen = {SMALL: Tile(4, 16, 1), Product(2, 32, 32): Tile(2, 8, 4)}
    assert kernels.parse(kernels.written(chosen)) == chosen
    assert kernels.parse("") == {}


@pytest.mark.parametrize(
    ("text", "said"), [("8x32", "is no tile"), ("8x32x64=3x16x1", "does not fit")]
)
def test_a_tile_that_cannot_be_is_refused(text, said):
    with pytest.raises(ElastiqError, match=said):
        backend("tvm").Settings(products=text)


@pytest.mark.parametrize("tile", kernels.tiles(SMALL)[::3], ids=str)
@pytest.mark.parametrize("alike", [(), (3,)])
def test_a_kernel_is_numpys_product(tile, alike):
    from elastiq.runners.tvm import load_runtime

    tvm = load_runtime()
    module = tvm.IRModule(
        {"main": kernels.kernel(SMALL, tile, alike).with_attr("global_symbol", "main")}
    )
    built = tvm.compile(module, tvm.target.Target({"kind": "llvm"})).jit()
    random = np.random.default_rng(0)
    a = random.standard_normal((*alike, SMALL.rows, SMALL.depth), np.float32)
    b = random.standard_normal((SMALL.depth, SMALL.columns), np.float32)
    packed = b.reshape(SMALL.depth, -1, tile.columns).transpose(1, 0, 2)
    out = tvm.runtime.empty((*alike, SMALL.rows, SMALL.columns), "float32")
    built["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(np.ascontiguousarray(packed)), out)
    np.testing.assert_allclose(out.numpy(), a @ b, rtol=1e-4, atol=1e-4)


def measured(folder):
    path = folder / tuning.FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_it_is_noted_portion_by_portion_until_nothing_is_left(tmp_path):
    chosen, counts, done = tuner("tvm"), [], False
    while not done:
        done = chosen.tune(str(SMALL), SETTINGS, 1, tmp_path)
        counts.append(len(measured(tmp_path)))
    assert counts[0] == tuning.PORTION
    assert counts == sorted(set(counts))
    assert {tile for tile, _ in measured(tmp_path)} == set(map(str, kernels.tiles(SMALL)))
    assert counts[-1] == len(kernels.tiles(SMALL))


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    whole = json.dumps(["4x16x1", 0.5])
    (tmp_path / tuning.FILE).write_text(f"{whole}\n{whole[:8]}")
    tuner("tvm").tune(str(SMALL), SETTINGS, 1, tmp_path)
    assert measured(tmp_path)[0] == ["4x16x1", 0.5]
    assert len(measured(tmp_path)) == 1 + tuning.PORTION


@pytest.mark.parametrize(
    ("ratios", "products"),
    [([["4x16x1", 0.8], ["2x16x1", 0.7]], "8x32x64=2x16x1"), ([["4x16x1", 0.99]], "")],
)
def test_only_what_beats_the_library_is_chosen(tmp_path, ratios, products):
    (tmp_path / tuning.FILE).write_text("\n".join(map(json.dumps, ratios)))
    assert tuner("tvm").tuned(SETTINGS, {str(SMALL): tmp_path}).products == products


@pytest.fixture(scope="session")
def build(elastiq):
    """Compiles the tiny model."""
    command = ("compile", TINY, "--backend", "tvm", "--precision", "fp32", "--json")
    return lambda store, *options, **how: elastiq(
        *command, *options, ELASTIQ_STORE=str(store), **how
    )


@pytest.fixture(scope="session")
def told(build):
    """What a build tells."""
    return lambda store, *options: json.loads(build(store, *options, check=0).stdout)


def entries(store):
    return {path.name: path for path in store.glob("entries/tuning-*")}


@pytest.fixture(scope="module")
def tuned(told, tmp_path_factory):
    """The store of a build of the tiny model that was tuned to its end, and what it told."""
    store = tmp_path_factory.mktemp("tuning")
    return store, told(store, "--tune", 10)


def test_its_engines_are_those_of_the_tiles_it_found(told, tuned):
    store, made = tuned
    found = {
        json.loads((entry / "entry.json").read_text())["inputs"]["task"]: entry
        for entry in entries(store).values()
    }
    assert found
    products = tuner("tvm").tuned(SETTINGS, found).products
    assert told(store, "--set", f"tvm.products={products}")["engines"] == made["engines"]


def test_nothing_is_measured_twice(told, tuned):
    store, made = tuned
    before = entries(store)
    again = told(store, "--tune", 0.001)
    assert entries(store) == before
    assert again["engines"] == made["engines"]


def test_another_cpu_starts_anew_and_what_is_out_of_time_is_the_librarys(told, tuned):
    store, _ = tuned
    before = entries(store)
    other = ("--set", "tvm.cpu=x86-64-v2", "--set", "tvm.flags=")
    hurried = told(store, "--tune", 1e-6, *other)
    assert entries(store) == before
    assert hurried["engines"] == told(store, *other)["engines"]


def test_points_share_what_they_need(tiny, store):
    """Two graphs of one shape are one task."""
    graphs = trace(tiny, tiny.points, store, silent())
    alone = [tuner("tvm").tasks([graph], SETTINGS) for graph in graphs]
    together = tuner("tvm").tasks(graphs, SETTINGS)
    assert set(together) == set().union(*alone)
    assert len(together) < sum(map(len, alone))


def test_a_killed_build_goes_on_where_it_was(build, told, tmp_path):
    def noted():
        return {path.parent.name: path for path in tmp_path.glob(f"*/tuning-*/{tuning.FILE}")}

    killed = build(
        tmp_path, "--tune", 10, until=lambda: any(map(os.path.getsize, noted().values()))
    )
    assert killed.returncode == -signal.SIGKILL
    before = {name: path.read_text().rpartition("\n")[0] for name, path in noted().items()}
    told(tmp_path, "--tune", 10)
    after = {name: path.read_text() for name, path in noted().items()}
    assert any(before.values())
    assert all(after[name].startswith(lines) for name, lines in before.items())
    for text in after.values():
        tiles = [json.loads(line)[0] for line in text.splitlines()]
        assert len(tiles) == len(set(tiles))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--backend", "onnxruntime"), "--tune is for tvm, and the backends of this build are"),
        (("--backend", "tvm", "-t", "cpu-arm64"), "this machine is no cpu-arm64"),
        (("--backend", "tvm", "--lab", "tcp://127.0.0.1:1"), "a lab's engines run on another"),
        (("--backend", "tvm", "--tune", "-1"), "must not be negative"),
    ],
)
def test_tuning_that_cannot_be_says_why(elastiq, options, said):
    done = elastiq("build", TINY, "--tune", 1, *options, check=2)
    assert said in done.stderr
