"""Which digit stands where? Four slots on a canvas of 48x48 pixels, all of them to be read.

Drawn like the canvases of `zoo.digits`, from the same scans. Each slot holds any of the ten digits
or nothing, so the answer is four labels at once.
"""

import numpy as np
import torch
from torch import Tensor

from zoo import digits
from zoo.digits import Batch

SIDE = 48
SLOTS = 4
CLASSES = digits.CLASSES + 1  # a slot may be empty


def canvases(part: str, n: int, rng: np.random.Generator) -> Batch:
    """`n` new canvases from the digits of `part`; the labels are the slots."""
    slots = rng.integers(0, CLASSES, (n, SLOTS))
    image = digits.render(part, slots, SIDE, rng)
    return Batch(image, torch.from_numpy(slots), torch.from_numpy(slots))


def test_set(n: int = 4000) -> Batch:
    """The fixed test canvases, from test digits only."""
    return digits.fixed(canvases, "test", n, seed=2)


def slot_of_tokens(tokens: int) -> Tensor:
    """The slot that each of a square of tokens lies in, row by row."""
    half = torch.arange(round(tokens**0.5)) * 2 // round(tokens**0.5)
    return (2 * half[:, None] + half).flatten()
