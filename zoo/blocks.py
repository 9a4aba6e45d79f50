"""The parts that every family is built from: patch embedding, attention, MLP, transformer block."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvStem(nn.Module):
    """An image as tokens: two overlapping convolutions, plus learnt positions.

    A token stands for a patch of twice the `stride`.

    Overlap, because a patch grid cuts small figures apart, and a model of this size would spend
    its training on putting them together again.
    """

    def __init__(self, channels: int, dim: int, image: int, stride: int = 4) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(channels, dim // 3, 7, stride=stride, padding=3)
        self.patches = nn.Conv2d(dim // 3, dim, 3, stride=2, padding=1)
        self.positions = nn.Parameter(0.02 * torch.randn((image // (2 * stride)) ** 2, dim))

    def forward(self, image: Tensor) -> Tensor:
        return self.content(image) + self.positions

    def content(self, image: Tensor) -> Tensor:
        """The tokens before it is said where they stand."""
        return self.patches(F.gelu(self.coarse(image))).flatten(2).transpose(1, 2)


class PatchEmbedding(nn.Module):
    """An image as tokens: each square patch through one linear map, plus learnt positions."""

    def __init__(self, channels: int, dim: int, image: int, patch: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, dim, patch, stride=patch)
        self.positions = nn.Parameter(0.02 * torch.randn((image // patch) ** 2, dim))

    def forward(self, image: Tensor) -> Tensor:
        return self.project(image).flatten(2).transpose(1, 2) + self.positions


class Attention(nn.Module):
    """Multi-head attention of `x` to `context`; self-attention where they are the same tensor."""

    def __init__(self, dim: int, heads: int, width: int | None = None) -> None:
        """`width` is that of a head, if the heads do not share the dimensions out."""
        super().__init__()
        self.heads = heads
        inner = heads * width if width else dim
        self.query = nn.Linear(dim, inner)
        self.key_value = nn.Linear(dim, 2 * inner)
        self.out = nn.Linear(inner, dim)

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None = None) -> Tensor:
        """`bias` is added to the scores: [heads, tokens of x, tokens of context]."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        split = (self._split(self.query(x)), self._split(key), self._split(value))
        return self.out(F.scaled_dot_product_attention(*split, bias).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """Two linear layers around a GELU, `ratio` times wider in the middle."""

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.up = nn.Linear(dim, ratio * dim)
        self.down = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """A transformer block that normalises before each branch (pre-LN)."""

    def __init__(self, dim: int, heads: int, ratio: int = 4) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = MLP(dim, ratio)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_attention(x)
        x = x + self.attention(y, y)
        return x + self.mlp(self.norm_mlp(x))
