"""The PatchMerger: its definition, nested weights, exact exports, the committed checkpoint."""

import numpy as np
import pytest
import torch

from compiler.store import Store
from tests.zoo import records
from tests.zoo.exported import assert_equals_torch
from zoo import patchmerger, quartets
from zoo.contract import At
from zoo.patchmerger import SMALL, Merger, PatchMerger, QuartetPatchMerger, Recipe

MERGED = (2, 4, 8, 16, 64)


@pytest.fixture(scope="module")
def model() -> QuartetPatchMerger:
    return patchmerger.model()


def test_merged_tokens_are_weighted_means() -> None:
    merger, x = Merger(12, 5), torch.rand(2, 7, 12)
    y = merger.norm(x)
    weights = (y @ merger.queries.T / 12**0.5).softmax(1)  # over the tokens
    torch.testing.assert_close(merger(x, 5), weights.transpose(1, 2) @ y)
    assert merger(x, 3).shape == (2, 3, 12)


def test_gradients_reach_every_parameter() -> None:
    recipe = Recipe()
    recipe.drawn = (16,)
    batch = quartets.canvases("train", 8, np.random.default_rng(0))
    recipe.loss(batch, np.random.default_rng(0), 0.5).backward()
    for name, parameter in recipe.trained.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_later_queries_have_no_say_at_fewer() -> None:
    network = PatchMerger(SMALL).eval()
    image = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        before = network(image, 4)
        network.merger.queries[4:] = torch.nan
        assert torch.equal(network(image, 4), before)


def test_without_merging_the_merger_has_no_say() -> None:
    network = PatchMerger(SMALL).eval()
    image = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        before = network(image, 64)
        network.merger.queries[:] = torch.nan
        assert torch.equal(network(image, 64), before)


def test_points_share_the_storage_of_every_parameter(model: QuartetPatchMerger) -> None:
    modules = [model.stages(point)["main"][0] for point in model.points()]
    storages = [[p.data_ptr() for p in module.parameters()] for module in modules]
    assert [point["merged"] for point in model.points()] == list(MERGED)
    assert all(storage == storages[0] for storage in storages)


@pytest.mark.parametrize("merged", MERGED)
def test_an_export_equals_torch(model: QuartetPatchMerger, merged: int, store: Store) -> None:
    module, inputs = model.stages({"merged": merged})["main"]
    others = [{"image": image} for image in quartets.test_set(8).image.split(1)]
    assert_equals_torch(module, inputs, store, *others)


def test_evaluate_scores_the_share_of_slots_read(
    model: QuartetPatchMerger, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = quartets.test_set(200)
    monkeypatch.setattr(quartets, "test_set", lambda: test)
    said = test.label.clone()
    said[::2, 0] = (said[::2, 0] + 1) % 11
    answers = iter(torch.eye(11)[said].split(100))
    scores = model.evaluate(lambda batch: {"logits": next(answers).numpy()})
    assert scores.tolist() == [0.75, 1.0] * 100


@pytest.mark.parametrize("merged", MERGED)
def test_the_checkpoint_has_the_accuracy_on_record(model: QuartetPatchMerger, merged: int) -> None:
    test = quartets.test_set(300)
    with torch.no_grad():
        answer = At(model.network, merged=merged)(test.image)["logits"].argmax(-1)
    found = (answer == test.label).double().mean().item()
    records.assert_near(found, records.accuracy("patchmerger")[f"merged={merged}"], 300)


def test_the_checkpoint_says_how_it_was_made() -> None:
    records.assert_says_how_it_was_made("patchmerger")


def test_eight_tokens_cost_little_and_two_cost_much() -> None:
    found = records.accuracy("patchmerger")
    assert found["merged=8"] > found["merged=64"] - 0.005
    assert found["merged=2"] < found["merged=8"] - 0.03


def test_the_realistic_size_has_no_task() -> None:
    model = patchmerger.realistic()
    assert not hasattr(model, "evaluate")
    module, inputs = model.stages({"merged": 8})["main"]
    with torch.no_grad():
        assert module(**inputs)["logits"].shape == (1, 1000)
