"""A vision transformer that merges its tokens into M halfway, for M = 2, 4, 8, 16 or not at all.

Y = softmax(W X^T) X with M learnt queries W stands between two blocks; what follows costs as much
as M does (https://arxiv.org/abs/2202.12015). M is elastic here, which the paper's is not: W is
nested, and M is drawn anew at each training step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import family, quartets
from zoo.blocks import Block, ConvStem, PatchEmbedding
from zoo.contract import OneStage, trained, untrained
from zoo.digits import Batch
from zoo.family import Arrays, Predict

POINTS = (2, 4, 8, 16)


@dataclass(frozen=True)
class Size:
    """What determines the shape of every weight; `patch=None` stands for a convolution stem."""

    image: int = quartets.SIDE
    channels: int = 1
    patch: int | None = None
    dim: int = 64
    layers: int = 6
    heads: int = 4
    outputs: tuple[int, ...] = (quartets.SLOTS, quartets.CLASSES)
    merge_before: int = 3  # the block that the merger stands before

    @property
    def tokens(self) -> int:
        return (self.image // (self.patch or 6)) ** 2

    def shape(self, n: int) -> tuple[int, int, int, int]:
        """The shape of `n` images."""
        return n, self.channels, self.image, self.image


SMALL = Size()
REALISTIC = Size(224, 3, 16, 384, 12, 6, (1000,), 6)


class Merger(nn.Module):
    """As many tokens as are asked for, each a weighted mean of those that come in."""

    def __init__(self, dim: int, merged: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(merged, dim))

    def forward(self, x: Tensor, merged: int) -> Tensor:
        x = self.norm(x)
        scores = self.queries[:merged] @ x.transpose(1, 2)
        return (scores * x.shape[-1] ** -0.5).softmax(-1) @ x


class PatchMerger(nn.Module):
    """Image tokens through blocks, merged between two of them; mean, norm and head at the end."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed: nn.Module = (
            PatchEmbedding(size.channels, size.dim, size.image, size.patch)
            if size.patch
            else ConvStem(size.channels, size.dim, size.image, stride=3)
        )
        self.blocks = nn.Sequential(*(Block(size.dim, size.heads) for _ in range(size.layers)))
        self.merger = Merger(size.dim, max(POINTS))
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, int(np.prod(size.outputs)))

    def forward(self, image: Tensor, merged: int) -> Tensor:
        """The logits; where no fewer tokens are asked for than there are, none are merged."""
        return self.answer(self.tokens(image), merged)

    def tokens(self, image: Tensor) -> Tensor:
        """What the merger is given: [n, tokens, dim]."""
        return self.blocks[: self.size.merge_before](self.embed(image))

    def answer(self, x: Tensor, merged: int) -> Tensor:
        if merged < self.size.tokens:
            x = self.merger(x, merged)
        x = self.norm(self.blocks[self.size.merge_before :](x))
        return self.head(x.mean(1)).unflatten(1, self.size.outputs)


class Recipe:
    """What `zoo.train` needs to know: the modules to train and the loss of one step."""

    data = quartets
    steps = 4000
    batch = 64
    learning_rate = 2e-3

    def __init__(self, control: str = "") -> None:
        """The control is the dense transformer: never merged, and tested so."""
        self.model = PatchMerger(SMALL)
        self.reader = nn.Linear(SMALL.dim, quartets.CLASSES)
        self.trained = nn.ModuleList([self.model, self.reader])
        self.drawn = (SMALL.tokens,) if control else (4, 8, 16, SMALL.tokens)
        self.tested = self.drawn if control else (*POINTS, SMALL.tokens)

    def loss(self, batch: Batch, rng: np.random.Generator, progress: float) -> Tensor:
        """Besides the labels, what each token halfway says of the slot it lies in.

        Training only: a mean over all tokens says too little to each for reading to be learnt
        quickly from it.
        """
        tokens = self.model.tokens(batch.image)
        logits = self.model.answer(tokens, int(rng.choice(self.drawn)))
        there = batch.slots[:, quartets.slot_of_tokens(tokens.shape[1])]
        return F.cross_entropy(logits.flatten(0, 1), batch.label.flatten()) + F.cross_entropy(
            self.reader(tokens).flatten(0, 1), there.flatten()
        )

    def accuracy(self, test: Batch) -> dict[str, float]:
        """The share of slots read, at each number of merged tokens."""
        return {
            f"merged={merged}": round(
                np.concatenate(
                    [
                        family.right(self.model(part.image, merged), part.label)
                        for part in family.in_parts(test, 250)
                    ]
                ).mean(),
                4,
            )
            for merged in self.tested
        }


class ElasticPatchMerger(OneStage):
    """The network as Elastiq's model contract sees it."""

    name = "patchmerger"

    def points(self) -> list[dict[str, int]]:
        """The operating points, cheapest first; the last one merges nothing."""
        return [{"merged": merged} for merged in (*POINTS, self.network.size.tokens)]


class QuartetPatchMerger(ElasticPatchMerger):
    """The trained network that reads the four slots of a canvas."""

    def calibration(self) -> Iterator[Arrays]:
        """Canvases made from training digits, the same at each call."""
        for batch in family.training_canvases(quartets.canvases):
            yield {"image": batch.image.numpy()}

    def evaluate(self, predict: Predict) -> np.ndarray:
        """The share of slots that `predict` reads, for each canvas of the test set."""
        return family.scores(predict, quartets.test_set()).mean(1)


def model() -> QuartetPatchMerger:
    """The trained model: what `zoo.patchmerger:model` names."""
    return QuartetPatchMerger(trained(PatchMerger, SMALL, "patchmerger"))


def realistic() -> ElasticPatchMerger:
    """The size of a deployed vision transformer, untrained: for measuring speed, not accuracy."""
    return ElasticPatchMerger(untrained(PatchMerger, REALISTIC))
