"""What a change of points costs, and what is left then of the gain from choosing.

    python -m benchmarks changes

The simulated scenes of `dispatch`, where the first run of another point takes longer by nothing, a
tenth and two tenths of a millisecond: engines take about half of one. Means over all scenes; the
bound is that of who knows when requests come, and pays nothing for changes.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean

from benchmarks.dispatch import GRID, OURS, SMALL, ahead, build, share, simulated
from benchmarks.harness import Figure
from elastiq.rests import flat
from elastiq.simulation import BESIDE

COSTS = (0.0, 1e-4, 2e-4)  # seconds


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor() as pool:
        path = Path(folder) / "perceiver.elastiq"
        build(path, SMALL)
        for cost in COSTS:
            beside = BESIDE._replace(returning=flat(cost))
            found = list(pool.map(partial(simulated, path, beside=beside), GRID))
            name = f"a change costs {1e3 * cost:g} ms"
            mine = [one.of(OURS) for one in found]
            figures += [
                Figure(f"{name}: share of the bound", fmean(map(share, found)), ""),
                Figure(f"{name}: ahead of the best fixed by", fmean(map(ahead, found)), "points"),
                Figure(
                    f"{name}: changes in a hundred requests",
                    fmean(100 * report.shifts / report.requests for report in mine),
                    "",
                ),
            ]
    return figures
