"""The smaller scenes are what they say: quartets to be read, glyphs among clutter."""

import numpy as np
import pytest
import torch

from zoo import digits, quartets
from zoo.glyphs import CELL, PARTS, WHOLE, Glyphs


def test_a_quartet_has_four_labels_which_are_its_slots() -> None:
    batch = quartets.canvases("train", 300, np.random.default_rng(0))
    assert batch.image.shape == (300, 1, 48, 48)
    assert torch.equal(batch.label, batch.slots)
    assert set(batch.label.flatten().tolist()) == set(range(11))


def test_a_slot_with_a_digit_has_more_ink() -> None:
    batch = quartets.canvases("train", 400, np.random.default_rng(0))
    quarters = batch.image[:, 0].view(-1, 2, 24, 2, 24).mean((2, 4)).flatten(1)
    empty = batch.slots == digits.EMPTY
    assert quarters[~empty].mean() > 1.15 * quarters[empty].mean()


def test_each_token_lies_in_one_quarter() -> None:
    slots = quartets.slot_of_tokens(64)
    assert slots.bincount().tolist() == [16] * 4
    assert slots[:8].tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("glyphs", [WHOLE, PARTS])
def test_the_cells_say_where_the_digit_is(glyphs: Glyphs) -> None:
    batch = glyphs.canvases("train", 300, np.random.default_rng(0))
    side = glyphs.side
    assert batch.image.shape == (300, 1, side, side)
    cells = batch.image[:, 0].unfold(1, CELL, CELL).unfold(2, CELL, CELL).mean((3, 4)).flatten(1)
    inked = batch.slots != digits.EMPTY
    assert cells[inked].mean() > 1.3 * cells[~inked].mean()
    assert (torch.where(inked, batch.slots, -1).amax(1) == batch.label).all()


@pytest.mark.parametrize("data", [quartets, WHOLE])
def test_a_smaller_test_set_is_the_beginning_of_a_larger(data) -> None:
    small, large = data.test_set(100), data.test_set(600)
    assert all(torch.equal(a, b[:100]) for a, b in zip(small, large, strict=True))
