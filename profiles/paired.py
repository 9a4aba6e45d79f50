"""What an evaluation set can tell: the drop from source to engine, with its confidence interval."""

from __future__ import annotations

import math

import numpy as np

from elastiq.records import Quality

Z95 = 1.96
NEGLIGIBLE = 0.01  # points: a mean as near to the budget as this needs a set nobody has
INSIDE, OVER, UNSURE = "inside", "over", "cannot tell"


def margin(scores: np.ndarray, reference: np.ndarray) -> float:
    """Half the 95 % interval, in points, of the mean drop of scores (0…1) paired by sample.

    Bonett and Price's interval: one sample more that only the engine gets right, and one more that
    only the source does. So samples that all agree prove little when they are few, which neither
    a plain standard error nor a bootstrap sees.
    """
    drops = np.concatenate([reference - scores, [1.0, -1.0]])
    return 100 * Z95 * math.sqrt(float(drops.var()) / len(drops))


def verdict(quality: Quality, budget: float) -> str:
    """Whether the drop is inside the budget, over it, or nearer to it than the samples resolve."""
    if quality.margin is None:
        return UNSURE
    if quality.drop + quality.margin <= budget:
        return INSIDE
    return OVER if quality.drop - quality.margin > budget else UNSURE


def drop(quality: Quality) -> str:
    """The drop and how surely it is known: `drop 0.05 ± 0.12 points over 4000 samples`."""
    if quality.margin is None:
        return f"drop {quality.drop:.2f} points"
    return f"drop {quality.drop:.2f} ± {quality.margin:.2f} points over {quality.samples} samples"


def worded(quality: Quality, budget: float) -> str:
    """The drop, and whether the samples can tell on which side of the budget it lies."""
    told = drop(quality)
    if quality.margin is None:
        return f"{told}; cannot tell how surely: evaluate() gives one score for all samples"
    if verdict(quality, budget) != UNSURE:
        return told
    return (
        f"{told}; cannot tell: {quality.samples} samples can resolve {quality.margin:.2f} points, "
        f"the budget is {budget:g}{_needed(quality, quality.margin, budget)}"
    )


def _needed(quality: Quality, margin: float, budget: float) -> str:
    """How many samples would tell, if they were like these."""
    distance = abs(budget - quality.drop)
    if distance < NEGLIGIBLE:
        return ""
    needed = quality.samples * (margin / distance) ** 2
    return f", about {float(f'{needed:.1g}'):.0f} would tell"
