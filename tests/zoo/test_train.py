"""The command trains, reproducibly, and records what it did."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from zoo.train import FAMILIES, main


def run(output: Path, *flags: str, family: str = "perceiver") -> None:
    short = ["--steps", "20", "--marks", "2", "--samples", "100", "--output", str(output)]
    result = CliRunner().invoke(main, [family, *short, *flags], catch_exceptions=False)
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


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("family", FAMILIES[1:])
def test_every_family_and_its_control_can_be_trained(
    family: str, control: bool, tmp_path: Path
) -> None:
    run(tmp_path, "--steps", "3", "--marks", "1", *["--control"] * control, family=family)
    name = f"{family}-control" if control else family
    record = json.loads((tmp_path / f"{name}.json").read_text())
    flag = " --control" if control else ""
    assert record["command"] == f"python -m zoo.train {family} --steps 3 --seed 0{flag}"
    assert len(record["curve"]) == 1
    assert record["test_accuracy"]


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(main, ["resnet"])
    assert result.exit_code == 2
    assert "perceiver" in result.output
