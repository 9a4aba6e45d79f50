"""Points that answer several waiting requests in one run: a model at each of some batch sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from elastiq.errors import ElastiqError
from elastiq.records import Point

KNOB = "batch"
DRIVER = "oneshot"  # whose requests are one run each, and so may share one
CLOSE = 1e-3  # of the largest answer: what rounding may do when rows stand elsewhere


def alone(point: Point) -> Point:
    """The point that answers one request, of one that answers several."""
    return Point.of({name: value for name, value in point.settings if name != KNOB})


class Batched:
    """The model contract over another model, each of whose points is there once per batch size.

    Larger batches come first: a request costs less there, though its run takes longer.
    """

    driver = "batched"

    def __init__(self, spec: str, thing: Any, sizes: Sequence[int]) -> None:
        its = getattr(thing, "driver", DRIVER)
        if its != DRIVER:
            raise ElastiqError(
                f"{spec} cannot be built in batches: its driver is {its!r}, which says itself how "
                f"many requests a run takes. --batch is for models of the driver {DRIVER!r}"
            )
        self._spec = spec
        self._thing = thing
        self._sizes = sorted(set(sizes), reverse=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._thing, name)

    def points(self) -> list[dict[str, int | float]]:
        return [
            {**settings, KNOB: size} if size > 1 else dict(settings)
            for settings in self._thing.points()
            for size in self._sizes
        ]

    def stages(self, point: dict[str, int | float]) -> dict[str, Any]:
        settings = dict(point)
        size = int(settings.pop(KNOB, 1))
        stages = dict(self._thing.stages(settings))
        if size == 1:
            return stages
        where = f"{self._spec} at {Point.of(point)}"
        return {
            name: (module, _widen(module, x, size, where)) for name, (module, x) in stages.items()
        }


def _widen(
    module: torch.nn.Module, example: Mapping[str, torch.Tensor], size: int, where: str
) -> dict[str, torch.Tensor]:
    """So many examples as one, of a module that answers each of them as it does alone."""
    torch.manual_seed(0)
    rows = [
        {
            name: torch.randn_like(tensor) if tensor.is_floating_point() else tensor
            for name, tensor in example.items()
        }
        for _ in range(size)
    ]
    together = {name: torch.cat([row[name] for row in rows]) for name in example}
    try:
        with torch.no_grad():
            module.eval()
            alone = [_named(module(**row)) for row in rows]
            found = _named(module(**together))
    except Exception as e:  # the module is the user's own code
        raise ElastiqError(f"{where}: the module takes no batch of {size}: {e}") from e
    for name, answers in found.items():
        expected = torch.cat([one[name] for one in alone])
        if answers.shape != expected.shape or not torch.allclose(
            answers, expected, rtol=0.0, atol=CLOSE * float(expected.abs().max())
        ):
            raise ElastiqError(
                f"{where}: what a request is answered for {name!r} depends on those beside it, so "
                "they cannot share a run. Build it without --batch"
            )
    return together


def _named(answer: Any) -> dict[str, torch.Tensor]:
    return {"output": answer} if isinstance(answer, torch.Tensor) else dict(answer)
