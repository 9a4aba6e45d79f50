"""Measuring, on a clock of our own: interleaved, warmed up, until windows agree or time is up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from elastiq.measure import AGREEING_WINDOWS, ENOUGH_SAMPLES, WARM_UP_RUNS, measure


class Bench:
    """Engines that cost what they say, on a clock that only they move."""

    def __init__(self, **costs):
        self.now = 0.0
        self.order = []
        self.costs = {name: itertools.cycle([cost] if np.isscalar(cost) else cost)
                      for name, cost in costs.items()}  # fmt: skip

    def engines(self):
        return {name: lambda name=name: self.run(name) for name in self.costs}

    def run(self, name):
        self.order.append(name)
        self.now += next(self.costs[name])

    def measure(self, seconds=2.0):
        return measure(self.engines(), seconds, clock=lambda: self.now)


def test_steady_engines_measure_as_what_they_cost():
    found = Bench(fast=0.001, slow=0.004).measure()
    for name, cost in (("fast", 0.001), ("slow", 0.004)):
        latency = found[name]
        assert latency.stable
        assert latency.samples >= ENOUGH_SAMPLES
        for value in (latency.p50, latency.p90, latency.p99, latency.mean):
            assert value == pytest.approx(cost)


def test_quantiles_are_of_all_runs():
    found = Bench(e=[0.001] * 90 + [0.010] * 10).measure(seconds=20)["e"]
    assert found.p50 == pytest.approx(0.001)
    assert found.p99 == pytest.approx(0.010, rel=0.2)
    assert found.mean == pytest.approx(0.0019, rel=0.2)


def test_the_first_run_is_told_apart_and_does_not_spoil_the_rest():
    bench = Bench(e=itertools.chain([0.5], itertools.repeat(0.001)))
    found = bench.measure()["e"]
    assert found.first_run == pytest.approx(0.5)
    assert found.p99 == pytest.approx(0.001)


def test_engines_take_turns():
    bench = Bench(a=0.001, b=0.001)
    bench.measure()
    after = bench.order[2 + 2 * WARM_UP_RUNS :]
    turns = [name for name, _ in itertools.groupby(after)]
    assert len(turns) >= 2 * AGREEING_WINDOWS
    assert turns == ["a", "b"] * (len(turns) // 2)


def test_a_restless_engine_is_marked_and_does_not_hang():
    growing = (0.001 * 1.01**n for n in range(100_000))
    found = Bench(e=growing).measure(seconds=1.0)["e"]
    assert not found.stable
    assert found.samples > 0
