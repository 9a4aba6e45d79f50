"""Several requests, one run: an engine that takes N images at once, and answers a row for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from elastiq.drivers import Inputs, Outputs, Run
from elastiq.protocols import Arrays
from elastiq.records import TensorSpec

STAGE = "main"


class Mux:
    """Packs requests along the first axis, in order, and takes the rows apart again."""

    MIXES = True

    def inputs(self, stages: Inputs, request: Arrays | None = None) -> tuple[TensorSpec, ...]:
        return _of_one(stages[STAGE])

    def takes(self, stages: Inputs) -> int:
        return stages[STAGE][0].shape[0]

    def answer(self, run: Run, requests: Sequence[Arrays]) -> list[Outputs]:
        room = run.ready.takes
        # Repeats fill the room that nobody needs: what they are answered is dropped.
        rows = [requests[place % len(requests)] for place in range(room)]
        packed = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        answers = run(STAGE, packed)
        return [
            {name: array[place : place + 1] for name, array in answers.items()}
            for place in range(len(requests))
        ]

    def rehearse(self, run: Run, request: Arrays) -> None:
        self.answer(run, [request])


@lru_cache  # it is asked for at every request
def _of_one(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in specs)


def driver(settings: Mapping[str, Any]) -> Mux:
    return Mux()
