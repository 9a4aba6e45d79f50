"""Measuring, on a clock of our own: interleaved, warmed up, until windows agree or time is up."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from elastiq.measure import (
    AGREEING,
    ENOUGH_SAMPLES,
    WARM_UP_RUNS,
    WINDOW_RUNS,
    Bench,
    Window,
    measure,
)


class Machine:
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

    def bench(self, seconds=2.0, joules=lambda: None):
        return Bench(self.costs, seconds, lambda: self.now, joules)

    def whole(self, bench):
        """All windows that a bench takes."""
        return itertools.chain(bench.begin(self.engines()), bench.turns(self.engines()))

    def measure(self, seconds=2.0):
        return measure(self.engines(), seconds, clock=lambda: self.now)


def test_steady_engines_measure_as_what_they_cost():
    found = Machine(fast=0.001, slow=0.004).measure()
    for name, cost in (("fast", 0.001), ("slow", 0.004)):
        latency = found[name]
        assert latency.stable
        assert latency.samples >= ENOUGH_SAMPLES
        for value in (latency.p50, latency.p90, latency.p99, latency.mean):
            assert value == pytest.approx(cost)


def test_quantiles_are_of_all_runs():
    found = Machine(e=[0.001] * 90 + [0.010] * 10).measure(seconds=20)["e"]
    assert found.p50 == pytest.approx(0.001)
    assert found.p99 == pytest.approx(0.010, rel=0.2)
    assert found.mean == pytest.approx(0.0019, rel=0.2)


def test_the_first_run_is_told_apart_and_does_not_spoil_the_rest():
    bench = Machine(e=itertools.chain([0.5], itertools.repeat(0.001)))
    found = bench.measure()["e"]
    assert found.first_run == pytest.approx(0.5)
    assert found.p99 == pytest.approx(0.001)


def test_engines_take_turns():
    bench = Machine(a=0.001, b=0.001)
    bench.measure()
    after = bench.order[2 + 2 * WARM_UP_RUNS :]
    turns = [name for name, _ in itertools.groupby(after)]
    assert len(turns) >= 2 * AGREEING
    assert turns == ["a", "b"] * (len(turns) // 2)


def test_a_restless_engine_is_marked_and_does_not_hang():
    growing = (0.001 * 1.01**n for n in range(100_000))
    found = Machine(e=growing).measure(seconds=1.0)["e"]
    assert not found.stable
    assert found.samples > 0


def test_a_drift_is_measured_for_longer_than_steady_runs():
    """Slower by a third for some windows, and fast again: three windows agree all the time."""
    spells = itertools.cycle([0.001] * 300 + [0.0013] * 300)
    drifting = Machine(e=spells).measure(seconds=20)["e"]
    steady = Machine(e=0.001).measure(seconds=20)["e"]
    assert steady.samples < drifting.samples
    assert steady.stable and drifting.stable


def test_so_many_turns_at_a_time():
    machine = Machine(a=0.001, b=0.001)
    bench = machine.bench()
    list(bench.begin(machine.engines()))
    for visit in range(1, 4):
        assert [window.engine for window in bench.turns(machine.engines(), 2)] == ["a", "b"] * 2
        assert len(bench.taken["a"].windows) == 2 * visit
        assert not bench.done
    list(bench.turns(machine.engines()))
    assert bench.done
    assert not list(bench.turns(machine.engines(), 2))


def test_the_spread_is_that_of_the_middle_half():
    machine = Machine(e=[0.001, 0.002, 0.003, 0.004, 0.005])
    bench = machine.bench()
    list(machine.whole(bench))
    assert bench.taken["e"].spread == pytest.approx(0.002, rel=0.1)
    assert bench.taken["e"].energy is None


def test_energy_is_that_of_an_engines_own_windows():
    machine = Machine(cheap=0.001, dear=0.001)
    used = {"cheap": 0.5, "dear": 2.0}  # joules per run

    def joules():
        return sum(used[name] for name in machine.order)

    bench = machine.bench(joules=joules)
    list(machine.whole(bench))
    assert {n: taken.energy for n, taken in bench.taken.items()} == pytest.approx(used)


def test_what_a_killed_process_measured_counts_and_turns_stay_even():
    machine = Machine(a=0.001, b=0.001, c=0.001)
    before = machine.bench()
    kept = list(itertools.islice(machine.whole(before), 3 + 7))  # a in the midst of a third turn
    again = machine.bench()
    for window in kept:
        again.take(window)
    seen = list(again.turns(machine.engines()))
    assert [window.engine for window in seen[:5]] == ["b", "c", "a", "b", "c"]
    assert {len(taken.windows) for taken in again.taken.values()} == {(len(seen) + 7) // 3}


def test_the_first_run_of_all_is_kept():
    machine = Machine(e=itertools.chain([0.5], itertools.repeat(0.001)))
    bench = machine.bench()
    bench.take(Window("e", (0.7,), first=True))
    bench.take(Window("e", (0.001,) * WINDOW_RUNS))
    list(machine.whole(bench))
    assert bench.taken["e"].latency.first_run == 0.7
