"""Transformer blocks from which heads and branches are removed."""

import torch
from torch import Tensor, nn

from zoo.blocks import Attention, Block


class Sliced(nn.Module):
    """What is left of a block; whole parts keep their weights' storage."""

    def __init__(self, block: Block, gates: Tensor) -> None:
        super().__init__()
        heads, (attention, mlp) = gates[:-2], gates[-2:]
        self.attention = self.mlp = None
        if attention and heads.any():
            self.norm_attention = block.norm_attention
            self.attention = _with_heads(block.attention, heads)
        if mlp:
            self.norm_mlp, self.mlp = block.norm_mlp, block.mlp

    def forward(self, x: Tensor) -> Tensor:
        if self.attention is not None:
            y = self.norm_attention(x)
            x = x + self.attention(y, y)
        if self.mlp is not None:
            x = x + self.mlp(self.norm_mlp(x))
        return x


@torch.no_grad()
def _with_heads(attention: Attention, heads: Tensor) -> Attention:
    """The attention with some of its heads; the very same one if with all."""
    if heads.all():
        return attention
    dim = attention.out.in_features
    rows = heads.repeat_interleave(dim // attention.heads)
    sliced = Attention(dim, int(heads.sum()), dim // attention.heads)
    for ours, theirs, kept in (
        (sliced.query, attention.query, rows),
        (sliced.key_value, attention.key_value, rows.repeat(2)),
    ):
        ours.weight.copy_(theirs.weight[kept])
        ours.bias.copy_(theirs.bias[kept])
    sliced.out.weight.copy_(attention.out.weight[:, rows])
    sliced.out.bias.copy_(attention.out.bias)
    return sliced
