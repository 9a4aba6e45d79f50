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
OPTIONS = tuple(
    Option(f"{score}x{takes}", score, time * size, 1.3 * time * size, 2 * time * size, time * size)
    ._replace(takes=takes, after=0.0005)
    for score, time in zip(SCORES, TIMES, strict=True)
    for takes, size in ((1, 1.0), (4, 2.0))
)  # fmt: skip
VALUES = last(steps(OPTIONS, GIVEN, PACE / GIVEN, 0.1, stay=0.05))
COSTS = Costs(OPTIONS, GIVEN, [0.0] * len(OPTIONS))
PLAN = Plan(COSTS, VALUES, PACE)


def chance(option, within):
    """Of being in time, by straight lines between what was measured."""
    times = (option.typical, option.likely, option.worst)
    return 0.0 if within < option.typical else np.interp(within, times, (TYPICAL, LIKELY, 1.0))


def returns(current, seconds):
    """What it costs to come to each option from another: as much, or nothing at all."""
    return tuple(seconds * (n != current) for n in range(len(OPTIONS))) if seconds else ()


def worth(place, lefts, current, waking, shifting):
    """What a run earns, and what it leaves to those who come after it."""
    option = OPTIONS[place]
    late = waking + (0.0 if place == current else shifting)
    first = next((n for n, left in enumerate(lefts) if option.typical + late <= left), None)
    if first is None or (
        option.takes > 1
        and place not in {k[0] for k in COSTS.useful(len(lefts), current if shifting else None)[0]}
    ):
        return -inf
    gone = min(first + option.takes, len(lefts))
    earned = sum(option.score * chance(option, left - late) for left in lefts[first:gone])
    by_time, by_left, run = COSTS.known[place][9]
    silence, behind = (GIVEN - lefts[-1]) / GIVEN, len(lefts) - gone
    if behind == 1 and len(lefts) == 2:
        left = max(0, min(LEFTS, int((lefts[gone] - late) * COSTS.cells)))
        left_over = VALUES.successor(silence).leaving[by_left + left]
    else:
        after = VALUES.waiting if behind else VALUES.alone(silence)
        waited = PLAN._as_if(max(0.0, GIVEN - lefts[gone]), behind - 1) if behind else 0.0
        end = run + min(CELLS, (waited + late) * COSTS.cells)
        left_over = np.interp(end, np.arange(ROW), after[by_time : by_time + ROW])
    change = 0.0 if place == current else VALUES.stay
    return earned + left_over + (1 - gone) * VALUES.each - change


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


def test_a_point_for_many_is_kept_for_one_where_a_change_is_dear():
    """Where it is free, one is better answered alone."""
    many = next(n for n, option in enumerate(OPTIONS) if option.takes > 1)
    (free, _), (dear, _) = (
        PLAN.best((GIVEN,), 0, GIVEN, many, 0.0, returns(many, seconds), 0.0)
        for seconds in (0.0, GIVEN)
    )
    assert OPTIONS[free].takes == 1
    assert dear == many
