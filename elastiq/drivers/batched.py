"""Several requests, one run, as `mux`; but each is answered as it would be alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elastiq.drivers import Outputs, Run
from elastiq.drivers.mux import STAGE, Mux
from elastiq.protocols import Arrays


class Batched(Mux):
    """Any oneshot model's engines, traced for so many requests at once."""

    MIXES = False

    def answer(self, run: Run, requests: Sequence[Arrays]) -> list[Outputs]:
        if run.ready.takes == 1:  # nothing to pack: torch may even be given a batch as a request
            return [run(STAGE, request) for request in requests]
        return super().answer(run, requests)


def driver(settings: Mapping[str, Any]) -> Batched:
    return Batched()
