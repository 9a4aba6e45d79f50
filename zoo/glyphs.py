"""Which digit is it? One digit anywhere on a canvas of 36x36 pixels, among clutter.

Drawn like the canvases of `zoo.digits`, from the same scans: the digit is the only whole one, the
rest are fragments of others and strokes. Some canvases are nearly bare, some crowded.
"""

import numpy as np
import torch
from torch.nn import functional as F

from zoo import digits
from zoo.digits import Batch

SIDE = 36
CLASSES = digits.CLASSES
CELLS = 6  # a side, of which it is known whether they hold a part of the digit
_CLUTTER = 4  # at most


def canvases(part: str, n: int, rng: np.random.Generator) -> Batch:
    """`n` new canvases from the digits of `part`; the slots are the cells, row by row."""
    bank = digits.digits(part)
    label = rng.integers(0, CLASSES, (n, 1))
    ink = rng.uniform(0.5, 1, (n, 1))
    figure = digits.draw(digits.scans(bank, label, rng), ink, rng, (14, 21), 0.3, 7, SIDE)
    shape = (n, _CLUTTER)
    dark = digits.sparse(shape, rng)
    others = digits.distractors(bank, shape, rng)
    clutter = digits.draw(others, dark, rng, (7, 15), np.pi, 16, SIDE)
    canvas = torch.cat([digits.paper(n, SIDE, rng)[:, None], clutter, figure], 1).amax(1)
    inked = F.max_pool2d(figure, SIDE // CELLS).flatten(1) > 0.25
    there = torch.where(inked, torch.from_numpy(label), digits.EMPTY)
    return Batch(digits.noisy(canvas, rng), torch.from_numpy(label[:, 0]), there)


def test_set(n: int = 4000) -> Batch:
    """The fixed test canvases, from test digits only."""
    return digits.fixed(canvases, "test", n, seed=2)
