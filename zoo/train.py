"""Train one family of the zoo and write its checkpoint: `python -m zoo.train perceiver`."""

import importlib
import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zoo import digits

# Each is a module of the zoo with a class `Recipe`.
FAMILIES = ("perceiver", "patchmerger", "vit", "concatplexer", "adavit", "unsplit", "tore")
CHECKPOINTS = Path(__file__).parent / "checkpoints"


class Data(Protocol):
    """A task: a module of the zoo that draws canvases."""

    canvases: digits.Draw

    def test_set(self, n: int) -> digits.Batch: ...


class Recipe(Protocol):
    """What a family brings; made with the name of a control, the one it is compared with."""

    data: Data
    steps: int  # unless told otherwise
    batch: int
    learning_rate: float

    @property
    def model(self) -> nn.Module: ...  # what the checkpoint keeps
    @property
    def trained(self) -> nn.Module: ...  # `model` and what only its training needs

    def loss(self, batch: digits.Batch, rng: np.random.Generator, progress: float) -> Tensor:
        """`progress` goes from 0 to 1 over the run."""
        ...

    def accuracy(self, test: digits.Batch) -> dict[str, float]: ...


@dataclass(frozen=True)
class Mark:
    """One line of the training curve; the accuracy is of a part of the test set."""

    step: int
    loss: float
    seconds: float
    accuracy: dict[str, float]


def train(recipe: Recipe, steps: int, seed: int, marks: int) -> list[Mark]:
    """AdamW, warmed up, then along a cosine to nearly zero; returns the curve."""
    rng = np.random.default_rng(seed)
    # A process of its own draws the canvases ahead, so that training never waits for them.
    canvases = digits.Canvases(recipe.batch, seed, recipe.data.canvases)
    loader = DataLoader(canvases, batch_size=None, num_workers=1)
    peek = recipe.data.test_set(250)
    optimizer, schedule = _optimizer(recipe, steps)
    recipe.trained.train()
    losses: list[float] = []
    curve: list[Mark] = []
    start = time.monotonic()
    for step, batch in zip(range(1, steps + 1), loader, strict=False):
        loss = recipe.loss(batch, rng, step / steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(recipe.trained.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        elapsed = time.monotonic() - start
        _progress(step, steps, losses, elapsed)
        if step % max(1, steps // marks) == 0:
            accuracy = test_accuracy(recipe, peek)
            curve.append(Mark(step, round(_recent(losses), 4), round(elapsed, 1), accuracy))
            print(f"\r{step:6d}  loss {curve[-1].loss:.3f}  {_line(accuracy)}", file=sys.stderr)
    return curve


def test_accuracy(recipe: Recipe, test: digits.Batch) -> dict[str, float]:
    """Accuracy at each operating point, with the modules left in training mode afterwards."""
    recipe.trained.eval()
    with torch.inference_mode():
        accuracy = recipe.accuracy(test)
    recipe.trained.train()
    return accuracy


def round_to_half(model: nn.Module) -> None:
    """Checkpoints are kept in half precision, so what is tested is what they hold."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half())


def _optimizer(
    recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Weight decay on matrices only."""
    parameters = list(recipe.trained.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = recipe.learning_rate
    optimizer = torch.optim.AdamW(groups, rate, betas=(0.9, 0.98), fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=recipe.learning_rate,
        total_steps=steps + 1,
        pct_start=0.08,
        cycle_momentum=False,
    )


def _recent(losses: list[float]) -> float:
    return float(np.mean(losses[-100:]))


def _line(accuracy: dict[str, float]) -> str:
    return "  ".join(f"{point} {100 * value:.1f} %" for point, value in accuracy.items())


def _progress(step: int, steps: int, losses: list[float], elapsed: float) -> None:
    if sys.stderr.isatty() and (step % 10 == 0 or step == steps):
        left = elapsed / step * (steps - step)
        line = f"{step}/{steps}  loss {_recent(losses):.3f}  {left / 60:.1f} min left"
        print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)


@click.command()
@click.argument("family", type=click.Choice(FAMILIES))
@click.option("--steps", type=int, help="Training steps.  [default: the family's own]")
@click.option("--seed", default=0, show_default=True, help="Seed of weights, data and draws.")
@click.option(
    "--control",
    is_flag=False,
    flag_value="control",
    default="",
    help="Train what the family is compared with instead; a name where there are several.",
)
@click.option("--samples", default=4000, show_default=True, help="Test canvases at the end.")
@click.option("--marks", default=15, show_default=True, help="Points of the training curve.")
@click.option("--threads", default=2, show_default=True, help="Cores; rounding depends on it.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=CHECKPOINTS,
    help="Folder for the checkpoint and the record of the run.  [default: the zoo's own]",
)
def main(
    family: str,
    steps: int | None,
    seed: int,
    control: str,
    samples: int,
    marks: int,
    threads: int,
    output: Path,
) -> None:
    """Train FAMILY and write FAMILY.safetensors and FAMILY.json, the record of the run.

    A control's record is FAMILY-control.json, or FAMILY-NAME.json; its weights are not kept.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    recipe: Recipe = importlib.import_module(f"zoo.{family}").Recipe(control)
    steps = steps or recipe.steps
    start, spent = time.monotonic(), time.process_time()
    curve = train(recipe, steps, seed, marks)
    seconds, spent = time.monotonic() - start, time.process_time() - spent
    round_to_half(recipe.model)
    accuracy = test_accuracy(recipe, recipe.data.test_set(samples))
    print(f"test, n={samples}: {_line(accuracy)}", file=sys.stderr)
    record: dict[str, Any] = {
        "command": _command(family, steps, seed, control),
        "seed": seed,
        "threads": threads,
        "versions": _versions(),
        "train_seconds": round(seconds, 1),
        "cpu_seconds": round(spent, 1),  # of all threads: the same however busy the machine is
        "test_samples": samples,
        "test_accuracy": accuracy,
    }
    _save(output, family, control, recipe, record, curve)


def _command(family: str, steps: int, seed: int, control: str) -> str:
    flag = {"": "", "control": " --control"}.get(control, f" --control {control}")
    return f"python -m zoo.train {family} --steps {steps} --seed {seed}{flag}"


def _versions() -> dict[str, str]:
    packages = ("torch", "numpy", "scikit-learn", "safetensors")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _save(
    output: Path,
    family: str,
    control: str,
    recipe: Recipe,
    record: dict[str, Any],
    curve: list[Mark],
) -> None:
    output.mkdir(parents=True, exist_ok=True)
    if not control:
        metadata = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in record.items()
        }
        weights = {name: tensor.half() for name, tensor in recipe.model.state_dict().items()}
        save_file(weights, output / f"{family}.safetensors", metadata)
    name = f"{family}-{control}.json" if control else f"{family}.json"
    text = json.dumps(record | {"curve": [asdict(mark) for mark in curve]}, indent=2)
    (output / name).write_text(text + "\n")


if __name__ == "__main__":
    main()
