"""The shared blocks keep shapes, and an attention bias can hide tokens."""

import pytest
import torch
from torch import nn

from zoo.blocks import MLP, Attention, Block, ConvStem, PatchEmbedding


@pytest.mark.parametrize("embed", [ConvStem(1, 24, 32), PatchEmbedding(1, 24, 32, 8)])
def test_an_embedding_makes_one_token_of_each_patch(embed: nn.Module) -> None:
    assert embed(torch.rand(2, 1, 32, 32)).shape == (2, 16, 24)


@pytest.mark.parametrize("module", [MLP(24), Block(24, heads=3)])
def test_tokens_keep_their_shape(module: nn.Module) -> None:
    assert module(torch.rand(2, 5, 24)).shape == (2, 5, 24)


def test_attention_equals_its_definition() -> None:
    attention, x, context = Attention(12, heads=2), torch.rand(1, 3, 12), torch.rand(1, 5, 12)
    query, (key, value) = attention.query(x), attention.key_value(context).chunk(2, dim=-1)
    heads = []
    for part in (slice(0, 6), slice(6, 12)):
        scores = query[..., part] @ key[..., part].transpose(1, 2) / 6**0.5
        heads.append(scores.softmax(-1) @ value[..., part])
    expected = attention.out(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x, context), expected)


def test_a_bias_hides_tokens() -> None:
    attention, x, context = Attention(12, heads=2), torch.rand(1, 3, 12), torch.rand(1, 5, 12)
    bias = torch.zeros(2, 3, 5)
    bias[..., 4] = -torch.inf
    torch.testing.assert_close(attention(x, context, bias), attention(x, context[:, :4]))
