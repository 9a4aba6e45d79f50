"""Which digit occurs most often? Cluttered canvases made from real handwritten digits.

The 1,797 scans of 8x8 pixels that come with scikit-learn are split once into training and test
digits. A canvas is a jittered 3x3 grid of slots, 64x64 pixels, that holds six to nine digits, each
scaled, rotated, sheared and shifted: three of the class that is the label, at most two of any
other. So nearly every digit must be read. Between them lie fragments of digits and strokes, over
uneven, noisy paper. Pixels are float32 from 0 (paper) to 1 (ink).
"""

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

CLASSES = 10
SIDE = 64
SLOTS = 9
EMPTY = CLASSES  # what stands in a slot that holds no digit

_TEST_DIGITS = 500
_WINDOW = 28  # pixels drawn around a slot; windows overlap, as the slots are 18 pixels apart
_STEP = (SIDE - _WINDOW) // 2
_COUNTS = (0, 0, 0, 1, 1, 2, 3, 2, 4)  # the first n say which of the drawn classes fill n slots


class Batch(NamedTuple):
    """Canvases, their labels, and what stands in each slot (for an auxiliary loss only)."""

    image: Tensor  # [n, 1, 64, 64] float32 in 0..1
    label: Tensor  # [n] the class that occurs most often
    slots: Tensor  # [n, 9] the class in each slot, or EMPTY


class Digits(NamedTuple):
    """Scans of single digits, sorted by class; class c begins at `starts[c]`."""

    scans: Tensor  # [n, 8, 8] float32 in 0..1
    starts: np.ndarray
    sizes: np.ndarray


@cache
def split(part: str) -> np.ndarray:
    """The indices into scikit-learn's digits of `train` or `test`; no index is in both."""
    order = np.random.default_rng(0).permutation(len(load_digits().target))
    return {"test": order[:_TEST_DIGITS], "train": order[_TEST_DIGITS:]}[part]


@cache
def digits(part: str) -> Digits:
    """The digits of `train` or `test`."""
    images, target = load_digits(return_X_y=True)
    index = split(part)
    index = index[np.argsort(target[index], kind="stable")]
    scans = torch.from_numpy(images[index].reshape(-1, 8, 8).astype(np.float32) / 16)
    sizes = np.bincount(target[index], minlength=CLASSES)
    return Digits(scans, np.cumsum(sizes) - sizes, sizes)


def canvases(part: str, n: int, rng: np.random.Generator) -> Batch:
    """`n` new canvases from the digits of `part`."""
    bank = digits(part)
    label, slots = _arrange(n, rng)
    drawn = np.where(slots == EMPTY, 0, slots)
    ink = np.where(slots == EMPTY, 0, rng.uniform(0.5, 1, slots.shape))
    figures = _draw(_scans(bank, drawn, rng), ink, rng, size=(14, 21), turn=0.3, shift=3)
    clutter = _draw(_distractors(bank, n, rng), _sparse(n, rng), rng, (7, 15), np.pi, 9)
    canvas = _paper(n, rng)
    for slot in range(SLOTS):
        y, x = (slot // 3) * _STEP, (slot % 3) * _STEP
        window = canvas[:, y : y + _WINDOW, x : x + _WINDOW]
        torch.maximum(window, clutter[:, slot], out=window)
        torch.maximum(window, figures[:, slot], out=window)
    canvas += 0.05 * torch.from_numpy(rng.standard_normal(canvas.shape, dtype=np.float32))
    return Batch(canvas.clamp_(0, 1)[:, None], torch.from_numpy(label), torch.from_numpy(slots))


def test_set(n: int = 4000) -> Batch:
    """The fixed test canvases, from test digits only; a smaller `n` gives the first of them."""
    rng = np.random.default_rng(2)
    chunks = [canvases("test", 500, rng) for _ in range(-(-n // 500))]
    return Batch(*(torch.cat(parts)[:n] for parts in zip(*chunks, strict=True)))


class Canvases(IterableDataset[Batch]):
    """Endless batches of new training canvases, the same ones for the same seed."""

    def __init__(self, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng((1, self.seed))
        while True:
            yield canvases("train", self.batch, rng)


def slot_places() -> Tensor:
    """The centres of the slots in the unit square, row by row."""
    line = (torch.arange(3) * _STEP + _WINDOW / 2) / SIDE
    return torch.cartesian_prod(line, line)


def _arrange(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The label of each canvas and the class, or EMPTY, of each of its slots."""
    classes = rng.permuted(np.tile(np.arange(CLASSES), (n, 1)), axis=1)
    slots = classes[:, list(_COUNTS)]
    slots[np.arange(SLOTS) >= rng.integers(6, SLOTS + 1, (n, 1))] = EMPTY
    return classes[:, 0], rng.permuted(slots, axis=1)


def _scans(bank: Digits, classes: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A random scan of each class: [*classes.shape, 8, 8]."""
    pick = rng.integers(0, bank.sizes[classes])
    return bank.scans[torch.from_numpy(bank.starts[classes] + pick)]


def _distractors(bank: Digits, n: int, rng: np.random.Generator) -> Tensor:
    """For each slot half a digit, or a straight stroke."""
    scans = _scans(bank, rng.integers(0, CLASSES, (n, SLOTS)), rng)
    scans[..., 4:] = 0
    stroke = torch.zeros(8, 8)
    stroke[1:7, 3] = 1
    return torch.where(torch.from_numpy(rng.random((n, SLOTS, 1, 1)) < 0.4), stroke, scans)


def _sparse(n: int, rng: np.random.Generator) -> np.ndarray:
    """How dark each distractor is; about two in five slots have none."""
    return rng.uniform(0.3, 0.8, (n, SLOTS)) * (rng.random((n, SLOTS)) < 0.6)


def _draw(
    scans: Tensor,
    ink: np.ndarray,
    rng: np.random.Generator,
    size: tuple[float, float],
    turn: float,
    shift: float,
) -> Tensor:
    """Each scan in a window of its own, `size` pixels high, turned and shifted at random."""
    shape = scans.shape[:2]
    scale = _WINDOW / rng.uniform(*size, shape)
    wide, angle = rng.uniform(0.85, 1.2, shape), rng.uniform(-turn, turn, shape)
    shear = rng.uniform(-0.2, 0.2, shape)
    dx, dy = rng.uniform(-shift, shift, (2, *shape)) * 2 / _WINDOW
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    # affine_grid wants the inverse map, from window to scan, both with coordinates in -1..1.
    a, b, c, d = cos * wide, (sin + shear * cos) * wide, -sin, cos - shear * sin
    inverse = np.stack([a, b, -(a * dx + b * dy), c, d, -(c * dx + d * dy)], -1)
    theta = torch.from_numpy(inverse.astype(np.float32)).view(-1, 2, 3)
    grid = F.affine_grid(theta, [len(theta), 1, _WINDOW, _WINDOW], align_corners=False)
    drawn = F.grid_sample(scans.reshape(-1, 1, 8, 8), grid, align_corners=False)
    dark = torch.from_numpy(ink.astype(np.float32))
    return drawn.view(*shape, _WINDOW, _WINDOW) * dark[..., None, None]


def _paper(n: int, rng: np.random.Generator) -> Tensor:
    """Unevenly lit paper: a coarse random field, smoothed up to the canvas."""
    coarse = torch.from_numpy(rng.uniform(0, 0.3, (n, 1, 4, 4)).astype(np.float32))
    return F.interpolate(coarse, SIDE, mode="bilinear", align_corners=True)[:, 0].contiguous()
