"""Ranges of activations: up to which size values are told apart, by what calibration data shows.

All are taken from one histogram of sizes per tensor, whose counts do not depend on the order of
the data. ONNX Runtime's own entropy calibrator is not used: its default of 128 bins for 128 steps
leaves it nothing to choose, so that it answers as min-max does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from calibration.activations import outputs
from calibration.data import CalibrationData
from elastiq.errors import unknown

BINS = 2048
STEPS = 128  # that int8 has for sizes
NARROWEST = STEPS  # bins: with fewer, a step would be finer than the histogram
PERCENTILE = 99.99
FAINT = 1e-4  # counts that stand for none, since entropy knows no impossible value


@dataclass(frozen=True)
class Histogram:
    """How many values of each size there were, in equal bins from nothing to the largest."""

    counts: np.ndarray
    top: float

    @property
    def centres(self) -> np.ndarray:
        return (np.arange(BINS) + 0.5) * self.top / BINS

    @property
    def edges(self) -> np.ndarray:
        """The limits that can be chosen."""
        return np.arange(NARROWEST, BINS + 1) * self.top / BINS


Method = Callable[[Histogram], float]
DEFAULT = "percentile"  # measured best: on the trained Perceiver, and with outlier channels


def minmax(histogram: Histogram) -> float:
    """The largest value: nothing is cut off."""
    return histogram.top


def percentile(histogram: Histogram) -> float:
    """The limit below which nearly all values lie."""
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    cut = (int(np.searchsorted(share, PERCENTILE / 100)) + 1) * histogram.top / BINS
    return max(cut, float(histogram.edges[0]))


def mse(histogram: Histogram) -> float:
    """The limit with the least squared error, of rounding within it and of cutting beyond it."""
    limits = histogram.edges[:, None]
    beyond = np.maximum(histogram.centres - limits, 0.0)
    rounding = np.where(beyond > 0, 0.0, (limits / STEPS) ** 2 / 12)
    return float(histogram.edges[int(((beyond**2 + rounding) @ histogram.counts).argmin())])


def entropy(histogram: Histogram) -> float:
    """The limit whose steps keep most of the information (least Kullback-Leibler divergence)."""
    losses = [_divergence(histogram.counts, bins) for bins in range(NARROWEST, BINS + 1)]
    return float(histogram.edges[int(np.argmin(losses))])


def _divergence(counts: np.ndarray, bins: int) -> float:
    """Of values cut off at `bins`, from what is left of them in the steps."""
    kept = counts[:bins].astype(np.float64)
    step = np.arange(bins) * STEPS // bins
    filled = np.bincount(step, kept > 0, STEPS)
    mean = np.bincount(step, kept, STEPS) / np.maximum(filled, 1)
    coarse = np.where(kept > 0, mean[step], 0.0)
    kept[-1] += counts[bins:].sum()
    there = kept > 0
    coarse = np.maximum(coarse[there], FAINT)
    p, q = kept[there] / kept.sum(), coarse / coarse.sum()
    return float((p * np.log(p / q)).sum())


METHODS: dict[str, Method] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "entropy": entropy,
}


def method(name: str) -> Method:
    """The range method of a name."""
    if name not in METHODS:
        raise unknown("range method", name, METHODS)
    return METHODS[name]


def limits(
    model: ModelProto, names: Sequence[str], data: CalibrationData, name: str
) -> dict[str, float]:
    """The size up to which each tensor's values are told apart."""
    names = list(dict.fromkeys(names))
    choose = method(name)
    return {tensor: choose(found) for tensor, found in _histograms(model, names, data).items()}


def _histograms(
    model: ModelProto, names: Sequence[str], data: CalibrationData
) -> dict[str, Histogram]:
    """Two runs over the data, so that it need not be held in memory."""
    tops = dict.fromkeys(names, float(np.finfo(np.float32).tiny))
    for values in outputs(model, names, data):
        for name, value in zip(names, values, strict=True):
            tops[name] = max(tops[name], float(np.abs(value).max()))
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    for values in outputs(model, names, data):
        for name, value in zip(names, values, strict=True):
            places = np.abs(value).ravel().astype(np.float64) * (BINS / tops[name])
            counts[name] += np.bincount(np.minimum(places, BINS - 1).astype(int), minlength=BINS)
    return {name: Histogram(counts[name], tops[name]) for name in names}
