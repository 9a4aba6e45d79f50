"""TORE: recycling changes the cost only, and looking goes where nothing was seen."""

import numpy as np
import pytest
import torch
from torch import Tensor

from compiler.store import Store
from tests.zoo.exported import Exported, assert_equals_torch
from zoo import tore, unsplit
from zoo.contract import untrained
from zoo.glimpses import cut, glimpsed
from zoo.glyphs import PARTS
from zoo.tore import SMALL, TORE, ElasticTORE, Recipe

SPLITS = SMALL.splits


@pytest.fixture(scope="module")
def model() -> ElasticTORE:
    return ElasticTORE(untrained(TORE, SMALL))


def kept(model: ElasticTORE, split: int, patches: Tensor, places: Tensor) -> dict[str, Tensor]:
    """What a driver keeps of a sequence, the iterator run glimpse by glimpse."""
    iterator = model.stages({"split": split})["iterator"][0]
    seen = [
        iterator(patches=p[:, 0], places=q[:, 0])
        for p, q in zip(patches.split(1, 1), places.split(1, 1), strict=True)
    ]
    return {
        "cls": torch.stack([glimpse["cls"] for glimpse in seen]).mean(0),
        "tokens": torch.cat([glimpse["tokens"] for glimpse in seen], 1),
    }


def test_glimpses_tile_the_image() -> None:
    image = torch.rand(2, 1, 48, 48)
    patches = cut(image, SMALL)
    assert patches.shape == (2, 16, 4, 36)
    assert SMALL.places.flatten().sort().values.tolist() == list(range(64))
    sixth = patches[:, 5].view(2, 2, 2, 6, 6).transpose(2, 3).reshape(2, 12, 12)
    assert torch.equal(sixth, image[:, 0, 12:24, 12:24])


def test_random_glimpses_are_distinct_and_where_they_say() -> None:
    image = torch.rand(5, 1, 48, 48)
    patches, places = glimpsed(image, 12, SMALL, seed=0)
    grid = image[:, 0].unfold(1, 6, 6).unfold(2, 6, 6).flatten(3).flatten(1, 2)
    for n in range(5):
        assert len(places[n].unique()) == 48
        assert torch.equal(grid[n, places[n]], patches[n])


@pytest.mark.parametrize("make", [Recipe, unsplit.Recipe])
@pytest.mark.parametrize("control", ["", "control"])
def test_gradients_reach_every_parameter(make: type[Recipe], control: str) -> None:
    recipe = make(control)
    batch = PARTS.canvases("train", 8, np.random.default_rng(0))
    recipe.loss(batch, np.random.default_rng(2), 0.5).backward()
    for name, parameter in recipe.trained.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_only_what_is_said_while_recycling_is_taught() -> None:
    recipe, x = Recipe(), torch.randn(3, 5, SMALL.dim, requires_grad=True)
    teacher = torch.randn(3, 5, SMALL.dim, requires_grad=True)
    recipe._taught(x, teacher).backward()
    assert x.grad is not None and teacher.grad is None


def test_the_start_sees_whole_images_first() -> None:
    recipe, rng = unsplit.Recipe(), np.random.default_rng(0)
    assert recipe.glimpses(rng, 0.1) == len(SMALL.places)
    assert {recipe.glimpses(rng, 0.5) for _ in range(200)} == set(range(1, SMALL.glimpses + 1))


@pytest.mark.parametrize("split", SPLITS)
def test_glimpse_by_glimpse_equals_all_at_once(model: ElasticTORE, split: int) -> None:
    patches, places = glimpsed(PARTS.test_set(6).image, 12, SMALL, seed=0)
    stages = model.stages({"split": split})
    with torch.no_grad():
        for n in (1, 2, 7, 12):
            seen = kept(model, split, patches[:, :n], places[:, :n])
            logits = stages[f"aggregate{n}"][0](**seen)["logits"]
            expected = model.network(patches[:, :n], places[:, :n], split)
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_points_share_the_storage_of_every_parameter(model: ElasticTORE) -> None:
    modules = [m for point in model.points() for m, _ in model.stages(point).values()]
    storages = [[p.data_ptr() for p in module.parameters()] for module in modules]
    assert len(modules) == 13 * len(SPLITS)
    assert all(storage == storages[0] for storage in storages)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("stage", ["iterator", "aggregate1", "aggregate5", "aggregate12"])
def test_an_export_equals_torch(model: ElasticTORE, split: int, stage: str, store: Store) -> None:
    assert_equals_torch(*model.stages({"split": split})[stage], store)


def test_exports_glimpse_by_glimpse_equal_torch_all_at_once(
    model: ElasticTORE, store: Store
) -> None:
    patches, places = glimpsed(PARTS.test_set(1).image, 3, SMALL, seed=0)
    stages = model.stages({"split": 4})
    iterator = Exported(*stages["iterator"], store)
    seen = [iterator(patches=patches[:, n], places=places[:, n]) for n in range(3)]
    cls = torch.stack([glimpse["cls"] for glimpse in seen]).mean(0)
    tokens = torch.cat([glimpse["tokens"] for glimpse in seen], 1)
    logits = Exported(*stages["aggregate3"], store)(cls=cls, tokens=tokens)["logits"]
    with torch.no_grad():
        torch.testing.assert_close(logits, model.network(patches, places, 4), rtol=0, atol=1e-4)


@pytest.mark.parametrize("stage", ["look1", "look11"])
def test_an_exported_look_equals_torch(stage: str, store: Store) -> None:
    module, inputs = ElasticTORE(untrained(TORE, SMALL), looks=True).stages({"split": 4})[stage]
    assert inputs["places"].dtype == torch.int64
    assert_equals_torch(module, inputs, store)


def test_a_look_scores_every_glimpse_and_never_one_that_was_seen() -> None:
    explorer = ElasticTORE(untrained(TORE, SMALL), looks=True)
    patches, places = glimpsed(PARTS.test_set(4).image, 5, SMALL, seed=0)
    seen = kept(explorer, 4, patches, places) | {"places": places.flatten(1)}
    with torch.no_grad():
        attention = explorer.stages({"split": 4})["look5"][0](**seen)["attention"]
    there = (SMALL.places[None, :, None, 0] == places[:, None, :, 0]).any(2)
    assert attention.shape == (4, 16)
    assert (attention[there] == -1).all()
    assert (attention[~there] > 0).all()


def test_the_decoder_knows_what_was_seen() -> None:
    network = TORE(SMALL)
    tokens, places = torch.rand(2, 8, 64), torch.randperm(64)[:16].view(2, 8)
    canvas, seen = network.decoder.canvas(tokens, places)
    for n in range(2):
        assert seen[n].nonzero().flatten().tolist() == sorted(places[n].tolist())
        there = canvas[n, places[n]] - network.decoder.positions[places[n]]
        torch.testing.assert_close(there, network.decoder.narrow(tokens[n]))


def test_the_realistic_size_has_no_task() -> None:
    large = tore.realistic()
    assert not hasattr(large, "evaluate")
    module, inputs = large.stages({"split": 8})["aggregate12"]
    with torch.no_grad():
        assert module(**inputs)["logits"].shape == (1, 1000)
