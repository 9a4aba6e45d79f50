"""Which tile a matrix product is fastest by on this machine, or whether the library is.

What was measured is noted line by line in a file: who was killed goes on behind the last. Each tile
is measured in turns with the library, over weights that come from memory as an engine's do, and it
is their ratio that is kept: another hour of the machine's changes both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elastiq.journal import Journal
from targets.kernels import Product, Tile, kernel, tiles

FILE = "ratios.jsonl"
PORTION = 4  # tiles that are measured together
TURNS = 7
BEYOND_CACHE = 64 * 2**20  # bytes of weights that take turns, as those of layers do
COPIES = 16  # of them at most
FASTER = 0.97  # of the library's time: nearer is noise
Run = Callable[[int], object]


def measure(product: Product, target: Any, folder: Path) -> bool:
    """Measure a portion of the tiles that are left of a product; whether those were the last."""
    with Journal(folder / FILE) as journal:
        known = dict(journal.notes)
        left = [tile for tile in tiles(product) if str(tile) not in known]
        for tile, ratio in _ratios(product, left[:PORTION], target).items():
            journal.note([str(tile), ratio])
    return len(left) <= PORTION


def fastest(folder: Path) -> Tile | None:
    """The fastest tile of the product that was measured there; None: the library is faster."""
    found = dict(map(json.loads, (folder / FILE).read_text().splitlines()))
    best = min(found, key=found.__getitem__)
    return Tile.read(best) if found[best] < FASTER else None


def _ratios(product: Product, portion: Sequence[Tile], target: Any) -> dict[Tile, float]:
    """The share of the library's time that each tile takes."""
    random = np.random.default_rng(0)
    size = 4 * product.depth * product.columns
    copies = max(1, min(COPIES, BEYOND_CACHE // size))
    a = random.standard_normal((product.rows, product.depth), np.float32)
    weights = random.standard_normal((copies, product.depth, product.columns), np.float32)
    runs = {"library": _library(a, weights)}
    runs |= {str(tile): _tiled(product, tile, target, a, weights) for tile in portion}
    seconds = _in_turns(runs)
    return {tile: round(seconds[str(tile)] / seconds["library"], 4) for tile in portion}


def _library(a: np.ndarray, weights: np.ndarray) -> Run:
    out = np.empty((len(a), weights.shape[2]), np.float32)
    return lambda turn: np.matmul(a, weights[turn % len(weights)], out=out)


def _tiled(product: Product, tile: Tile, target: Any, a: np.ndarray, weights: np.ndarray) -> Run:
    import tvm

    built = tvm.compile(
        tvm.IRModule({"main": kernel(product, tile).with_attr("global_symbol", "main")}), target
    )
    function = built.jit()["main"]
    packed = weights.reshape(len(weights), product.depth, -1, tile.columns).transpose(0, 2, 1, 3)
    given = [tvm.runtime.tensor(np.ascontiguousarray(each)) for each in packed]
    left, out = tvm.runtime.tensor(a), tvm.runtime.empty((product.rows, product.columns), "float32")
    return lambda turn: function(left, given[turn % len(given)], out)


def _in_turns(runs: Mapping[str, Run]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(turn)
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(taken[1:])) for name, taken in times.items()}
