"""The best policy without foresight where several come at once: it agrees with what can be worked
out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import crowds
from benchmarks.crowds import Clumps
from benchmarks.optimum import Choice, Gaps, best, foreseen

FAST, SLOW = Choice(0.6, 1, {1: 1.0}), Choice(0.9, 1, {3: 0.7, 4: 0.3})
MANY = Choice(0.6, 3, {2: 1.0})


@pytest.mark.parametrize("cv", [2.0, 4.0, 8.0])
def test_clumps_are_as_asked_for(cv):
    clumps = Clumps.of(2.0, cv)
    drawn = clumps.draw(400_000, np.random.default_rng(1))
    assert drawn.min() == 0 and np.mean(drawn == 0) == pytest.approx(clumps.together, abs=0.005)
    assert clumps.mean == pytest.approx(2.0, rel=0.05)
    assert drawn.mean() == pytest.approx(clumps.mean, rel=0.1)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.1)


@pytest.mark.parametrize("choices", [(FAST,), (SLOW,), (FAST, SLOW, MANY)])
def test_where_nobody_comes_together_it_is_what_was_found_before(choices):
    gaps = Gaps.of(2.5, 2.0)
    found = crowds.best(choices, 5, Clumps(0.0, gaps), 6).earns
    assert found == pytest.approx(best(choices, 5, gaps).earns, rel=2e-3)


@pytest.mark.parametrize(("given", "answered"), [(1, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize("together", [0.3, 0.8])
def test_of_each_clump_so_many_are_answered_as_there_is_time_for(given, answered, together):
    """Clumps come every fourth slot, and each run takes one."""
    clumps = Clumps(together, Gaps(np.array([0.0, 0.0, 0.0, 1.0])))
    expected = sum(0.6 * together**place for place in range(answered)) * (1.0 - together)
    found = crowds.best([FAST], given, clumps, 8).earns
    assert found == pytest.approx(expected, rel=0.01)


def test_who_comes_beyond_the_limit_is_lost():
    clumps = Clumps(0.8, Gaps(np.array([0.0, 0.0, 0.0, 1.0])))
    found = [crowds.best([FAST], 4, clumps, most).earns for most in (1, 2, 4, 6)]
    assert found[0] < found[1] < found[2] == pytest.approx(found[3], rel=0.01)


def test_more_choices_are_worth_no_less_and_foresight_more():
    clumps = Clumps.of(1.5, 3.0)
    alone = [crowds.best([choice], 6, clumps, 8).earns for choice in (FAST, SLOW, MANY)]
    together = crowds.best([FAST, SLOW, MANY], 6, clumps, 8).earns
    assert max(alone) < together
    moments = np.cumsum(clumps.draw(20_000, np.random.default_rng(2)))
    assert together < 1.02 * foreseen([FAST, SLOW, MANY], 6, moments)


def test_where_every_run_takes_too_long_nothing_is_earned():
    assert crowds.best([MANY], 1, Clumps.of(1.5, 3.0), 4).earns == 0.0


@pytest.mark.parametrize("cv", [1.0, 2.0])
def test_played_it_earns_what_it_is_worth(cv):
    clumps, random = Clumps.of(1.5, cv), np.random.default_rng(4)
    policy = crowds.best([FAST, SLOW, MANY], 6, clumps, 8)
    assert policy.play(np.cumsum(clumps.draw(40_000, random)), random) == pytest.approx(
        policy.earns, rel=0.02
    )
