"""The Perceiver: nested weights, exact exports, the model contract, the committed checkpoint."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open

from zoo import digits, perceiver
from zoo.perceiver import SMALL, AtQueries, DigitsPerceiver, Perceiver, Recipe

RECORDS = perceiver.CHECKPOINT.parent


@pytest.fixture(scope="module")
def model() -> DigitsPerceiver:
    return perceiver.model()


def record(name: str) -> dict:
    return json.loads((RECORDS / name).read_text())


def test_gradients_reach_every_parameter() -> None:
    recipe = Recipe("control")  # the control uses all queries at each step
    batch = digits.canvases("train", 8, np.random.default_rng(0))
    recipe.loss(batch, np.random.default_rng(0), 0.5).backward()
    for name, parameter in recipe.trained.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_later_queries_have_no_say_at_fewer() -> None:
    small = Perceiver(SMALL).eval()
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        before = small(image, 16)
        small.queries[16:] = torch.nan
        assert torch.equal(small(image, 16), before)


@pytest.mark.parametrize("n", [4, 8, 16, 32, 64])
def test_each_prefix_of_the_places_is_evenly_spread(n: int) -> None:
    quarter = (perceiver.spread(64)[:n] < 0.5).long() @ torch.tensor([2, 1])
    assert (quarter.bincount(minlength=4) - n / 4).abs().max() <= 1


def test_points_share_the_storage_of_every_parameter(model: DigitsPerceiver) -> None:
    modules = [model.stages(point)["main"][0] for point in model.points()]
    storages = [[p.data_ptr() for p in module.parameters()] for module in modules]
    assert len(modules) == 5
    assert all(storage == storages[0] for storage in storages)
    assert not any(module.training for module in modules)


@pytest.mark.parametrize("queries", SMALL.queries)
@pytest.mark.filterwarnings("ignore")
def test_an_export_equals_torch(model: DigitsPerceiver, queries: int, tmp_path: Path) -> None:
    module, inputs = model.stages({"queries": queries})["main"]
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        module,
        kwargs=inputs,
        f=path,
        dynamo=True,
        opset_version=20,
        input_names=["image"],
        output_names=["logits"],
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for image in digits.test_set(8).image.split(1):
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        with torch.no_grad():
            expected = module(image)["logits"].numpy()
        np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_calibration_gives_the_same_training_canvases_again(model: DigitsPerceiver) -> None:
    batches, again = list(model.calibration()), list(model.calibration())
    assert sum(len(batch["image"]) for batch in batches) >= 256
    assert all(batch["image"].shape[1:] == (1, 64, 64) for batch in batches)
    assert all(batch["image"].dtype == np.float32 for batch in batches)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(batches, again, strict=True))


def test_evaluate_scores_each_canvas_in_order(
    model: DigitsPerceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = digits.test_set(300)
    monkeypatch.setattr(digits, "test_set", lambda: test)
    answers = iter(torch.eye(10)[(test.label + (torch.arange(300) % 3 == 0)) % 10].numpy())
    scores = model.evaluate(
        lambda batch: {"logits": np.stack([next(answers) for _ in batch["image"]])}
    )
    assert scores.tolist() == [float(i % 3 != 0) for i in range(300)]


def test_the_realistic_size_has_no_task() -> None:
    model = perceiver.realistic()
    assert not hasattr(model, "evaluate")
    assert [point["queries"] for point in model.points()] == [16, 32, 64, 128, 256]
    assert next(model.calibration())["image"].shape[1:] == (3, 224, 224)
    module, inputs = model.stages({"queries": 16})["main"]
    with torch.no_grad():
        assert module(**inputs)["logits"].shape == (1, 1000)


@pytest.mark.parametrize("queries", SMALL.queries)
def test_the_checkpoint_has_the_accuracy_on_record(model: DigitsPerceiver, queries: int) -> None:
    written = record("perceiver.json")["test_accuracy"][f"queries={queries}"]
    test = digits.test_set(500)
    with torch.no_grad():
        answer = AtQueries(model.perceiver, queries)(test.image)["logits"].argmax(1)
    found = (answer == test.label).double().mean().item()
    assert abs(found - written) < 3.5 * (written * (1 - written) / 500) ** 0.5


def test_the_checkpoint_says_how_it_was_made() -> None:
    with safe_open(perceiver.CHECKPOINT, "np") as checkpoint:
        metadata = checkpoint.metadata()
    written = record("perceiver.json")
    assert metadata["command"] == written["command"]
    assert json.loads(metadata["test_accuracy"]) == written["test_accuracy"]
    assert perceiver.CHECKPOINT.stat().st_size < 3.3e6


@pytest.mark.parametrize(
    ("row", "name"), [("accuracy", "perceiver.json"), ("control", "perceiver-control.json")]
)
def test_the_page_shows_the_accuracy_on_record(row: str, name: str) -> None:
    written = record(name)["test_accuracy"].values()
    row = f"| {row}, % | " + " | ".join(f"{100 * value:.1f}" for value in written) + " |"
    assert row in (RECORDS.parent / "README.md").read_text()


def test_half_the_queries_cost_little_and_only_because_they_are_nested() -> None:
    nested = record("perceiver.json")["test_accuracy"]
    control = record("perceiver-control.json")["test_accuracy"]

    def lost(accuracy: dict[str, float], queries: int) -> float:
        return accuracy["queries=64"] - accuracy[f"queries={queries}"]

    assert lost(nested, 32) < 0.01
    assert lost(nested, 4) > 0.04
    assert lost(control, 32) > lost(nested, 32) + 0.03
