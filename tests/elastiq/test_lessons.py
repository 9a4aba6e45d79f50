"""What runs teach, and what a dispatcher expects of the next ones then."""

import numpy as np
import pytest

from elastiq.correction import HALF_LIFE, Correction
from elastiq.dispatcher import RENEWED, REST, RUNS, UNHEARD, Dispatcher
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.lessons import EXTRA_STEP, FACTOR_STEP
from elastiq.policies import policy
from elastiq.simulation import quantile


def test_it_learns_that_everything_is_slower_today(make):
    clock = make.clock(step=0.0)
    dispatcher = make.dispatcher(clock=clock)
    assert dispatcher.decide([0.006]).point == "large"
    for _ in range(200):
        choice = dispatcher.decide([0.006])
        dispatcher.learn(choice, 2.0 * {"small": 0.001, "large": 0.004}[choice.point])
        clock.now += REST / 2  # no pause, and now and then a new look
    choice = dispatcher.decide([0.006])
    assert choice.point == "small"
    steps = (FACTOR_STEP + EXTRA_STEP) * 0.001  # what it tells is nearer than that to what it knows
    assert choice.option.typical == pytest.approx(0.002, abs=steps)


def test_it_learns_that_one_point_alone_takes_longer_than_measured(make):
    clock, runs = make.clock(step=0.0), {"small": 0.001, "middle": 0.002, "large": 0.004}
    dispatcher = make.dispatcher(runs, clock=clock)
    for turn in range(1500):
        choice = dispatcher.decide([{0: 0.0015, 1: 0.0035, 2: 0.01}[turn // 5 % 3]])
        took = runs[choice.point] * (1.25 if choice.point == "middle" else 1.0)
        clock.now += REST / 2
        dispatcher.learn(choice, took)
    found = {option.point: option.typical for option in dispatcher.decide([0.01]).options}
    assert found["middle"] == pytest.approx(0.0025, rel=0.06)
    assert found == pytest.approx(runs | {"middle": 0.0025}, rel=0.15)  # all is known in steps


def test_a_point_that_was_slow_long_ago_is_not_taken_for_slow_while_it_does_not_run(make):
    clock, runs = make.clock(step=0.0), {"small": 0.001, "middle": 0.002, "large": 0.004}
    dispatcher = make.dispatcher(runs, clock=clock)

    def run(times, slacks, slower):
        for turn in range(times):
            choice = dispatcher.decide([slacks[turn // 7 % len(slacks)]])
            clock.now += REST / 2
            took = runs[choice.point] * (slower if choice.point == "middle" else 1.0)
            dispatcher.learn(choice, took)
        return {option.point: option.typical for option in dispatcher.decide([0.01]).options}

    assert run(1500, (0.0015, 0.0032, 0.01), 1.25)["middle"] > 0.0023
    clock.now += 5 * HALF_LIFE
    assert run(100, (0.0015,), 1.0)["middle"] == pytest.approx(0.002, rel=0.06)


def test_it_learns_how_widely_runs_spread_today(make):
    dispatcher = make.dispatcher([("only", 0.001)])
    before = dispatcher.decide().option
    for turn in range(300):
        dispatcher.learn(dispatcher.decide(), 0.003 if turn % 5 == 0 else 0.001)
    after = dispatcher.decide().option
    assert after.typical == pytest.approx(before.typical, rel=0.05)
    assert after.worst > 2.0 * before.worst
    assert after.typical < after.mean < after.likely < after.worst


def test_runs_as_the_table_has_them_teach_it_nothing(make):
    """Of which a few take very long: these must not pass for many that are longer than usual."""
    clock = make.clock(step=0.0)
    measured = Latency(0.001, 0.0013, 0.004, 0.00117, 0.001, 200, True)
    table = LatencyTable("test device", True, {}, (Row("only", 0.0, measured),))
    points, found = [make.point("only", 0.9)], []
    dispatcher = Dispatcher(points, table, policy("deadline"), lambda: 0.0, clock=clock)
    for luck in np.random.default_rng(0).random(4000):
        choice, took = dispatcher.decide(), quantile(measured, luck)
        clock.now += took
        dispatcher.learn(choice, took)
        found.append(choice.option[2:6])
    typical, likely, worst, mean = np.mean(found, axis=0)
    assert typical == pytest.approx(measured.p50, rel=0.2)
    assert likely == pytest.approx(measured.p90, rel=0.2)
    assert worst == pytest.approx(measured.p99, rel=0.3)
    assert mean == pytest.approx(measured.mean, rel=0.2)


def test_a_point_that_takes_no_time_by_the_table_is_learnt_from_too(make):
    dispatcher = make.dispatcher([("free", 0.0), ("small", 0.001)])
    for turn in range(100):
        dispatcher.learn(dispatcher.decide([(0.0005, 1.0)[turn % 2]]), 0.01 * (turn % 7))
    assert dispatcher.decide([1.0]).option.worst < 1.0


def test_what_passes_after_a_run_delays_the_next_and_not_its_own_answer(make):
    dispatcher = make.dispatcher([("only", 0.004)])
    for _ in range(100):
        dispatcher.learn(dispatcher.decide(), 0.004, before=0.002, between=0.003)
    option = dispatcher.decide().option
    assert option.typical == pytest.approx(0.006, abs=0.0005)  # it is known in steps
    assert option.after == pytest.approx(0.003, abs=0.0005)


def test_it_tells_the_policy_what_one_waits_who_finds_nobody_at_work(make):
    dispatcher = make.dispatcher([("only", 0.004)])
    assert dispatcher.decide().situation.rousing == 0.0
    for _ in range(100):
        dispatcher.learn(dispatcher.decide(), 0.004, roused=0.002)
    assert dispatcher.decide().situation.rousing == pytest.approx(0.002, rel=0.2)


def test_it_learns_what_a_shift_costs_and_what_a_pause_costs(make):
    """Runs in steady state take what the table says; the first of a kind takes more."""
    clock = make.clock(step=0.0)
    small, large = 0.001, 0.004
    dispatcher = make.dispatcher([("small", small), ("large", large)], clock=clock)
    slacks, last, shift, wake = ([0.0015], [1.0]), None, 0.0004, 0.0008
    for turn in range(400):
        paused = turn % 8 == 2  # so that it meets changes soon and long after
        clock.now += 1.0 if paused else 1e-5
        choice = dispatcher.decide(slacks[turn // 4 % 2])
        took = {"small": small, "large": large}[choice.point]
        extra = wake if paused else shift if choice.point != last else 0.0
        last = choice.point
        dispatcher.learn(choice, took + extra)
    clock.now += 1e-5 + RENEWED
    dispatcher.learn(dispatcher.decide([1.0]), large)  # no pause lies before the next
    choice = dispatcher.decide([1.0])
    stays, moves = choice.situation.starting(1), choice.situation.starting(0)
    assert stays == 0.0
    assert moves == pytest.approx(shift, rel=0.25)
    assert choice.predicted == pytest.approx(large, rel=0.05)
    clock.now += 1.0
    assert dispatcher.decide([1.0]).situation.waking == pytest.approx(wake, rel=0.25)
    assert "more to start" in "\n".join(dispatcher.decide([1.0]).lines())


def test_a_point_costs_the_more_the_longer_only_others_ran_and_after_a_rest_hardly_more(make):
    clock, runs = make.clock(step=0.0), {"small": 0.001, "large": 0.004}
    dispatcher = make.dispatcher(runs, clock=clock)
    ended = dict.fromkeys(runs, 0.0)

    def run(slack):
        choice = dispatcher.decide([slack])
        away = clock.now - ended[choice.point]
        clock.now += runs[choice.point]
        ended[choice.point] = clock.now
        more = 0.0005 if away > 0.01 else 0.0001 if away > 0.0 else 0.0
        dispatcher.learn(choice, runs[choice.point] + more)

    def soon():
        clock.now += RENEWED
        run(1.0)
        return dispatcher.decide([1.0]).situation.returning

    for turn in range(4000):
        run(0.002 if turn % 80 < (1, 20)[turn // 80 % 2] else 1.0)
    assert soon() == pytest.approx((0.0005, 0.0), rel=0.15)
    run(0.002)
    assert dispatcher.decide([1.0]).situation.returning == pytest.approx((0.0, 0.0001), rel=0.3)
    run(1.0)
    assert dispatcher.decide([1.0]).situation.returning == pytest.approx((0.0001, 0.0), rel=0.3)
    clock.now += 1.0
    assert max(dispatcher.decide([1.0]).situation.returning) < 0.0001


def test_a_point_whose_every_run_is_the_first_after_another_does_not_seem_slow_by_itself(make):
    clock = make.clock(step=0.0)
    dispatcher = make.dispatcher({"small": 0.001, "large": 0.004}, clock=clock)
    for turn in range(2000):
        choice = dispatcher.decide([(0.002, 1.0)[turn % 5 == 0]])
        clock.now += REST / 2
        dispatcher.learn(choice, {"small": 0.001, "large": 0.004 + 0.002}[choice.point])
    assert dispatcher._known.own == (1.0, 1.0)
    assert dispatcher.decide([0.002]).situation.returning[1] > 0.001


def test_where_runs_are_short_it_learns_from_the_latest_before_each_look(make):
    clock = make.clock(step=0.0)
    dispatcher = make.dispatcher([("only", 0.001)], clock=clock)
    for took in [0.001] * 50 + [0.002] * RUNS:
        dispatcher.learn(dispatcher.decide(), took)
    clock.now += RENEWED * 1.1
    dispatcher.look(UNHEARD)
    soon = dispatcher.decide().option.typical
    assert 0.001 < soon < 0.002
    for _ in range(50):
        dispatcher.learn(dispatcher.decide(), 0.002)
    assert dispatcher.decide().option.typical == soon  # it has not looked yet
    clock.now += RENEWED * 1.1
    dispatcher.look(UNHEARD)
    assert soon < dispatcher.decide().option.typical <= 0.002


def test_the_correction_can_be_given(make):
    correction = Correction(0.001)
    correction.factor = 3.0
    dispatcher = Dispatcher(
        [make.point("a", 0.5)],
        make.table({"a": 0.001}),
        policy("deadline"),
        lambda: 0.0,
        correction,
    )
    assert dispatcher.decide([None]).predicted == pytest.approx(0.003)
