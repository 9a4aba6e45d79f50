"""One request, one run of the point's only engine: Perceiver, PatchMerger."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from elastiq.protocols import Arrays, Engine

OUTPUTS_VARY = False


def answer(engines: Mapping[str, Engine], inputs: Arrays) -> dict[str, np.ndarray]:
    return engines["main"](inputs)
