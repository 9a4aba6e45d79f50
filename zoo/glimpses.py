"""Images in glimpses: where these lie, how they are cut out, and how they become tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import digits
from zoo.blocks import ConvStem
from zoo.glyphs import PARTS


@dataclass(frozen=True)
class Size:
    """What determines the shape of every weight. A glimpse is a square of `across` x `across`
    patches; the glimpses tile the image."""

    image: int = PARTS.side
    channels: int = 1
    patch: int = 6
    across: int = 2
    dim: int = 64
    layers: int = 6
    heads: int = 4
    classes: int = digits.CLASSES
    stem: bool = True  # convolutions within a glimpse; else a linear map of each patch
    glimpses: int = 12  # in a sequence, at most
    splits: tuple[int, ...] = (4, 2, 0)
    drawing: int = 2  # blocks of the decoder, which is half as wide

    @property
    def side(self) -> int:
        """Patches in a row of the image."""
        return self.image // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of a glimpse."""
        return self.across**2

    @property
    def pixels(self) -> int:
        """Values of a patch."""
        return self.channels * self.patch**2

    @property
    def places(self) -> Tensor:
        """Where the tokens of each glimpse stand in the image, row by row: [glimpses, tokens]."""
        grid = torch.arange(self.side**2).view(self.side, self.side)
        return _blocks(grid, self.across).flatten(2).flatten(0, 1)


SMALL = Size()


def _blocks(grid: Tensor, side: int) -> Tensor:
    """[..., h, w] as [..., h / side, w / side, side, side]."""
    return grid.unfold(-2, side, side).unfold(-2, side, side)


def cut(image: Tensor, size: Size) -> Tensor:
    """All glimpses of images, as patches: [n, glimpses, tokens, pixels]."""
    patches = _blocks(image, size.patch)  # [n, channels, side, side, patch, patch]
    patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    return patches[:, size.places]


class GlimpseStem(nn.Module):
    """The convolutions of an image's stem over one glimpse, which ends at its edges."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.convolutions = ConvStem(size.channels, size.dim, size.image, size.patch // 2)

    @property
    def positions(self) -> nn.Parameter:
        return self.convolutions.positions

    def forward(self, patches: Tensor) -> Tensor:
        """[n, tokens, pixels] to [n, tokens, dim]."""
        across, patch = self.size.across, self.size.patch
        grid = patches.view(-1, across, across, self.size.channels, patch, patch)
        glimpse = grid.permute(0, 3, 1, 4, 2, 5).reshape(
            -1, self.size.channels, across * patch, across * patch
        )
        return self.convolutions.content(glimpse)


class PatchMap(nn.Module):
    """One linear map of each patch."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.project = nn.Linear(size.pixels, size.dim)
        self.positions = nn.Parameter(0.02 * torch.randn(size.side**2, size.dim))

    def forward(self, patches: Tensor) -> Tensor:
        return self.project(patches)


def glimpsed(image: Tensor, glimpses: int, size: Size, seed: int) -> tuple[Tensor, Tensor]:
    """Each image in as many glimpses, drawn at random: patches and places."""
    places, patches = size.places, cut(image, size)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(len(image), len(places), generator=generator).argsort(1)[:, :glimpses]
    return patches[torch.arange(len(image))[:, None], order], places[order]
