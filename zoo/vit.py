"""A plain vision transformer: the dense start of two families, and what they are compared with.

A convolution stem, a class token, blocks over all tokens, and a head on the class token.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import digits, family
from zoo.blocks import Block, ConvStem, PatchEmbedding
from zoo.contract import At, OneStage, ReadsGlyphs, trained, untrained
from zoo.digits import Batch
from zoo.glyphs import WHOLE


@dataclass(frozen=True)
class Size:
    """What determines the shape of every weight; `patch=None` stands for a convolution stem."""

    image: int = WHOLE.side
    channels: int = 1
    patch: int | None = None
    dim: int = 64
    layers: int = 6
    heads: int = 4
    classes: int = digits.CLASSES

    @property
    def side(self) -> int:
        """The tokens in a row of the image."""
        return self.image // (self.patch or 6)

    def shape(self, n: int) -> tuple[int, int, int, int]:
        """The shape of `n` images."""
        return n, self.channels, self.image, self.image


SMALL = Size()
REALISTIC = Size(224, 3, 16, 384, 12, 6, 1000)


class ViT(nn.Module):
    """The network whole, and in the parts that the families put together otherwise."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed: nn.Module = (
            PatchEmbedding(size.channels, size.dim, size.image, size.patch)
            if size.patch
            else ConvStem(size.channels, size.dim, size.image, stride=3)
        )
        self.cls = nn.Parameter(0.02 * torch.randn(1, size.dim))
        self.blocks = nn.Sequential(*(Block(size.dim, size.heads) for _ in range(size.layers)))
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, size.classes)

    def tokens(self, image: Tensor) -> Tensor:
        """The class token, then one token for each patch: [n, 1 + patches, dim]."""
        patches = self.embed(image)
        return torch.cat([self.cls.expand(len(patches), -1, -1), patches], 1)

    def answer(self, cls: Tensor) -> Tensor:
        """The logits, from a class token after the last block."""
        return self.head(self.norm(cls))

    def forward(self, image: Tensor) -> Tensor:
        return self.answer(self.blocks(self.tokens(image))[:, 0])


class CellReader(nn.Module):
    """Training only: each patch token says which digit it is a part of, if any.

    The label alone says too little about where to look for reading to be learnt quickly from it.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size.dim)
        self.head = nn.Linear(size.dim, digits.CLASSES + 1)

    def loss(self, tokens: Tensor, cells: Tensor) -> Tensor:
        return F.cross_entropy(self.head(self.norm(tokens)).flatten(0, 1), cells.flatten())


def from_reading(vit: ViT) -> None:
    """Start from the stem and blocks that read canvases of four digits for `zoo.patchmerger`."""
    weights = family.weights("patchmerger")
    side = round(len(weights["embed.positions"]) ** 0.5)
    square = weights["embed.positions"].view(side, side, -1)
    weights["embed.positions"] = square[: vit.size.side, : vit.size.side].flatten(0, 1)
    own = vit.state_dict()
    shared = {name: tensor for name, tensor in weights.items() if not name.startswith("head")}
    vit.load_state_dict(own | {name: shared[name] for name in own.keys() & shared.keys()})


class Recipe:
    """Reads one digit after many; the control goes on from the checkpoint, as the families do."""

    data = WHOLE
    batch = 64

    def __init__(self, control: str = "") -> None:
        self.model = ViT(SMALL)
        self.reader = CellReader(SMALL)
        self.trained = nn.ModuleList([self.model, self.reader])
        self.steps, self.learning_rate = (1600, 1e-3) if control else (1600, 1.5e-3)
        if control:
            family.restore(self.model, "vit")
        else:
            from_reading(self.model)

    def loss(self, batch: Batch, rng: np.random.Generator, progress: float) -> Tensor:
        x = self.model.blocks(self.model.tokens(batch.image))
        return F.cross_entropy(self.model.answer(x[:, 0]), batch.label) + self.reader.loss(
            x[:, 1:], batch.slots
        )

    def accuracy(self, test: Batch) -> dict[str, float]:
        answers = [
            family.right(self.model(part.image), part.label) for part in family.in_parts(test, 250)
        ]
        return {"dense": round(np.concatenate(answers).mean(), 4)}


class DenseViT(OneStage):
    """The network as Elastiq's model contract sees it, with one point."""

    name = "vit"

    def points(self) -> list[dict[str, int]]:
        return [{"layers": self.network.size.layers}]

    def at(self, point: dict[str, int]) -> At:
        return At(self.network)


class GlyphViT(ReadsGlyphs, DenseViT):
    """The trained network that says which digit is on each canvas."""


def model() -> GlyphViT:
    """The trained model: what `zoo.vit:model` names."""
    return GlyphViT(trained(ViT, SMALL, "vit"))


def realistic() -> DenseViT:
    """The size of a deployed vision transformer, untrained: for measuring speed, not accuracy."""
    return DenseViT(untrained(ViT, REALISTIC))
