"""Which digit is it? One digit anywhere on a canvas of 32x32 pixels, among clutter.

Drawn like the canvases of `zoo.digits`, from the same scans: the digit is the only whole one, the
rest are fragments of others and strokes. Some canvases are nearly bare, some crowded.
"""

import numpy as np
import torch

from zoo import digits
from zoo.digits import Batch

SIDE = 32
CLASSES = digits.CLASSES
_CLUTTER = 4  # at most


def canvases(part: str, n: int, rng: np.random.Generator) -> Batch:
    """`n` new canvases from the digits of `part`."""
    bank = digits.digits(part)
    label = rng.integers(0, CLASSES, (n, 1))
    ink = rng.uniform(0.5, 1, (n, 1))
    figure = digits.draw(digits.scans(bank, label, rng), ink, rng, (14, 21), 0.3, 6, SIDE)
    shape = (n, _CLUTTER)
    dark = digits.sparse(shape, rng)
    others = digits.distractors(bank, shape, rng)
    clutter = digits.draw(others, dark, rng, (7, 15), np.pi, 14, SIDE)
    canvas = torch.cat([digits.paper(n, SIDE, rng)[:, None], clutter, figure], 1).amax(1)
    slots = torch.from_numpy(label)
    return Batch(digits.noisy(canvas, rng), slots[:, 0], slots)


def test_set(n: int = 4000) -> Batch:
    """The fixed test canvases, from test digits only."""
    return digits.fixed(canvases, n)
