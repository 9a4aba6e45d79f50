"""AdaViT: policies, buckets that are what the masked model is, exports, the checkpoint."""

import numpy as np
import pytest
import torch

from compiler.store import Store
from tests.zoo import records
from tests.zoo.exported import assert_equals_torch
from zoo import adavit
from zoo.adavit import COVERED, AdaViT, GlyphAdaViT, Recipe
from zoo.blocks import Block
from zoo.glyphs import WHOLE
from zoo.policy import Policy, masked
from zoo.vit import SMALL

GATES = SMALL.heads + 2


@pytest.fixture(scope="module")
def model() -> GlyphAdaViT:
    return adavit.model()


def policies(n: int, seed: int = 0) -> Policy:
    generator = torch.Generator().manual_seed(seed)
    blocks = SMALL.layers - 1
    shapes = ((n, blocks, SMALL.heads), (n, blocks, 2), (n, SMALL.side**2))
    return Policy(*(torch.randn(shape, generator=generator) + 0.5 for shape in shapes))


@pytest.mark.parametrize("progress", [0.1, 0.4])
def test_gradients_reach_every_decision_in_use(progress: float) -> None:
    recipe = Recipe()
    recipe.trained.train()
    batch = WHOLE.canvases("train", 8, np.random.default_rng(0))
    recipe.loss(batch, np.random.default_rng(0), progress).backward()
    for name, parameter in recipe.trained.named_parameters():
        if progress < recipe.hoisted or not name.startswith("keep.") or "keep.0" in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_in_buckets_the_decisions_stand() -> None:
    recipe = Recipe()
    recipe.gathered = True
    batch = WHOLE.canvases("train", 8, np.random.default_rng(0))
    recipe.loss(batch, np.random.default_rng(0), 0.9).backward()
    assert all(p.grad is None for p in recipe.model.gate.parameters())
    assert all(p.grad is None for p in recipe.model.vit.blocks[0].parameters())
    assert all(p.grad is not None for p in recipe.model.vit.blocks[-1].parameters())


def test_a_masked_token_has_no_say() -> None:
    block, x, n = Block(16, heads=2).eval(), torch.rand(2, 5, 16), 2
    keep = torch.ones(n, 5)
    keep[:, 3] = 0
    with torch.no_grad():
        found = masked(block, x, torch.ones(n, 2), torch.ones(n, 2), keep)
        left = [0, 1, 2, 4]
        torch.testing.assert_close(found[:, left], block(x[:, left]))


def test_a_head_counts_only_where_its_branch_is_used_and_the_other_way_round() -> None:
    heads = torch.tensor([[[1.0, 1.0], [-1.0, -1.0]]])
    branches = torch.tensor([[[-1.0, 1.0], [1.0, 1.0]]])
    gates = Policy(heads, branches, torch.ones(1, 3)).gates > 0
    assert gates.tolist() == [[False, False, False, True, False, False, False, True]]


def test_the_smallest_bucket_with_all_that_is_asked_for_is_taken() -> None:
    network, policy = AdaViT(SMALL), policies(400)
    network.gather([policy])
    bucket = network.bucket_of(policy)
    gates, tokens = policy.gates > 0, (policy.keep > 0).sum(1)
    for image, chosen in enumerate(bucket.tolist()):
        enough = [
            b
            for b in range(len(COVERED))
            if (network.bucket_gates[b] >= gates[image]).all()
            and network.bucket_tokens[b] >= tokens[image]
        ]
        assert chosen == min(enough, default=len(COVERED) - 1)
    assert (network.bucket_of(policy, largest=1) == bucket.clamp(max=1)).all()


def test_buckets_are_nested_and_enough_for_the_shares_they_were_made_for() -> None:
    network, policy = AdaViT(SMALL), policies(1000)
    network.gather([policy])
    assert (network.bucket_gates.diff(dim=0) >= 0).all()
    assert (network.bucket_tokens.diff() >= 0).all()
    covered = network.bucket_share.cumsum(0)
    assert all(found >= share - 1e-6 for found, share in zip(covered, COVERED, strict=True))


def test_a_shuffled_policy_uses_as_much() -> None:
    network, policy = AdaViT(SMALL), policies(50)
    network.gather([policy])
    used = network.as_bucket(policy, network.bucket_of(policy))
    shuffled = used.shuffled()
    for ours, theirs in zip(used.parts, shuffled.parts, strict=True):
        assert torch.equal(ours.flatten(1).sum(1), theirs.flatten(1).sum(1))
    assert not torch.equal(used.keep, shuffled.keep)


def test_a_bucket_equals_the_masked_model(model: GlyphAdaViT) -> None:
    test, network = WHOLE.test_set(60), model.network
    stages = model.stages(model.points()[-1])
    with torch.no_grad():
        x = network.begin(test.image)
        bucket = network.bucket_of(network.policy(x))
        expected = network(test.image)
        for image, number in enumerate(bucket.tolist()):
            seen = stages["policy"][0](test.image[image : image + 1])
            room = network.buckets[number]["tokens"]
            best = seen["keep"][0].topk(room).indices.sort().values
            module, _ = stages[f"bucket{number}"]
            logits = module(seen["tokens"][:, best])["logits"]
            torch.testing.assert_close(logits[0], expected[image], rtol=0, atol=1e-4)


def test_every_point_has_the_very_same_stages(model: GlyphAdaViT) -> None:
    first, *others = (model.stages(point) for point in model.points())
    assert list(first) == ["policy", *(f"bucket{n}" for n in range(len(COVERED)))]
    assert all(first[name][0] is other[name][0] for other in others for name in first)


def test_buckets_share_the_storage_of_what_they_have_whole(model: GlyphAdaViT) -> None:
    stages = model.stages(model.points()[0])
    buckets = [module for module, _ in stages.values()][1:]
    heads = {bucket.head.weight.data_ptr() for bucket in buckets}
    assert heads == {model.network.vit.head.weight.data_ptr()}


@pytest.mark.parametrize("stage", ["policy", *(f"bucket{n}" for n in range(len(COVERED)))])
def test_an_export_equals_torch(model: GlyphAdaViT, stage: str, store: Store) -> None:
    module, inputs = model.stages(model.points()[0])[stage]
    others = [{"image": image} for image in WHOLE.test_set(4).image.split(1)]
    assert_equals_torch(module, inputs, store, *(others if stage == "policy" else []))


def test_the_driver_is_told_of_the_buckets(model: GlyphAdaViT) -> None:
    buckets = model.driver_settings["buckets"]
    sizes = [sum(bucket["gates"]) * bucket["tokens"] for bucket in buckets]
    assert sizes == sorted(sizes)
    assert abs(sum(bucket["share"] for bucket in buckets) - 1) < 0.01
    assert sum(bucket["share"] >= 0.05 for bucket in buckets) >= 3
    assert all(len(bucket["gates"]) == (SMALL.layers - 1) * GATES for bucket in buckets)


def test_budgets_rise_to_what_is_used_without_a_limit(model: GlyphAdaViT) -> None:
    budgets = [point["budget"] for point in model.points()]
    assert budgets == sorted(set(budgets))
    assert 0 < budgets[0] < budgets[-1] <= 1


def test_the_checkpoint_has_the_accuracy_on_record(model: GlyphAdaViT) -> None:
    test = WHOLE.test_set(400)
    with torch.no_grad():
        right = (model.network(test.image).argmax(1) == test.label).double().mean().item()
    records.assert_near(right, records.accuracy("adavit")[f"bucket{len(COVERED) - 1}"], 400)


def test_the_checkpoint_says_how_it_was_made() -> None:
    records.assert_says_how_it_was_made("adavit")


def test_a_policy_costs_little_and_chance_much() -> None:
    found = records.accuracy("adavit")
    by_policy = found[f"bucket{len(COVERED) - 1}"]
    assert by_policy > records.accuracy("vit")["dense"] - 0.01
    assert by_policy > found["random"] + 0.03


def test_the_realistic_size_has_the_learnt_buckets_and_no_task(model: GlyphAdaViT) -> None:
    large = adavit.realistic()
    assert not hasattr(large, "evaluate")
    for ours, theirs in zip(model.network.buckets, large.network.buckets, strict=True):
        assert ours["gates"] == theirs["gates"]
        assert abs((theirs["tokens"] - 1) / 196 - (ours["tokens"] - 1) / 36) < 0.01
