"""What an image uses of a transformer, and blocks with the rest masked."""

from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.blocks import Attention, Block

TEMPERATURE = 5.0
TARGETS = (0.5, 0.5, 0.1)  # of the usage of heads, branches and patches


@dataclass(frozen=True)
class Policy:
    """What each image uses: scores above zero before `choose`, zeros and ones after it."""

    heads: Tensor  # [n, blocks, heads]
    branches: Tensor  # [n, blocks, 2]: attention, MLP
    keep: Tensor  # [n, patches], or [n, blocks, patches] before the decision is hoisted

    @property
    def gates(self) -> Tensor:
        """Heads and branches as one row for each image: [n, blocks * (heads + 2)].

        A head counts only where its branch is used, and attention only where a head of it is.
        """
        heads = torch.minimum(self.heads, self.branches[..., :1])
        attention = heads.amax(-1, keepdim=True)
        return torch.cat([heads, attention, self.branches[..., 1:]], -1).flatten(1)

    def choose(self, training: bool) -> "Policy":
        return Policy(*(_choose(scores, training) for scores in self.parts))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.heads, self.branches, self.keep

    def shuffled(self) -> "Policy":
        """As much in use, but at random: other blocks, other heads of them, other patches."""
        blocks = torch.rand(self.heads.shape[:2]).argsort(1)[..., None]
        heads = torch.rand_like(self.heads).argsort(2)
        return Policy(
            self.heads.gather(1, blocks.expand_as(self.heads)).gather(2, heads),
            self.branches.gather(1, blocks.expand_as(self.branches)),
            self.keep.gather(1, torch.rand_like(self.keep).argsort(1)),
        )

    def usage_loss(self) -> Tensor:
        """How far the mean usage is from what it shall be, weighted as the paper's code does."""
        off = zip(self.parts, TARGETS, strict=True)
        heads, branches, keep = (choice.mean() - target for choice, target in off)
        return 2 * heads.abs() + 2 * branches.abs() + 2 * keep.square()


def _choose(scores: Tensor, training: bool) -> Tensor:
    """Zero or one; in training drawn by a Gumbel-sigmoid, with the gradient of the soft one."""
    hard = (scores > 0).to(scores)
    if not training:
        return hard
    uniform = torch.rand_like(scores).clamp(1e-6, 1 - 1e-6)
    soft = ((scores + uniform.logit()) / TEMPERATURE).sigmoid()
    return (soft > 0.5).to(soft) + soft - soft.detach()


def masked(block: Block, x: Tensor, heads: Tensor, branches: Tensor, keep: Tensor) -> Tensor:
    """The block as if heads, branches and tokens that are not used were not there."""
    y = block.norm_attention(x)
    attending = branches[:, 0] * heads.amax(-1)  # without any head there is no attention
    x = x + _among(block.attention, y, heads, keep) * attending[:, None, None]
    return x + block.mlp(block.norm_mlp(x)) * branches[:, 1, None, None]


def _among(attention: Attention, y: Tensor, heads: Tensor, keep: Tensor) -> Tensor:
    """Self-attention of the heads in use, to the tokens that are kept."""
    key, value = attention.key_value(y).chunk(2, dim=-1)
    query, key, value = (
        z.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for z in (attention.query(y), key, value)
    )
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    weights = scores.softmax(-1) * keep[:, None, None]
    weights = weights / weights.sum(-1, keepdim=True)
    seen = (weights @ value) * heads[..., None, None]
    return attention.out(seen.transpose(1, 2).flatten(2))
