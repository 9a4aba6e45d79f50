"""The best of all plans by those who know what comes: it agrees with trying them all."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.schedule import CELLS, Way, most

DEADLINE = 8.0  # so that whole numbers are whole cells


def always(takes, score, run):
    return Way(takes, (score,), ((run, 1.0),))


def earned_by(moments, deadline, order):
    """What a schedule of (request, way or None) in this order earns, as soon as it can."""
    free = earned = 0.0
    for place, way in order:
        if way is None:
            continue
        free = max(free, moments[place]) + way.law[0][0]
        if free > moments[place] + deadline:
            return 0.0
        earned += way.worth[0]
    return earned


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_it_is_the_best_in_any_order(seed, count):
    random = np.random.default_rng(seed)
    moments = np.sort(random.uniform(0.0, 12.0, count))
    ways = [always(1, 0.5, random.uniform(1.0, 8.0)), always(1, 0.9, random.uniform(1.0, 8.0))]
    found = most(moments, DEADLINE, [ways] * count)[0]

    def tried(deadline):
        return max(
            earned_by(moments, deadline, zip(order, taken, strict=True))
            for order in itertools.permutations(range(count))
            for taken in itertools.product([None, *ways], repeat=count)
        )

    blurred = DEADLINE + (count + 1) * DEADLINE / CELLS
    assert tried(DEADLINE) - 1e-9 <= found <= tried(blurred) + 1e-9


def expected(moments, ways, pauses):
    """The same by trying all that can be done at each moment, whatever runs then take."""

    @cache
    def best(place, free):
        if place == len(moments):
            return 0.0
        found = best(place + 1, free)
        for way in ways:
            for last in range(place, min(place + way.takes, len(moments))):
                begin, together = max(free, moments[last]), moments[place : last + 1]
                found = max(
                    found,
                    sum(
                        chance
                        * (
                            way.worth[0] * sum(begin + run <= one + DEADLINE for one in together)
                            + best(last + 1, begin + run + pauses[last - place])
                        )
                        for run, chance in way.law
                    ),
                )
        return found

    return best(0, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=7),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
    st.floats(0.1, 0.9),
    st.sampled_from([(0, 0, 0), (1, 2, 4)]),
)
def test_runs_are_known_by_their_law_alone(gaps, runs, chance, pauses):
    moments = np.cumsum(gaps)
    one = Way(1, (0.9,), ((runs[0], chance), (runs[1], 1.0 - chance)))
    many = Way(3, (0.6,), ((runs[2], chance), (runs[3], 1.0 - chance)))
    found = most(moments.astype(float), DEADLINE, [[one, many]] * len(moments), pauses)
    assert found[0] == pytest.approx(expected(moments.tolist(), [one, many], pauses))


def test_those_who_run_together_are_counted_and_hold_up_the_next():
    moments = np.zeros(8)

    def found(takes, pauses):
        return most(moments, 2.0, [[always(takes, 0.5, 1.0)]] * 8, pauses)[0]

    assert found(1, [0.0]) == pytest.approx(1.0)
    assert found(4, [0.0] * 4) == pytest.approx(4.0)
    assert found(4, [0.1] * 4) == pytest.approx(2.0)
    late = most(np.array([0.0, 0.5, 0.9]), 2.0, [[always(3, 1.0, 1.0)]] * 3, [0.0] * 3)
    assert late[0] == pytest.approx(3.0)


def test_each_way_to_count_has_a_plan_of_its_own():
    right, sure = Way(1, (0.9, 1.0), ((4.0, 1.0),)), Way(1, (0.2, 1.0), ((2.0, 1.0),))
    found = most(np.zeros(4), DEADLINE, [[right, sure]] * 4)
    assert found == pytest.approx([1.8, 4.0])


def test_each_request_has_ways_of_its_own():
    fast, slow = always(1, 1.0, 1.0), always(1, 1.0, 7.0)
    assert most(np.array([0.0, 1.0]), DEADLINE, [[fast], [slow]])[0] == pytest.approx(2.0)
    assert most(np.array([0.0, 1.0]), DEADLINE, [[slow], [slow]])[0] == pytest.approx(1.0)


@pytest.mark.parametrize("run", [1e-3, 1e-6])
def test_runs_much_shorter_than_a_deadline_are_still_told_from_none(run):
    """Requests at once, more than can be answered: never fewer than are, nor many more."""
    count = int(1.5 / run) if run > 1e-4 else 2000
    found = most(np.zeros(count), 1.0, [[always(1, 1.0, run)]] * count)[0]
    assert min(count, 1.0 / run) - 1e-6 <= found <= min(count, 1.05 / run)


def test_a_run_that_nobody_can_wait_for_is_no_hindrance():
    """Nor does it take as much memory as it is long."""
    found = most(np.zeros(3), 1.0, [[always(1, 1.0, 1e9), always(1, 0.5, 0.5)]] * 3)[0]
    assert found == pytest.approx(1.0)
    unlikely = Way(1, (1.0,), ((0.5, 0.9), (1e9, 0.1)))
    assert most(np.array([0.0, 50.0]), 1.0, [[unlikely]] * 2)[0] == pytest.approx(1.8)
