"""What the families are compared with, and how they do beside it."""

import re

import pytest

from tests.zoo.records import accuracy
from zoo.adavit import COVERED
from zoo.family import record


def steps(name: str) -> int:
    found = re.search(r"--steps (\d+)", record(name)["command"])
    assert found
    return int(found[1])


@pytest.mark.parametrize("family", ["patchmerger", "concatplexer", "adavit", "tore", "vit"])
def test_a_control_had_as_many_steps(family: str) -> None:
    assert steps(f"{family}-control") == steps(family)


def test_eight_merged_tokens_read_as_well_as_a_dense_transformer() -> None:
    dense = accuracy("patchmerger-control")["merged=64"]
    assert accuracy("patchmerger")["merged=8"] > dense - 0.005


def test_several_images_a_pass_cost_little_beside_a_dense_transformer() -> None:
    dense, found = accuracy("vit-control")["dense"], accuracy("concatplexer")
    assert found["images=2"] > dense - 0.015
    assert found["images=4"] > dense - 0.04


@pytest.mark.parametrize("images", [2, 4])
def test_a_keyed_sum_of_images_costs_more(images: int) -> None:
    keyed, ours = accuracy("concatplexer-control"), accuracy("concatplexer")
    assert keyed[f"images={images}"] < ours[f"images={images}"]


def test_a_policy_costs_little_more_than_a_point_and_is_better_than_chance() -> None:
    found = accuracy("adavit")
    by_policy = found[f"bucket{len(COVERED) - 1}"]
    assert by_policy > accuracy("vit-control")["dense"] - 0.015
    assert by_policy > found["random"] + 0.03


@pytest.mark.parametrize("glimpses", [4, 8, 12])
@pytest.mark.parametrize("split", [0, 2, 4])
def test_to_recycle_costs_little_beside_a_model_that_never_does(split: int, glimpses: int) -> None:
    never = accuracy("tore-control")[f"split=0 n={glimpses}"]
    assert accuracy("tore")[f"split={split} n={glimpses}"] > never - 0.015
