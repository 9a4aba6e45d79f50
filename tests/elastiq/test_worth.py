"""What later requests are worth, and what comes of it in a queue that is simulated."""

from bisect import bisect_right
from itertools import pairwise
from math import exp, inf
from types import SimpleNamespace

import numpy as np
import pytest

from elastiq.atlas import ALIKE, OFTEN_APART, RARE_APART
from elastiq.cells import CELLS, ROW
from elastiq.policies import Decision, Option, Situation, policy
from elastiq.process import HORIZON
from elastiq.rhythm import AT_RANDOM
from elastiq.values import last, steps, together
from elastiq.worth import FORESIGHT, SOON_STEP, STEP, WANTED, Worth

GIVEN = 5.0
POINTS = ((0.8, 0.6), (1.0, 0.85), (1.4, 0.93), (2.5, 0.94))  # seconds, score


def serve(
    options,
    chooser,
    pace,
    count=4000,
    evenness=1.0,
    soon=AT_RANDOM,
    believed=None,
    given=GIVEN,
    limit=inf,
):
    """The mean score of all requests: first come, first served, and those who are taken for
    hopeless are refused. The chooser may believe that the options are others."""
    believed = believed or options
    gaps = np.random.default_rng(0).gamma(evenness, pace / evenness, count)
    arrivals = np.cumsum(gaps).tolist()
    free, score, current, index, sent = 0.0, 0.0, None, 0, count
    while index < count:
        now = max(free, arrivals[index])
        waiting = bisect_right(arrivals, now, index)
        if waiting > index + limit:  # who comes while so many wait is turned away
            del arrivals[index + limit : waiting]
            count, waiting = len(arrivals), index + limit
        told = min(waiting, index + 17)
        slacks = tuple(arrival + given - now for arrival in arrivals[index:told])
        queue = {"beyond": waiting - told, "limit": limit}
        situation = Situation(0.0, slacks, current, pace, given, soon=soon, **queue)
        decision = chooser.choose(believed, situation)
        chosen, option = decision.index, options[decision.index]
        if decision.refuses or believed[chosen].typical > slacks[0]:
            index += 1
            continue
        free, current = now + option.typical + option.after, chosen
        answered = slacks[: option.takes]
        score += option.score * sum(option.typical <= slack for slack in answered)
        index += len(answered)
    return score / sent


@pytest.mark.parametrize("pace", [1.0, 1.5, 3.0])
def test_it_beats_the_point_that_would_have_been_best(make, pace):
    options = make.options(*POINTS)
    ours = serve(options, policy("utility"), pace)
    fixed = [serve(options, policy("fixed", point=o.point), pace) for o in options]
    assert ours > max(fixed)
    assert ours > serve(options, policy("deadline"), pace)


@pytest.mark.parametrize("batches", [1, 4])
def test_what_passes_after_a_run_is_taken_from_those_to_come(make, batches):
    """And not from the request that is answered by then."""
    known = make.options(*((2 * cost, score, batches) for cost, score in POINTS))
    options = tuple(option._replace(after=0.5) for option in known)
    slower = tuple(Option(*o[:2], *(cost + o.after for cost in o[2:6]), o.takes) for o in options)
    pace = 2.5 / batches
    knows = serve(options, policy("utility"), pace)
    for believed in (known, slower):
        assert knows > serve(options, policy("utility"), pace, believed=believed)


def test_where_most_are_lost_anyway_it_loses_little(make):
    options = make.options(*POINTS)
    fixed = [serve(options, policy("fixed", point=o.point), 0.7) for o in options]
    assert serve(options, policy("utility"), 0.7) > max(fixed) - 0.01


@pytest.mark.parametrize(("evenness", "soon"), [(0.25, 0.64), (8.0, 0.05)])
@pytest.mark.parametrize("takes", [1, 4])
def test_who_knows_of_clumps_or_a_beat_does_better(make, evenness, soon, takes):
    options = tuple(option._replace(takes=takes) for option in make.options(*POINTS))
    pace = 2.0 / takes
    ours, blind = (
        serve(options, policy("utility", stay=0.0), pace, 4000, evenness, known)
        for known in (soon, AT_RANDOM)
    )
    assert ours > blind


@pytest.mark.parametrize("takes", [1, 4])
@pytest.mark.parametrize("limit", [inf, 64])
@pytest.mark.parametrize("given", [GIVEN, 6 * GIVEN, 20 * GIVEN])
@pytest.mark.parametrize("pace", [0.7, 0.95, 1.2])
def test_however_many_wait_it_keeps_up_with_the_best_point(make, given, limit, takes, pace):
    """Where runs are short beside what requests are given, it is late that a queue is too long."""
    singles = [(cost, score, 1) for cost, score in POINTS]
    packs = [(0.7 * takes * cost, score, takes) for cost, score in POINTS]
    options = make.options(*singles, *(packs if takes > 1 else ()))
    queue = {"pace": 0.7 * pace if takes > 1 else pace, "given": given, "limit": limit}
    fixed = [serve(options, _Always(place), **queue) for place in range(len(options))]
    assert serve(options, policy("utility"), **queue) > max(fixed) - 0.015


class _Always:
    def __init__(self, index):
        self.choose = lambda options, situation: Decision(index, "")


def solve(*situation, **begin):
    """All steps at once."""
    return last(steps(*situation, **begin))


def rows(cells):
    """One for each point."""
    return np.reshape(cells, (-1, ROW))


@pytest.mark.parametrize("takes", [1, 4])
def test_a_longer_wait_is_never_worth_more(make, takes):
    options = make.options((1.0, 0.6, takes), (2.0, 0.9))
    for rarity in (0.1, 0.3, 1.0):
        values = solve(options, GIVEN, rarity, 0.0)
        for row in (*rows(values.waiting), *rows(values.alone(0.0))):
            assert all(later <= earlier + 1e-9 for earlier, later in pairwise(row.tolist()))


@pytest.mark.parametrize("takes", [1, 4])
@pytest.mark.parametrize("soon", [AT_RANDOM - 0.3, AT_RANDOM, AT_RANDOM + 0.3])
@pytest.mark.parametrize("given", [GIVEN, 100 * GIVEN, 10**4 * GIVEN, 10**8 * GIVEN])
def test_no_deadline_is_too_long(make, given, soon, takes):
    """Nobody earns more than the best score, for as many as matter; and nobody earns nothing."""
    options = make.options((1.0, 0.6, takes), (2.0, 0.9))
    for pace in (0.5, 2.5):
        values = solve(options, given, pace / given, 0.1, soon)
        many = together(options, given)
        for cells in (values.waiting, values.alone(0.0), values.alone(1.0)):
            assert rows(cells).min() >= 0.0 and rows(cells).max() <= 0.9 * many / (1.0 - HORIZON)
        assert 0.1 < values.each < 0.9 + 1e-6


@pytest.mark.parametrize("takes", [1, 4])
def test_who_heard_nobody_for_long_expects_a_clump_to_be_over_and_a_beat_to_go_on(make, takes):
    options = make.options((1.0, 0.6, takes), (2.0, 0.9))
    clumps, random, beat = (
        solve(options, GIVEN, 0.3, 0.0, soon)
        for soon in (AT_RANDOM + 0.3, AT_RANDOM, AT_RANDOM - 0.3)
    )
    cell = CELLS // 4  # a run as long as some of the gaps
    assert random.alone(0.0) == pytest.approx(random.alone(0.3), abs=0.01)
    for option in range(len(options)):
        just, long = (rows(clumps.alone(silence))[option][cell] for silence in (0.0, 0.3))
        assert just < long
        just, long = (rows(beat.alone(silence))[option][cell] for silence in (0.0, 0.3))
        assert just > long


def test_a_shift_makes_it_worth_to_be_at_the_right_point(make):
    options = make.options((1.0, 0.6), (1.1, 0.9))
    free, dear = solve(options, GIVEN, 0.3, 0.0), solve(options, GIVEN, 0.3, 1.0)
    same, one = rows(free.waiting)
    assert one == pytest.approx(same)
    fast, slow = rows(dear.waiting)
    assert slow[0] > fast[0]


def test_a_change_of_points_is_worth_its_least_in_clumps_the_less(make):
    options = make.options((1.0, 0.6), (2.0, 0.9))
    found = [
        solve(options, GIVEN, 0.3, 0.0, soon, stay=0.1)
        for soon in (AT_RANDOM - 0.3, AT_RANDOM, AT_RANDOM + 0.2)
    ]
    assert [values.stay for values in found] == pytest.approx([0.1, 0.1, 0.03], abs=0.01)
    for values in found:
        apart = np.ptp(rows(values.waiting), axis=0)
        assert 0.01 < apart.max() < values.stay  # who is elsewhere would change


@pytest.mark.parametrize("pace", [1.5, 1.8, 2.5])
def test_who_stays_loses_little_by_it(make, pace):
    options = make.options(*POINTS)

    def shifts(stay):
        chosen = []
        ours = policy("utility", stay=stay)
        keep = SimpleNamespace(choose=lambda *asked: chosen.append(d := ours.choose(*asked)) or d)
        earned = serve(options, keep, pace)
        indices = [decision.index for decision in chosen if not decision.refuses]
        return earned, sum(a != b for a, b in pairwise(indices)) / len(indices)

    (free, often), (stayed, seldom) = shifts(0.0), shifts(0.1)
    assert seldom < 0.8 * often
    assert stayed > free - 0.002


def known(worth, *situation):
    """What a situation is worth, once there was time to find out."""
    worth(*situation)
    while worth.pending:
        worth.think()
    values, away = worth(*situation)
    assert away == 0
    return values


def test_like_situations_are_solved_once(make):
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    packing = tuple(option._replace(takes=2) for option in options)
    first, *alike = (known(worth, options, GIVEN, pace, 0.0) for pace in (1.00, 1.01, 1.02))
    assert all(one is first for one in alike)
    others = [
        known(worth, options, GIVEN, 3.0, 0.0),
        known(worth, options, GIVEN, 3.0, 1.0),
        known(worth, packing, GIVEN, 3.0, 1.0),
    ]
    assert len({id(one) for one in (first, *others)}) == 4


def test_a_situation_that_is_nearly_alike_is_no_new_one(make):
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    first, _ = worth(options, GIVEN, 1.0, 0.0)
    assert worth(options, GIVEN, exp(STEP), 0.0) == (first, RARE_APART)
    both = worth(options, GIVEN, exp(STEP), 0.0, AT_RANDOM + SOON_STEP)
    assert both == (first, RARE_APART + OFTEN_APART)
    assert RARE_APART + OFTEN_APART <= ALIKE and worth._wanted == {}
    assert worth(options, GIVEN, exp(3 * STEP), 0.0) == (first, 3 * RARE_APART)
    assert len(worth._wanted) == 1


def test_until_there_was_time_to_think_what_was_found_last_has_to_do(make):
    worth, options = Worth(), make.options((1.0, 0.6, 4), (2.0, 0.9))
    first, away = worth(options, GIVEN, 1.0, 0.0)
    assert away == 0  # there was no other
    borrowed, away = worth(options, GIVEN, 4.0, 0.0)
    assert borrowed is first and away > ALIKE
    steps = 0
    while worth(options, GIVEN, 4.0, 0.0)[0] is first:
        assert worth.pending
        worth.think()
        steps += 1
    assert worth(options, GIVEN, 4.0, 0.0)[1] == 0
    assert steps > 2  # none of which takes long


def test_of_all_that_was_found_the_most_alike_has_to_do(make):
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    rare = known(worth, options, GIVEN, 30.0, 0.0)
    often = known(worth, options, GIVEN, 0.5, 0.0)
    assert known(worth, options, GIVEN, 30.0, 0.0) is rare
    assert worth(options, GIVEN, 0.5, 0.9)[0] is often


def test_what_was_asked_for_last_is_found_first(make):
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    known(worth, options, GIVEN, 1.0, 0.0)
    for pace in (5.0, 30.0):
        worth(options, GIVEN, pace, 3.0)
    while worth(options, GIVEN, 30.0, 3.0)[1]:
        assert worth.pending
        worth.think()
    assert worth(options, GIVEN, 5.0, 3.0)[1]
    for pace in np.geomspace(0.1, 2000.0, 3 * WANTED):
        worth(options, GIVEN, float(pace), 0.0)
        assert len(worth._wanted) <= WANTED


def test_what_may_come_is_thought_of_before(make):
    """A burst of any pace."""
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    known(worth, options, GIVEN, 100.0, 0.0)
    found = worth.found
    for pace in np.geomspace(1e-3, 100.0, 50).tolist():
        assert worth(options, GIVEN, pace, 0.0)[1] <= FORESIGHT // 2 * RARE_APART
    assert 1 < found < 10


def test_other_scores_are_another_situation_and_other_points_quite_another(make):
    worth, options = Worth(), make.options((1.0, 0.6), (2.0, 0.9))
    packing = tuple(option._replace(takes=2) for option in options)
    first, _ = worth(options, GIVEN, 1.0, 0.0)
    other = tuple(option._replace(score=0.5 * option.score) for option in options)
    borrowed, away = worth(other, GIVEN, 1.0, 0.0)
    assert borrowed is first and away > ALIKE
    values, away = worth(packing, GIVEN, 1.0, 0.0)
    assert values is not first and away == 0


def test_it_matters_little_where_the_search_begins(make):
    options = make.options((1.0, 0.6), (2.0, 0.9))
    other = solve(options, GIVEN, 1.0, 0.0)
    fresh, warm = (solve(options, GIVEN, 0.3, 0.0, begin=begin) for begin in (None, other.states))
    difference = np.array(fresh.waiting) - np.array(warm.waiting)
    assert np.ptp(difference) < 0.02  # only differences count
    assert fresh.each == pytest.approx(warm.each, abs=0.01)


def test_what_a_request_is_worth_is_what_it_gets(make):
    rarely, often = (solve(make.options((1.0, 0.9, 4)), GIVEN, r, 0.0).each for r in (4.0, 0.02))
    assert rarely == pytest.approx(0.9, abs=0.02)
    assert often < rarely


@pytest.mark.parametrize("roused", [0.0, 0.05])
@pytest.mark.parametrize("takes", [1, 4])
def test_it_is_so_in_clumps_too_and_for_who_finds_nobody_at_work(make, takes, roused):
    """Whoever has to be roused first answers those who came in the meantime as well."""
    run, score, pace, evenness = 0.4 * GIVEN, 0.9, 0.5 * GIVEN, 1 / 16
    options = make.options((run, score, takes))
    worth = solve(options, GIVEN, pace / GIVEN, 0.0, soon=0.827, roused=roused).each
    come = np.random.default_rng(1).gamma(evenness, pace / evenness, 40_000).cumsum().tolist()
    free, place, right = 0.0, 0, 0
    while place < len(come):
        free = max(free, come[place] + roused * GIVEN * (come[place] >= free))
        if free + run > come[place] + GIVEN:
            place += 1
            continue
        with_it = come[place : min(place + takes, bisect_right(come, free))]
        free += run
        right += sum(free <= one + GIVEN for one in with_it)
        place += len(with_it)
    assert worth == pytest.approx(score * right / len(come), abs=0.025)


def test_what_one_waits_to_rouse_a_worker_makes_another_situation(make):
    options = make.options((0.4 * GIVEN, 0.9, 4))
    (none, _), (some, _), (as_good, away) = (
        Worth()(options, GIVEN, 0.5 * GIVEN, 0.0, 0.827, rousing * GIVEN)
        for rousing in (0.0, 0.04, 0.05)
    )
    assert some.each > none.each + 0.03
    assert as_good.each == some.each and away == 0


@pytest.mark.parametrize("pace", [0.45, 0.7, 1.2])
def test_it_packs_better_than_any_point_alone(make, pace):
    options = make.options((1.6, 0.92, 4), (1.2, 0.95, 2), (1.0, 0.96, 1))
    ours = serve(options, policy("utility"), pace)
    fixed = [serve(options, policy("fixed", point=o.point), pace) for o in options]
    assert ours > max(fixed) + 0.005
