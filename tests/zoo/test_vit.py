"""The dense transformer: its contract, an exact export, the committed checkpoint."""

import numpy as np
import pytest
import torch

from compiler.store import Store
from tests.zoo import records
from tests.zoo.exported import assert_equals_torch
from zoo import family, vit
from zoo.glyphs import WHOLE
from zoo.vit import SMALL, GlyphViT, Recipe, ViT


@pytest.fixture(scope="module")
def model() -> GlyphViT:
    return vit.model()


def test_gradients_reach_every_parameter() -> None:
    recipe = Recipe()
    batch = WHOLE.canvases("train", 8, np.random.default_rng(0))
    recipe.loss(batch, np.random.default_rng(0), 0.5).backward()
    for name, parameter in recipe.trained.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_it_starts_from_what_reads_four_digits() -> None:
    network, reading = ViT(SMALL), family.weights("patchmerger")
    vit.from_reading(network)
    assert torch.equal(network.blocks[0].mlp.up.weight, reading["blocks.0.mlp.up.weight"])
    there = reading["embed.positions"].view(8, 8, -1)[:6, :6]
    assert torch.equal(network.embed.positions.view(6, 6, -1), there)


def test_an_export_equals_torch(model: GlyphViT, store: Store) -> None:
    module, inputs = model.stages(model.points()[0])["main"]
    others = [{"image": image} for image in WHOLE.test_set(8).image.split(1)]
    assert_equals_torch(module, inputs, store, *others)


def test_the_checkpoint_has_the_accuracy_on_record(model: GlyphViT) -> None:
    test = WHOLE.test_set(400)
    with torch.no_grad():
        right = (model.network(test.image).argmax(1) == test.label).double().mean().item()
    records.assert_near(right, records.accuracy("vit")["dense"], 400)


def test_the_checkpoint_says_how_it_was_made() -> None:
    records.assert_says_how_it_was_made("vit")
