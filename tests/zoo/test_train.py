"""The command trains, reproducibly, and records what it did."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from zoo.train import main


def run(output: Path, *flags: str) -> None:
    short = ["--steps", "20", "--marks", "2", "--samples", "100", "--output", str(output)]
    result = CliRunner().invoke(main, ["perceiver", *short, *flags], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("first")
    run(output)
    return output


def test_a_short_run_lowers_the_loss_and_records_itself(first: Path) -> None:
    record = json.loads((first / "perceiver.json").read_text())
    assert record["curve"][-1]["loss"] < record["curve"][0]["loss"]
    assert record["command"] == "python -m zoo.train perceiver --steps 20 --seed 0"
    assert record["test_samples"] == 100
    assert set(record["test_accuracy"]) == {f"queries={q}" for q in (4, 8, 16, 32, 64)}


def test_the_same_seed_gives_the_same_weights(first: Path, tmp_path: Path) -> None:
    run(tmp_path)
    weights, again = (load_file(f / "perceiver.safetensors") for f in (first, tmp_path))
    assert all((weights[name] == again[name]).all() for name in weights)


def test_the_control_leaves_a_record_but_no_weights(tmp_path: Path) -> None:
    run(tmp_path, "--control", "--steps", "4")
    assert [path.name for path in tmp_path.iterdir()] == ["perceiver-control.json"]


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["resnet"])
    assert result.exit_code == 2
    assert "perceiver" in result.output
