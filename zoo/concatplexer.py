"""A vision transformer that answers for N images in one pass, for N = 1, 2 or 4.

Each image is embedded and goes through the first block by itself; a convolution shortens it to one
Nth of its tokens; then the images stand one behind the other, each with a class token of its own,
and the other blocks see them as one sequence (https://arxiv.org/abs/2308.11199). The Image
Multiplexer that the paper argues against, a sum of keyed images, is the control.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import family
from zoo.contract import OneStage, ReadsGlyphs, trained, untrained
from zoo.digits import Batch
from zoo.glyphs import WHOLE
from zoo.vit import REALISTIC, SMALL, Size, ViT

IMAGES = (4, 2, 1)  # the cheapest for each image first
SHORTEN = {4: (2, 2), 2: (2, 1)}  # how many tokens, down and across, become one


class Multiplexer(nn.Module):
    """N images' tokens as one sequence that is hardly longer than one image's."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.index = nn.Parameter(0.02 * torch.randn(max(IMAGES), size.dim))
        self.shorten = nn.ModuleDict(
            {str(images): _mean_first(size.dim, stride) for images, stride in SHORTEN.items()}
        )

    def forward(self, patches: Tensor, images: int) -> Tensor:
        """[n * images, patches, dim] to [n, about as many, dim], each image marked by its index."""
        if images > 1:
            square = patches.transpose(1, 2).unflatten(2, (self.size.side, self.size.side))
            patches = self.shorten[str(images)](square).flatten(2).transpose(1, 2)
        return (patches.unflatten(0, (-1, images)) + self.index[:images, None]).flatten(1, 2)


class KeyedSum(nn.Module):
    """What the control does instead: the mean of the images, each multiplied by a fixed key."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.index = nn.Parameter(0.02 * torch.randn(max(IMAGES), size.dim))
        keys = torch.randn(max(IMAGES), size.dim)
        keys[0] = 1  # so that one image alone goes through as it is
        self.register_buffer("keys", keys)

    def forward(self, patches: Tensor, images: int) -> Tensor:
        return (patches.unflatten(0, (-1, images)) * self.keys[:images, None]).mean(1)


def _mean_first(dim: int, stride: tuple[int, int]) -> nn.Conv2d:
    """A convolution that begins as the mean of what it joins, which the blocks already know."""
    conv = nn.Conv2d(dim, dim, stride, stride)
    with torch.no_grad():
        conv.weight.copy_(torch.eye(dim)[..., None, None] / (stride[0] * stride[1]))
    return conv


class ConcatPlexer(nn.Module):
    """A vision transformer with a multiplexer behind its first block."""

    def __init__(self, size: Size, *, keyed: bool = False) -> None:
        super().__init__()
        self.size, self.vit = size, ViT(size)
        self.multiplexer: Multiplexer | KeyedSum = KeyedSum(size) if keyed else Multiplexer(size)

    def forward(self, image: Tensor, images: int) -> Tensor:
        """The logits of each image, `images` of them answered in each pass."""
        x = self.vit.blocks[0](self.vit.tokens(image))
        cls, patches = x[:, 0].unflatten(0, (-1, images)), x[:, 1:]
        cls = cls + self.multiplexer.index[:images]
        x = torch.cat([cls, self.multiplexer(patches, images)], 1)
        return self.vit.answer(self.vit.blocks[1:](x)[:, :images]).flatten(0, 1)


class Recipe:
    """One image a pass first, which the dense transformer has learnt; then N drawn per step."""

    data = WHOLE
    steps = 2000
    batch = 64
    learning_rate = 1e-3

    def __init__(self, control: str = "") -> None:
        """The control multiplexes by a keyed sum."""
        self.model = self.trained = ConcatPlexer(SMALL, keyed=bool(control))
        family.restore(self.model.vit, "vit")

    def loss(self, batch: Batch, rng: np.random.Generator, progress: float) -> Tensor:
        images = int(rng.choice(IMAGES, p=(0.5, 0.3, 0.2)))
        return F.cross_entropy(self.model(batch.image, images), batch.label)

    def accuracy(self, test: Batch) -> dict[str, float]:
        """Top-1 at each number of images, of as many canvases as make whole passes."""
        whole = len(test.label) // max(IMAGES) * max(IMAGES)
        test, found = Batch(*(tensor[:whole] for tensor in test)), {}
        for images in IMAGES:
            parts = family.in_parts(test, 200)
            right = [family.right(self.model(p.image, images), p.label) for p in parts]
            found[f"images={images}"] = round(np.concatenate(right).mean(), 4)
        return found


class ElasticConcatPlexer(OneStage):
    """The network as Elastiq's model contract sees it."""

    name = "concatplexer"
    driver = "mux"

    def points(self) -> list[dict[str, int]]:
        """The operating points, the cheapest for each image first."""
        return [{"images": images} for images in IMAGES]

    def images(self, point: dict[str, int]) -> int:
        return point["images"]


class GlyphConcatPlexer(ReadsGlyphs, ElasticConcatPlexer):
    """The trained network that says which digit is on each canvas."""


def model() -> GlyphConcatPlexer:
    """The trained model: what `zoo.concatplexer:model` names."""
    return GlyphConcatPlexer(trained(ConcatPlexer, SMALL, "concatplexer"))


def realistic() -> ElasticConcatPlexer:
    """The size of a deployed vision transformer, untrained: for measuring speed, not accuracy."""
    return ElasticConcatPlexer(untrained(ConcatPlexer, REALISTIC))
