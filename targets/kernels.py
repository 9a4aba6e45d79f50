"""Matrix products that TVM writes itself: tiles that stay in registers, of packed weights.

A tile's `rows` x `columns` sums are kept in registers while it walks along the depth, in steps of
`unrolled`. The weights of a tile's columns lie beside each other, so that each step reads them in
order; they are packed once, when the engine is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elastiq.errors import ElastiqError

# What 16 registers of 8 or 32 of 4 floats may hold; the likeliest first.
ROWS = (4, 6, 5, 2, 8, 3, 7, 1)
COLUMNS = (16, 24, 8, 32)
UNROLLED = (1, 4)
SUMS = 128  # of a tile at most


@dataclass(frozen=True)
class Product:
    """The shape of a product: [rows, depth] times [depth, columns] of weights."""

    rows: int
    depth: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.depth}x{self.columns}"

    @classmethod
    def read(cls, text: str) -> Product:
        """The product that is written so."""
        return cls(*map(int, text.split("x")))

    def work(self) -> int:
        """How many multiplications it takes."""
        return self.rows * self.depth * self.columns


@dataclass(frozen=True)
class Tile:
    """How a product is cut."""

    rows: int
    columns: int
    unrolled: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}x{self.unrolled}"

    @classmethod
    def read(cls, text: str) -> Tile:
        """The tile that is written so."""
        return cls(*map(int, text.split("x")))


Tiles = Mapping[Product, Tile]


def tiles(product: Product) -> list[Tile]:
    """All that fit a product, the likeliest first."""
    found = [
        Tile(rows, columns, unrolled)
        for unrolled in UNROLLED
        for columns in COLUMNS
        for rows in ROWS
        if rows * columns <= SUMS and not product.rows % rows and not product.columns % columns
    ]
    return [tile for tile in found if not product.depth % tile.unrolled]


def parse(text: str) -> dict[Product, Tile]:
    """The tiles of products, each given as `64x512x2048=4x16x1`, with `+` between them."""
    found = {}
    for part in filter(None, text.split("+")):
        match = re.fullmatch(r"(\d+)x(\d+)x(\d+)=(\d+)x(\d+)x(\d+)", part.strip())
        if not match:
            raise ElastiqError(f"{part!r} is no tile of a product. Write it as 64x512x2048=4x16x1")
        sizes = [int(size) for size in match.groups()]
        product, tile = Product(*sizes[:3]), Tile(*sizes[3:])
        if tile not in tiles(product):
            raise ElastiqError(f"the tile {tile} does not fit the product {product}")
        found[product] = tile
    return found


def written(chosen: Tiles) -> str:
    """What `parse` reads."""
    return "+".join(f"{product}={tile}" for product, tile in sorted(chosen.items(), key=str))


def kernel(product: Product, tile: Tile, alike: tuple[int, ...] = ()) -> Any:
    """The function of a product, or of so many alike, of packed weights, in TVM's own language."""
    import tvm
    from tvm import te
    from tvm.s_tir import Schedule

    width = tile.columns
    a = te.placeholder((*alike, product.rows, product.depth), "float32", "a")
    b = te.placeholder((product.columns // width, product.depth, width), "float32", "b")
    k = te.reduce_axis((0, product.depth), "k")
    c = te.compute(
        (*alike, product.rows, product.columns),
        lambda *at: te.sum(a[(*at[:-1], k)] * b[at[-1] // width, k, at[-1] % width], axis=k),
        "c",
    )
    schedule = Schedule(tvm.IRModule({"main": te.create_prim_func([a, b, c])}))
    block = schedule.get_sblock("c")
    *_, i, j, k = schedule.get_loops(block)
    far_i, near_i = schedule.split(i, [None, tile.rows])
    far_j, near_j = schedule.split(j, [None, width])
    schedule.reorder(far_j, far_i, k, near_i, near_j)
    sums = schedule.cache_write(block, 0, "local")
    schedule.reverse_compute_at(sums, far_i)
    if tile.unrolled > 1:
        k, near_k = schedule.split(k, [None, tile.unrolled])
        schedule.unroll(near_k)
    schedule.vectorize(near_j)
    schedule.unroll(near_i)
    for part in (sums, schedule.decompose_reduction(block, k)):
        *_, row, column = schedule.get_loops(part)
        schedule.vectorize(column)
        schedule.unroll(row)
    opaque = 8  # to the pass that fuses what is around it
    return (
        schedule.mod["main"]
        .without_attr("global_symbol")
        .with_attr({"op_pattern": opaque, "tirx.is_scheduled": True})
    )
