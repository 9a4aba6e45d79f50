"""The best policy without foresight: it agrees with what can be worked out otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.optimum import Choice, Gaps, best, foreseen

FAST, SLOW = Choice(0.6, 1, {2: 1.0}), Choice(0.9, 1, {5: 1.0})
MANY = Choice(0.6, 3, {3: 1.0})


def fixed(length):
    """Gaps that are all alike."""
    return Gaps(np.array([*[0.0] * (length - 1), 1.0]))


@pytest.mark.parametrize("cv", [1.0, 2.0, 4.0])
def test_gaps_are_as_asked_for(cv):
    gaps = Gaps.of(8.0, cv)
    drawn = gaps.draw(300_000, np.random.default_rng(1))
    assert drawn.min() == 1
    assert gaps.mean == pytest.approx(8.0, rel=0.01)
    assert drawn.mean() == pytest.approx(gaps.mean, rel=0.03)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.1)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("choices", [(FAST,), (SLOW,), (FAST, SLOW), (MANY,), (FAST, SLOW, MANY)])
def test_where_nothing_is_random_there_is_nothing_to_foresee(length, choices):
    moments = np.cumsum(np.full(600, length))
    assert best(choices, 8, fixed(length)).earns == pytest.approx(
        foreseen(choices, 8, moments), rel=0.02
    )


def test_where_every_run_takes_too_long_nothing_is_earned():
    assert best([FAST, SLOW], 1, fixed(2)).earns == 0.0
    assert foreseen([FAST, SLOW], 1, np.arange(20)) == 0.0


@pytest.mark.parametrize("often", [0.1, 0.5, 0.9])
def test_where_nobody_can_wait_those_are_lost_who_come_during_a_run(often):
    found = best([Choice(1.0, 1, {4: 1.0})], 4, Gaps(np.array([often]))).earns
    assert found == pytest.approx(1.0 / (often * 4 + 1 - often), rel=0.002)


def test_who_may_be_too_late_is_refused_for_those_with_more_time():
    """Under overload, who serves the newest and refuses the others earns more than who serves all
    in line that may be in time; and no policy earns more than the best."""
    choice, given, often = Choice(1.0, 1, {2: 0.7, 9: 0.3}), 9, 0.6
    random = np.random.default_rng(3)
    moments = np.cumsum(random.geometric(often, 20_000))
    lengths = random.choice([2, 9], len(moments), p=[0.7, 0.3])

    def earned(newest):
        total, head, now = 0, 0, 0
        while head < len(moments):
            now = max(now, moments[head])
            if newest:
                head = int(np.searchsorted(moments, now, side="right")) - 1
            if moments[head] + given >= now + 2:
                now += lengths[head]
                total += bool(now <= moments[head] + given)
            head += 1
        return total / len(moments)

    assert earned(newest=False) < earned(newest=True)
    assert earned(newest=True) < 1.01 * best([choice], given, Gaps(np.array([often]))).earns


def test_more_choices_are_worth_no_less_and_foresight_more():
    gaps = Gaps.of(4.0, 2.0)
    lucky = Choice(0.8, 1, {2: 0.5, 3: 0.4, 9: 0.1})
    alone = [best([choice], 12, gaps).earns for choice in (lucky, SLOW, MANY)]
    together = best([lucky, SLOW, MANY], 12, gaps).earns
    assert max(alone) < together
    random = np.random.default_rng(2)
    moments = np.cumsum(gaps.draw(20_000, random))
    assert together < 0.99 * foreseen([lucky, SLOW, MANY], 12, moments)


@pytest.mark.parametrize("cv", [1.0, 2.0])
@pytest.mark.parametrize("choices", [(FAST,), (SLOW,), (FAST, SLOW, MANY)])
def test_played_it_earns_what_it_is_worth(choices, cv):
    gaps, random = Gaps.of(3.0, cv), np.random.default_rng(4)
    policy = best(choices, 8, gaps)
    assert policy.play(np.cumsum(gaps.draw(40_000, random)), random) == pytest.approx(
        policy.earns, rel=0.015
    )


def test_played_runs_take_as_long_as_they_may():
    """Whoever is served in time is so by luck, and somebody is served all the time."""
    choice, gaps, random = Choice(1.0, 1, {1: 0.25, 4: 0.75}), fixed(4), np.random.default_rng(5)
    played = best([choice], 1, gaps).play(np.cumsum(gaps.draw(20_000, random)), random)
    assert played == pytest.approx(0.25, abs=0.01)
