"""One request, one run of the point's only engine: Perceiver, PatchMerger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elastiq.drivers import Inputs, Outputs, Run
from elastiq.protocols import Arrays
from elastiq.records import TensorSpec

STAGE = "main"


class Oneshot:
    """Hands a request to its engine as it is."""

    MIXES = False

    def inputs(self, stages: Inputs, request: Arrays | None = None) -> tuple[TensorSpec, ...]:
        return stages[STAGE]

    def takes(self, stages: Inputs) -> int:
        return 1

    def answer(self, run: Run, requests: Sequence[Arrays]) -> list[Outputs]:
        return [run(STAGE, request) for request in requests]

    def rehearse(self, run: Run, request: Arrays) -> None:
        self.answer(run, [request])


def driver(settings: Mapping[str, Any]) -> Oneshot:
    return Oneshot()
