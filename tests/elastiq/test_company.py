"""Who are answered together, beside what becomes of requests that are drawn."""

from itertools import pairwise

import numpy as np
import pytest

from elastiq.cells import STATES, WAITS
from elastiq.company import Company
from elastiq.process import Arrivals

DRAWN = 40_000
ROUSED = 0.05
BEGUN = np.append(ROUSED, WAITS[1:])
RARITIES = pytest.mark.parametrize("rarity", [0.2, 0.8])
EVENNESSES = pytest.mark.parametrize("evenness", [1 / 16, 1.0, 4.0])


def drawn(rarity, evenness, takes):
    """When each of those after the first comes."""
    gaps = np.random.default_rng(0).gamma(evenness, rarity / evenness, (DRAWN, takes))
    return gaps.cumsum(axis=1)


@RARITIES
@EVENNESSES
@pytest.mark.parametrize("takes", [2, 4])
@pytest.mark.parametrize("run", [0.1, 0.5])
def test_it_is_as_requests_are_drawn(rarity, evenness, takes, run):
    company, come = Company(takes, BEGUN, rarity, evenness), drawn(rarity, evenness, takes)
    ends = (BEGUN + run)[None, None]
    in_time, leaves = company.in_time(ends)[0, 0], company.leaves(ends)[0, 0]
    for place in (0, 2, 6, 9):
        waited = BEGUN[place]
        with_it = 1 + (come[:, : takes - 1] <= waited).sum(axis=1)
        assert company.size[place] == pytest.approx(with_it.mean(), abs=0.03)
        others = come[:, : takes - 1]
        among = (others <= waited) & (others >= waited + run - 1.0)
        timely = (waited + run <= 1.0) + among.sum(axis=1)
        assert in_time[place] == pytest.approx(timely.mean(), abs=0.03)
        following = come[np.arange(DRAWN), with_it - 1]
        waits = np.maximum(0.0, waited + run - following)
        states = np.array([np.interp(waits, WAITS, one).mean() for one in np.eye(STATES + 1)])
        np.testing.assert_allclose(leaves[place].cumsum(), states.cumsum(), atol=0.03)


@RARITIES
@EVENNESSES
def test_one_at_a_time_is_the_least_of_many(rarity, evenness):
    """The way that counts several comes to the same where it counts one."""
    company = Company(1, WAITS, rarity, evenness)
    np.testing.assert_array_equal(company.size, 1.0)
    np.testing.assert_allclose(company.leaves(WAITS), Arrivals(rarity, evenness).after(), atol=1e-9)


@EVENNESSES
@pytest.mark.parametrize("rarity", [0.001, 0.01, 0.1, 1.0])
def test_no_gap_is_too_short_to_count(rarity, evenness):
    """However far apart the states are: else all queues would seem to grow for ever."""
    gaps = drawn(rarity, evenness, 1)[:, 0]
    left = [np.maximum(0.0, wait - gaps).mean() for wait in WAITS]
    np.testing.assert_allclose(Arrivals(rarity, evenness).after() @ WAITS, left, atol=0.005)


@EVENNESSES
@pytest.mark.parametrize("rarity", [0.001, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("takes", [2, 4, 16])
def test_whoever_is_next_has_waited_for_some_time(rarity, evenness, takes):
    """And is counted once: else values would go up without end."""
    company = Company(takes, BEGUN, rarity, evenness)
    for run in (0.001, 0.1, 1.0):
        leaves = company.leaves((BEGUN + run)[None])
        assert leaves.min() >= 0.0
        np.testing.assert_allclose(leaves.sum(axis=-1), 1.0)


def test_more_at_once_leave_less_behind_and_answer_more():
    runs = np.full((1, 3, STATES + 1), 0.4) + WAITS
    companies = [Company(takes, WAITS, 0.2, 1.0) for takes in (1, 2, 4)]
    for fewer, more in pairwise(companies):
        assert (fewer.size <= more.size + 1e-9).all() and fewer.size[0] == more.size[0] == 1.0
        assert (more.leaves(runs) @ WAITS <= fewer.leaves(runs) @ WAITS + 1e-9).all()
    assert companies[2].size.max() <= 4.0
