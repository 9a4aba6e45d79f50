"""What the committed checkpoints say of themselves, and whether it is still so."""

import json

from safetensors import safe_open

from zoo.family import CHECKPOINTS, record


def accuracy(name: str) -> dict[str, float]:
    return record(name)["test_accuracy"]


def assert_says_how_it_was_made(family: str) -> None:
    checkpoint = CHECKPOINTS / f"{family}.safetensors"
    with safe_open(checkpoint, "np") as opened:
        metadata = opened.metadata()
    written = record(family)
    assert metadata["command"] == written["command"]
    assert written["command"].startswith(f"python -m zoo.train {family} ")
    assert json.loads(metadata["test_accuracy"]) == written["test_accuracy"]
    assert checkpoint.stat().st_size < 3e6


def assert_near(found: float, written: float, samples: int) -> None:
    """Within what chance allows for so few samples."""
    assert abs(found - written) < 3.5 * (written * (1 - written) / samples) ** 0.5 + 1 / samples
