"""Which digit occurs most often? Cluttered canvases made from real handwritten digits.

The 1,797 scans of 8x8 pixels that come with scikit-learn are split once into training and test
digits. A canvas is a jittered 3x3 grid of slots, 64x64 pixels, that holds six to nine digits, each
scaled, rotated, sheared and shifted: three of the class that is the label, at most two of any
other. So nearly every digit must be read. Between them lie fragments of digits and strokes, over
uneven, noisy paper. Pixels are float32 from 0 (paper) to 1 (ink).
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import IterableDataset

SCANS = "datasets/data/digits.csv.gz"  # in scikit-learn
CLASSES = 10
SIDE = 64
SLOTS = 9
EMPTY = CLASSES  # what stands in a slot that holds no digit

_TEST_DIGITS = 500
WINDOW = 28  # pixels drawn around a slot; windows overlap, as the slots are 18 pixels apart
_STEP = (SIDE - WINDOW) // 2
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
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """All scans, and what they show: what scikit-learn's `load_digits` answers, but scikit-learn
    takes a second to be imported, which every build would wait for."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install 'elastiq[zoo]'")
    rows = np.loadtxt(Path(package.origin).parent / SCANS, delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(int)


@cache
def split(part: str) -> np.ndarray:
    """The indices into scikit-learn's digits of `train` or `test`; no index is in both."""
    order = np.random.default_rng(0).permutation(len(_scans()[1]))
    return {"test": order[:_TEST_DIGITS], "train": order[_TEST_DIGITS:]}[part]


@cache
def digits(part: str) -> Digits:
    """The digits of `train` or `test`."""
    images, target = _scans()
    index = split(part)
    index = index[np.argsort(target[index], kind="stable")]
    scans = torch.from_numpy(images[index].reshape(-1, 8, 8).astype(np.float32) / 16)
    sizes = np.bincount(target[index], minlength=CLASSES)
    return Digits(scans, np.cumsum(sizes) - sizes, sizes)


class Draw(Protocol):
    """Makes `n` new canvases from the digits of `part`."""

    def __call__(self, part: str, n: int, rng: np.random.Generator) -> Batch: ...


def canvases(part: str, n: int, rng: np.random.Generator) -> Batch:
    """`n` new canvases from the digits of `part`."""
    label, slots = _arrange(n, rng)
    image = render(part, slots, SIDE, rng)
    return Batch(image, torch.from_numpy(label), torch.from_numpy(slots))


def render(part: str, slots: np.ndarray, side: int, rng: np.random.Generator) -> Tensor:
    """Canvases of `side` pixels that hold a square of `slots`, given as [n, slots] classes."""
    bank = digits(part)
    n, count = slots.shape
    across = round(count**0.5)
    step = (side - WINDOW) // (across - 1)
    drawn = np.where(slots == EMPTY, 0, slots)
    ink = np.where(slots == EMPTY, 0, rng.uniform(0.5, 1, slots.shape))
    figures = draw(scans(bank, drawn, rng), ink, rng, size=(14, 21), turn=0.3, shift=3)
    clutter = draw(
        distractors(bank, (n, count), rng), sparse((n, count), rng), rng, (7, 15), np.pi, 9
    )
    canvas = paper(n, side, rng)
    for slot in range(count):
        y, x = (slot // across) * step, (slot % across) * step
        window = canvas[:, y : y + WINDOW, x : x + WINDOW]
        torch.maximum(window, clutter[:, slot], out=window)
        torch.maximum(window, figures[:, slot], out=window)
    return noisy(canvas, rng)


def test_set(n: int = 4000) -> Batch:
    """The fixed test canvases, from test digits only; a smaller `n` gives the first of them."""
    return fixed(canvases, "test", n, seed=2)


@lru_cache(maxsize=1)
def fixed(draw: Draw, part: str, n: int, seed: int) -> Batch:
    """The same `n` canvases at each call, and the first of them for a smaller `n`.

    They are kept, for drawing takes seconds, and every engine of a build is evaluated on them.
    """
    rng = np.random.default_rng(seed)
    chunks = [draw(part, 500, rng) for _ in range(-(-n // 500))]
    return Batch(*(torch.cat(parts)[:n] for parts in zip(*chunks, strict=True)))


class Canvases(IterableDataset[Batch]):
    """Endless batches of new training canvases, the same ones for the same seed."""

    def __init__(self, batch: int, seed: int, draw: Draw = canvases) -> None:
        self.batch, self.seed, self.draw = batch, seed, draw

    def __iter__(self) -> Iterator[Batch]:
        rng = np.random.default_rng((1, self.seed))
        while True:
            yield self.draw("train", self.batch, rng)


def slot_places() -> Tensor:
    """The centres of the slots in the unit square, row by row."""
    line = (torch.arange(3) * _STEP + WINDOW / 2) / SIDE
    return torch.cartesian_prod(line, line)


def _arrange(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The label of each canvas and the class, or EMPTY, of each of its slots."""
    classes = rng.permuted(np.tile(np.arange(CLASSES), (n, 1)), axis=1)
    slots = classes[:, list(_COUNTS)]
    slots[np.arange(SLOTS) >= rng.integers(6, SLOTS + 1, (n, 1))] = EMPTY
    return classes[:, 0], rng.permuted(slots, axis=1)


def scans(bank: Digits, classes: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A random scan of each class: [*classes.shape, 8, 8]."""
    pick = rng.integers(0, bank.sizes[classes])
    return bank.scans[torch.from_numpy(bank.starts[classes] + pick)]


def distractors(bank: Digits, shape: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """Half a digit, or a straight stroke: [*shape, 8, 8]."""
    halves = scans(bank, rng.integers(0, CLASSES, shape), rng)
    halves[..., 4:] = 0
    stroke = torch.zeros(8, 8)
    stroke[1:7, 3] = 1
    return torch.where(torch.from_numpy(rng.random((*shape, 1, 1)) < 0.4), stroke, halves)


def sparse(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """How dark each distractor is; about two in five are not there."""
    return rng.uniform(0.3, 0.8, shape) * (rng.random(shape) < 0.6)


def draw(
    scans: Tensor,
    ink: np.ndarray,
    rng: np.random.Generator,
    size: tuple[float, float],
    turn: float,
    shift: float,
    window: int = WINDOW,
) -> Tensor:
    """Each scan in a window of its own, `size` pixels high, turned and shifted at random."""
    shape = scans.shape[:2]
    scale = window / rng.uniform(*size, shape)
    wide, angle = rng.uniform(0.85, 1.2, shape), rng.uniform(-turn, turn, shape)
    shear = rng.uniform(-0.2, 0.2, shape)
    dx, dy = rng.uniform(-shift, shift, (2, *shape)) * 2 / window
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    # affine_grid wants the inverse map, from window to scan, both with coordinates in -1..1.
    a, b, c, d = cos * wide, (sin + shear * cos) * wide, -sin, cos - shear * sin
    inverse = np.stack([a, b, -(a * dx + b * dy), c, d, -(c * dx + d * dy)], -1)
    theta = torch.from_numpy(inverse.astype(np.float32)).view(-1, 2, 3)
    grid = F.affine_grid(theta, [len(theta), 1, window, window], align_corners=False)
    drawn = F.grid_sample(scans.reshape(-1, 1, 8, 8), grid, align_corners=False)
    dark = torch.from_numpy(ink.astype(np.float32))
    return drawn.view(*shape, window, window) * dark[..., None, None]


def paper(n: int, side: int, rng: np.random.Generator) -> Tensor:
    """Unevenly lit paper: a coarse random field, smoothed up to the canvas."""
    coarse = torch.from_numpy(rng.uniform(0, 0.3, (n, 1, 4, 4)).astype(np.float32))
    return F.interpolate(coarse, side, mode="bilinear", align_corners=True)[:, 0].contiguous()


def noisy(canvas: Tensor, rng: np.random.Generator) -> Tensor:
    """The canvas with grain, as one channel."""
    canvas += 0.05 * torch.from_numpy(rng.standard_normal(canvas.shape, dtype=np.float32))
    return canvas.clamp_(0, 1)[:, None]
