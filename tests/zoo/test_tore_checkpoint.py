"""The trained TORE: the committed checkpoint is what its record says."""

import numpy as np
import pytest
import torch

from tests.zoo import records
from zoo import tore
from zoo.glimpses import glimpsed
from zoo.glyphs import PARTS
from zoo.tore import SMALL, GlyphTORE

SPLITS = SMALL.splits


@pytest.fixture(scope="module")
def model() -> GlyphTORE:
    return tore.model()


def test_evaluate_hands_over_whole_sequences(
    model: GlyphTORE, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def predict(inputs):
        given.append({name: array.shape[1:] for name, array in inputs.items()})
        return {"logits": np.eye(10)[np.zeros(len(inputs["patches"]), int)]}

    scores = model.evaluate(predict)
    assert all(g == {"patches": (12, 4, 36), "places": (12, 4)} for g in given)
    assert scores.mean() == (PARTS.test_set(1000).label == 0).double().mean().item()


@pytest.mark.parametrize("split", SPLITS)
def test_the_checkpoint_has_the_accuracy_on_record(model: GlyphTORE, split: int) -> None:
    test = PARTS.test_set(250)
    with torch.no_grad():
        logits = model.network(*glimpsed(test.image, 12, SMALL, seed=0), split)
    found = (logits.argmax(1) == test.label).double().mean().item()
    records.assert_near(found, records.accuracy("tore")[f"split={split} n=12"], 250)


@pytest.mark.parametrize("name", ["tore", "unsplit"])
def test_a_checkpoint_says_how_it_was_made(name: str) -> None:
    records.assert_says_how_it_was_made(name)
