"""What a choice among packs is worth, beside the same written out without haste."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.cells import CELLS, LEFTS, ROW
from elastiq.planning import LIKELY, NONE_FITS, TYPICAL, Costs, Plan
from elastiq.policies import Option
from elastiq.values import last, steps

GIVEN, PACE = 0.02, 0.003
SCORES, TIMES = (0.5, 0.7, 0.8, 0.9), (0.001, 0.002, 0.004, 0.008)


def plan_of(four):
    """Of points that answer one, and four in so many times as long."""
    options = tuple(
        Option(f"{score}x{takes}", score, time, 1.3 * time, 2 * time, time, takes, after=0.0005)
        for score, single in zip(SCORES, TIMES, strict=True)
        for takes, time in ((1, single), (4, four * single))
    )
    values = last(steps(options, GIVEN, PACE / GIVEN, 0.1, stay=0.05))
    return Plan(Costs(options, GIVEN, [0.0] * len(options)), values, PACE)


PLAN, DEAR_FOURS = plan_of(2.0), plan_of(3.5)
OPTIONS = PLAN.costs.options


def chance(option, within):
    """Of being in time, by straight lines between what was measured."""
    times = (option.typical, option.likely, option.worst)
    return 0.0 if within < option.typical else np.interp(within, times, (TYPICAL, LIKELY, 1.0))


def returns(current, seconds):
    """What it costs to come to each option from another: as much, or nothing at all."""
    return tuple(seconds * (n != current) for n in range(len(OPTIONS))) if seconds else ()


def worth(place, lefts, current, waking, shifting, plan=PLAN):
    """What a run earns, and what it leaves to those who come after it."""
    costs, values = plan.costs, plan._values
    option = costs.options[place]
    late = waking + (0.0 if place == current else shifting)
    first = next((n for n, left in enumerate(lefts) if option.typical + late <= left), None)
    if first is None or (
        option.takes > 1
        and place not in {k[0] for k in costs.useful(len(lefts), current if shifting else None)[0]}
    ):
        return -inf
    gone = min(first + option.takes, len(lefts))
    earned = sum(option.score * chance(option, left - late) for left in lefts[first:gone])
    by_time, by_left, run = costs.known[place][9]
    silence, behind = (GIVEN - lefts[-1]) / GIVEN, len(lefts) - gone
    if behind == 1 and len(lefts) == 2:
        left = max(0, min(LEFTS, int((lefts[gone] - late) * costs.cells)))
        left_over = values.successor(silence).leaving[by_left + left]
    else:
        after = values.waiting if behind else values.alone(silence)
        waited = plan._as_if(max(0.0, GIVEN - lefts[gone]), behind - 1) if behind else 0.0
        end = run + min(CELLS, (waited + late) * costs.cells)
        left_over = np.interp(end, np.arange(ROW), after[by_time : by_time + ROW])
    change = 0.0 if place == current else values.stay
    return earned + left_over + (1 - gone) * values.each - change


@given(
    st.lists(st.floats(0.0, GIVEN), min_size=2, max_size=17),
    st.integers(0, len(OPTIONS) - 1),
    st.floats(0.0, 0.003),
    st.just(0.0) | st.floats(0.0, 0.003),
)
@settings(max_examples=300)
def test_no_option_is_worth_more_than_the_best(slacks, current, waking, shifting):
    returning = returns(current, shifting)
    best, _ = PLAN.best(tuple(slacks), 0, GIVEN, current, waking, returning, 0.0)
    all_worths = [worth(n, slacks, current, waking, shifting) for n in range(len(OPTIONS))]
    if best == NONE_FITS:
        assert max(all_worths) == -inf
    else:
        assert all_worths[best] == pytest.approx(max(all_worths), abs=1e-6)


@given(
    st.lists(st.floats(0.0, GIVEN), min_size=2, max_size=2),
    st.sampled_from(range(0, len(OPTIONS), 2)),
    st.floats(0.0, 0.003),
    st.just(0.0) | st.floats(0.0, 0.003),
)
def test_two_are_answered_one_by_one_where_that_is_as_soon(slacks, current, waking, shifting):
    """At the point that is worth most to both, of those with which the first is in time."""
    returning, options = returns(current, shifting), DEAR_FOURS.costs.options
    best, _ = DEAR_FOURS.best(tuple(slacks), 0, GIVEN, current, waking, returning, 0.0)
    late = [waking + (shifting if place != current else 0.0) for place in range(len(options))]
    all_worths = {
        place: worth(place, slacks, current, waking, shifting, DEAR_FOURS)
        for place, option in enumerate(options)
        if option.takes == 1 and option.typical <= slacks[0] - late[place]
    }
    if best == NONE_FITS:
        assert not all_worths
    else:
        assert all_worths[best] == pytest.approx(max(all_worths.values()), abs=1e-6)


def test_a_point_for_many_is_kept_for_one_where_a_change_is_dear():
    """Where it is free, one is better answered alone."""
    many = next(n for n, option in enumerate(OPTIONS) if option.takes > 1)
    (free, _), (dear, _) = (
        PLAN.best((GIVEN,), 0, GIVEN, many, 0.0, returns(many, seconds), 0.0)
        for seconds in (0.0, GIVEN)
    )
    assert OPTIONS[free].takes == 1
    assert dear == many
