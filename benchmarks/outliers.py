"""The trained Perceiver with the outlier channels that large vision transformers grow.

In large models a few channels of the residual stream, of what attention gathers, and of what
LayerNorm gives on are a hundred times larger than the rest. Here they are put in on purpose, and
the next layer's weights take them back: scaling a channel by a power of two and the weights that
read it by its inverse changes no bit of the product, so the FP32 function is the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from zoo.blocks import Attention, Block
from zoo.perceiver import DigitsPerceiver

CHANNELS = 4  # of 96 in each place
GROWTH = (128.0, 64.0, 32.0, 16.0)


class OutlierPerceiver(DigitsPerceiver):
    """The same function as the trained model; every place that INT8 reads from is hard."""

    name = "perceiver-outliers"

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        perceiver = self.perceiver
        with torch.no_grad():
            _grow_norm(perceiver.norm_tokens, [perceiver.gather.key_value], generator)
            for block in perceiver.blocks:
                assert isinstance(block, Block)
                _grow_block(block, generator)


def _grow_block(block: Block, generator: np.random.Generator) -> None:
    attention = block.attention
    _grow_norm(block.norm_attention, [attention.query, attention.key_value], generator)
    _grow_norm(block.norm_mlp, [block.mlp.up], generator)
    _grow_values(attention, generator)


def _grow_norm(
    norm: nn.LayerNorm, readers: list[nn.Linear], generator: np.random.Generator
) -> None:
    for channel, growth in _drawn(norm.weight.numel(), generator):
        norm.weight[channel] *= growth
        norm.bias[channel] *= growth
        for reader in readers:
            reader.weight[:, channel] /= growth


def _grow_values(attention: Attention, generator: np.random.Generator) -> None:
    """Attention is linear in its values, so what it gathers grows as they do."""
    width = attention.out.weight.shape[1]
    for channel, growth in _drawn(width, generator):
        value = width + channel  # keys come first
        attention.key_value.weight[value] *= growth
        attention.key_value.bias[value] *= growth
        attention.out.weight[:, channel] /= growth


def _drawn(width: int, generator: np.random.Generator) -> list[tuple[int, float]]:
    return list(zip(generator.choice(width, CHANNELS, replace=False), GROWTH, strict=True))


def model() -> OutlierPerceiver:
    """What `benchmarks.outliers:model` names."""
    return OutlierPerceiver()
