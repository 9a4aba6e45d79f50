"""Which digit is it? One digit anywhere on a canvas, among clutter.

Drawn like the canvases of `zoo.digits`, from the same scans: the digit is the only whole one, the
rest are fragments of others and strokes. Some canvases are nearly bare, some crowded.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from zoo import digits
from zoo.digits import Batch

CLASSES = digits.CLASSES
CELL = 6  # pixels; of each cell of a canvas it is known whether it holds a part of the digit
_CLUTTER = 4  # at most


@dataclass(frozen=True)
class Glyphs:
    """Canvases of one size, with digits of some height, in pixels."""

    side: int
    height: tuple[int, int]
    shift: int  # from the middle, at most
    clutter: tuple[float, float] = (7, 14.7)  # how high a piece of it is

    def canvases(self, part: str, n: int, rng: np.random.Generator) -> Batch:
        """`n` new canvases from the digits of `part`; the slots are the cells, row by row."""
        bank, side = digits.digits(part), self.side
        label = rng.integers(0, CLASSES, (n, 1))
        ink = rng.uniform(0.5, 1, (n, 1))
        scans = digits.scans(bank, label, rng)
        figure = digits.draw(scans, ink, rng, self.height, 0.3, self.shift, side)
        shape = (n, _CLUTTER)
        dark = digits.sparse(shape, rng)
        others = digits.distractors(bank, shape, rng)
        clutter = digits.draw(others, dark, rng, self.clutter, np.pi, side / 2 - 2, side)
        canvas = torch.cat([digits.paper(n, side, rng)[:, None], clutter, figure], 1).amax(1)
        inked = F.max_pool2d(figure, CELL).flatten(1) > 0.25
        there = torch.where(inked, torch.from_numpy(label), digits.EMPTY)
        return Batch(digits.noisy(canvas, rng), torch.from_numpy(label[:, 0]), there)

    def test_set(self, n: int = 4000) -> Batch:
        """The fixed test canvases, from test digits only."""
        return digits.fixed(self.canvases, "test", n, seed=2)


WHOLE = Glyphs(side=36, height=(14, 21), shift=7)
PARTS = Glyphs(side=48, height=(26, 36), shift=5)  # to be seen in glimpses
