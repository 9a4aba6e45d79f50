"""The ConcatPlexer: every image gets its own answer, exact exports, the committed checkpoint."""

import numpy as np
import pytest
import torch

from compiler.store import Store
from tests.zoo import records
from tests.zoo.exported import assert_equals_torch
from zoo import concatplexer
from zoo.concatplexer import IMAGES, ConcatPlexer, GlyphConcatPlexer, Recipe
from zoo.contract import At
from zoo.glyphs import WHOLE
from zoo.vit import SMALL


@pytest.fixture(scope="module")
def model() -> GlyphConcatPlexer:
    return concatplexer.model()


@pytest.mark.parametrize("images", IMAGES)
def test_gradients_reach_every_parameter_in_use(images: int) -> None:
    recipe = Recipe()
    batch = WHOLE.canvases("train", 8, np.random.default_rng(0))
    recipe.model(batch.image, images).square().sum().backward()
    other = {str(n) for n in IMAGES if n != images}
    for name, parameter in recipe.trained.named_parameters():
        if "shorten" not in name or name.split(".")[2] not in other:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_one_image_alone_goes_through_the_dense_transformer() -> None:
    network = ConcatPlexer(SMALL).eval()
    image = torch.rand(3, 1, 36, 36)
    with torch.no_grad():
        network.multiplexer.index[:] = 0
        torch.testing.assert_close(network(image, 1), network.vit(image))


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("images", [2, 4])
def test_passes_do_not_mix(images: int, keyed: bool) -> None:
    network = ConcatPlexer(SMALL, keyed=keyed).eval()
    image = torch.rand(8, 1, 36, 36)
    with torch.no_grad():
        together = network(image, images)
        apart = torch.cat([network(part, images) for part in image.split(images)])
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize("images", [2, 4])
def test_each_row_is_the_answer_for_its_own_image(model: GlyphConcatPlexer, images: int) -> None:
    test = WHOLE.test_set(400)
    with torch.no_grad():
        answer = model.network(test.image, images).argmax(1)
        assert (answer == test.label).double().mean() > 0.8
        swapped = model.network(
            test.image.view(-1, images, 1, 36, 36).flip(1).flatten(0, 1), images
        )
    swapped = swapped.argmax(1).view(-1, images).flip(1).flatten()
    assert (swapped == test.label).double().mean() > 0.8


def test_points_share_the_storage_of_every_parameter(model: GlyphConcatPlexer) -> None:
    modules = [model.stages(point)["main"][0] for point in model.points()]
    storages = [[p.data_ptr() for p in module.parameters()] for module in modules]
    assert [point["images"] for point in model.points()] == [4, 2, 1]
    assert all(storage == storages[0] for storage in storages)


@pytest.mark.parametrize("images", IMAGES)
def test_an_export_equals_torch(model: GlyphConcatPlexer, images: int, store: Store) -> None:
    module, inputs = model.stages({"images": images})["main"]
    assert inputs["image"].shape == (images, 1, 36, 36)
    others = [{"image": image} for image in WHOLE.test_set(8).image.split(images)]
    assert_equals_torch(module, inputs, store, *others)


@pytest.mark.parametrize("images", IMAGES)
def test_the_checkpoint_has_the_accuracy_on_record(model: GlyphConcatPlexer, images: int) -> None:
    test = WHOLE.test_set(400)
    with torch.no_grad():
        answer = At(model.network, images=images)(test.image)["logits"].argmax(1)
    found = (answer == test.label).double().mean().item()
    records.assert_near(found, records.accuracy("concatplexer")[f"images={images}"], 400)


def test_the_checkpoint_says_how_it_was_made() -> None:
    records.assert_says_how_it_was_made("concatplexer")


def test_more_images_a_pass_cost_little() -> None:
    found = records.accuracy("concatplexer")
    best = max(found["images=1"], records.accuracy("vit")["dense"])
    assert found["images=2"] > best - 0.015
    assert found["images=4"] > best - 0.04


def test_the_realistic_size_has_no_task() -> None:
    model = concatplexer.realistic()
    assert not hasattr(model, "evaluate")
    module, inputs = model.stages({"images": 4})["main"]
    with torch.no_grad():
        assert module(**inputs)["logits"].shape == (4, 1000)
