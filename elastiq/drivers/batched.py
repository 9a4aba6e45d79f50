"""Several requests, one run, as `mux`; but each is answered as it would be alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elastiq.drivers.mux import Mux


class Batched(Mux):
    """Any oneshot model's engines, traced for so many requests at once."""

    MIXES = False


def driver(settings: Mapping[str, Any]) -> Batched:
    return Batched()
