"""The dispatcher: predictions at the present load, corrected, and choices that explain why."""

import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.correction import COLDER, Correction
from elastiq.dispatcher import (
    FAR,
    FAR_IN_A_ROW,
    LOAD_STEP,
    OVERDUE,
    RENEWED,
    REST,
    RUNS,
    UNHEARD,
    Dispatcher,
)
from elastiq.errors import ElastiqError
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.load import Load
from elastiq.policies import policy
from elastiq.records import Route
from elastiq.rhythm import Rhythm
from elastiq.simulation import quantile


def test_a_point_costs_what_its_stages_cost(make):
    points = [make.point("both", 0.9, "encode", "decode")]
    table = make.table({"encode": 0.002, "decode": 0.003})
    choice = Dispatcher(points, table, policy("deadline"), lambda: 0.0).decide([None])
    assert choice.predicted == pytest.approx(0.005)
    assert choice.option.worst == pytest.approx(0.006)


def test_a_busy_device_is_answered_with_a_cheaper_point(make):
    idle, busy = make.dispatcher(load=0.0), make.dispatcher(load=1.0)
    assert idle.decide([0.006]).point == "large"
    assert busy.decide([0.006]).point == "small"
    assert busy.decide([0.006]).predicted == pytest.approx(0.003)


def test_the_load_may_be_a_number_or_a_record(make):
    record = Load({"others": 1.0, "busy": 1.0}, time.monotonic())
    assert make.dispatcher(load=record).decide([0.006]).point == "small"


@given(load=st.floats(allow_nan=True, allow_infinity=True))
def test_a_mad_load_is_survived(make, load):
    assert make.dispatcher(load=load).decide([0.006]).point in ("small", "large")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.0005, 0.05))
def test_more_load_never_picks_a_costlier_point(make, one, other, slack):
    low, high = sorted((one, other))
    points = ["small", "large"]
    choices = [make.dispatcher(load=load).decide([slack]).point for load in (low, high)]
    assert points.index(choices[1]) <= points.index(choices[0])


def test_the_table_is_read_again_only_when_the_load_has_moved(make, monkeypatch):
    reads = []
    of = LatencyTable.of
    monkeypatch.setattr(LatencyTable, "of", lambda *args: reads.append(args) or of(*args))
    load = [0.5]
    dispatcher = Dispatcher(
        [make.point("a", 0.5)],
        make.table({"a": 0.001}, 2.0),
        policy("deadline"),
        lambda: load[0],
        clock=make.clock(),
    )
    reads.clear()
    for turn in range(100):
        load[0] = 0.5 + 0.4 * LOAD_STEP * math.sin(turn)
        dispatcher.decide()
    assert not reads
    load[0] = 0.7
    dispatcher.decide()
    assert len(reads) == 1


@pytest.fixture
def watched(make):
    """A dispatcher, its clock, and a moment for each look at the load."""
    looks, clock = [], make.clock(step=0.0)
    dispatcher = make.dispatcher(clock=clock)
    dispatcher._load = lambda: looks.append(clock.now) or 0.0
    return dispatcher, clock, looks


def test_the_load_is_looked_at_now_and_then_and_not_at_every_request(watched):
    dispatcher, clock, looks = watched
    for _ in range(round(10 * RENEWED / REST)):
        clock.now += 0.9 * REST
        dispatcher.learn(dispatcher.decide(), 0.001)
    assert 5 <= len(looks) <= 10


def test_who_looked_between_requests_keeps_nobody_waiting_for_it(watched):
    dispatcher, clock, looks = watched
    for _ in range(100):
        clock.now += OVERDUE / 3
        before = len(looks)
        dispatcher.decide()
        assert len(looks) == before or before == 0
        dispatcher.look(UNHEARD)
    assert len(looks) == 100


def test_after_a_long_rest_a_choice_looks_by_itself(watched):
    dispatcher, clock, looks = watched
    for _ in range(3):
        clock.now += 1.1 * OVERDUE
        dispatcher.decide()
    assert len(looks) == 3


@pytest.mark.parametrize(
    ("rest", "faster", "replans"),
    [(REST / 2, FAR, False), (REST / 2, FAR_IN_A_ROW, True), (2 * REST, FAR, True)],
)
def test_who_comes_in_a_row_waits_for_a_plan_only_if_arrivals_changed_much(
    make, rest, faster, replans
):
    clock = make.clock(step=0.0)
    dispatcher = make.dispatcher(name="utility", clock=clock)
    dispatcher._renewed = -math.inf
    choice = dispatcher.decide([0.1], Rhythm(0.01, given=0.1))
    dispatcher.learn(choice, 0.001)
    clock.now += rest
    later = dispatcher.decide([0.1], Rhythm(0.0098 / faster, given=0.1))
    assert (later.situation.pace != choice.situation.pace) == replans


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
    assert choice.option.typical == pytest.approx(0.002, rel=0.05)


def test_it_learns_that_one_point_alone_takes_longer_than_measured(make):
    clock, runs = make.clock(step=0.0), {"small": 0.001, "middle": 0.002, "large": 0.004}
    dispatcher = make.dispatcher(runs, clock=clock)
    for turn in range(1500):
        choice = dispatcher.decide([{0: 0.0015, 1: 0.003, 2: 0.01}[turn // 5 % 3]])
        took = runs[choice.point] * (1.25 if choice.point == "middle" else 1.0)
        clock.now += REST / 2
        dispatcher.learn(choice, took)
    found = {option.point: option.typical for option in dispatcher.decide([0.01]).options}
    assert found["middle"] == pytest.approx(0.0025, rel=0.06)
    assert found == pytest.approx(runs | {"middle": 0.0025}, rel=0.15)  # all is known in steps


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
        paused = turn % 8 == 0
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


def test_after_a_rest_a_change_costs_hardly_more_and_what_it_costs_is_told_as_well(make):
    clock = make.clock(step=0.0)
    dispatcher = make.dispatcher([("small", 0.001), ("large", 0.004)], clock=clock)
    for _ in range(100):
        clock.now += 1.0
        dispatcher.learn(dispatcher.decide([1.0]), 0.004 + 0.0008)
    dispatcher._known = dispatcher._known._replace(shifting=0.0004)
    dispatcher._renewed = clock.now + 1e3
    soon = dispatcher.decide([1.0]).situation
    clock.now += 1.0
    late = dispatcher.decide([1.0]).situation
    assert (soon.shifting, late.shifting) == (0.0004, pytest.approx(COLDER * 0.0004))
    assert soon.changing == late.changing == 0.0004


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


def test_choosing_binds_to_nothing_and_running_does(make):
    dispatcher = make.dispatcher([("small", 0.001), ("large", 0.002)])
    dispatcher.learn(dispatcher.decide([0.0012]), 0.001)
    between = [0.0025]  # enough for the large point, but not with the margin to move up
    for _ in range(3):
        assert dispatcher.decide([10.0]).point == "large"
        assert dispatcher.decide(between).point == "small"
    dispatcher.learn(dispatcher.decide([10.0]), 0.002)
    assert dispatcher.decide(between).point == "large"


def test_a_choice_is_text_for_people_and_a_dict_for_machines(make):
    load = Load({"others": 0.25, "busy": 0.5}, time.monotonic())
    choice = make.dispatcher(load=load).decide([0.006, None], Rhythm(pace=0.01))
    text = "\n".join(choice.lines())
    assert "> large" in text or "> small" in text
    assert "others 25%" in text
    assert "1 behind" in text and "no deadline" in text
    said = json.loads(json.dumps(choice.as_dict()))
    assert said["point"] == choice.point
    assert [option["point"] for option in said["options"]] == ["small", "large"]
    assert said["load"]["others"] == 0.25


def test_what_cannot_work_fails_at_once(make):
    table, points = make.table({"a": 0.001}), [make.point("a", 0.5)]
    with pytest.raises(ElastiqError, match="does not hold b"):
        Dispatcher([make.point("b", 0.5)], table, policy("deadline"), lambda: 0.0)
    with pytest.raises(ElastiqError, match="no point to choose"):
        Dispatcher([], table, policy("deadline"), lambda: 0.0)
    with pytest.raises(ElastiqError, match="no point is called 'b'"):
        Dispatcher(points, table, policy("fixed", point="b"), lambda: 0.0)


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


def test_a_point_that_is_offered_later_is_chosen_from_then_on(make):
    points = [make.point("small", 0.5), make.point("middle", 0.6), make.point("large", 0.7)]
    table = make.table({"small": 0.001, "middle": 0.002, "large": 0.004})
    chooser = Dispatcher(points[:1], table, policy("deadline"), lambda: 0.0)
    assert chooser.decide([1.0]).point == "small"
    chooser.offer(points[2])
    first = chooser.decide([1.0])
    assert first.point == "large"
    chooser.learn(first, 0.004)
    chooser.offer(points[1])  # finds its place below the one in use
    choice = chooser.decide([1.0])
    assert [option.point for option in choice.options] == ["small", "middle", "large"]
    assert choice.options[choice.situation.current].point == "large"
    assert chooser.decide([0.003]).point == "middle"


def test_a_point_that_was_not_measured_cannot_be_offered(make):
    chooser = make.dispatcher()
    with pytest.raises(ElastiqError, match="does not hold"):
        chooser.offer(make.point("other", 0.5))


def ways(make):
    """A dispatcher over a point whose requests take a cheap way or a dear one."""
    routes = {
        "whole": (Route(0.5, {"policy": 1, "small": 1}), Route(0.5, {"policy": 1, "large": 1})),
        "next": (Route(1.0, {"small": 2}),),
    }
    points = [make.point("only", 0.9, "policy", "small", "large", routes=routes)]
    table = make.table({"policy": 0.001, "small": 0.001, "large": 0.009})
    return Dispatcher(points, table, policy("deadline"), lambda: 0.0, clock=make.clock())


def test_what_ran_is_held_against_what_that_costs(make):
    """Else the dear way would look like a slow device, and the cheap one like a fast one."""
    dispatcher = ways(make)
    for turn in range(200):
        ran = ("policy", "large") if turn % 3 == 0 else ("policy", "small")
        dispatcher.learn(dispatcher.decide(), {"large": 0.010, "small": 0.002}[ran[1]], ran=ran)
    assert dispatcher.decide().today.factor == pytest.approx(1.0, abs=0.05)
    assert dispatcher.decide().today.added == pytest.approx(0.0, abs=1e-4)


def test_other_kinds_of_requests_have_other_costs(make):
    dispatcher = ways(make)
    assert dispatcher.decide(kind="next").predicted == pytest.approx(0.002)
    assert dispatcher.decide(kind="next").kind == "next"
    with pytest.raises(ElastiqError, match="no request of the kind 'last'"):
        dispatcher.decide(kind="last")


def test_a_request_that_is_held_to_a_point_is_only_looked_at(make):
    dispatcher = make.dispatcher()
    choice = dispatcher.decide([0.0001], held="large")
    assert choice.point == "large" and choice.predicted == pytest.approx(0.004)
    assert choice.decision.why == "where its session began"


def test_a_choice_says_how_many_are_taken_at_once(make):
    points = [make.point("images=4", 0.5, takes=4)]
    table = make.table({"images=4": 0.001})
    choice = Dispatcher(points, table, policy("deadline"), lambda: 0.0).decide()
    assert "4 at once" in "\n".join(choice.lines())
    assert choice.as_dict()["options"][0]["takes"] == 4


@pytest.mark.parametrize("given", [0.005, 0.008, 0.03])
def test_the_first_request_waits_for_nothing_to_be_worked_out(make, given):
    dispatcher = make.dispatcher(name="utility")
    found = dispatcher._policy._worth.found
    assert found == 1
    dispatcher.decide((given,), Rhythm(given=given))
    assert dispatcher._policy._worth.found == found


def test_what_was_guessed_before_the_first_request_is_forgotten_with_it(make):
    clock = make.clock(0.0)
    dispatcher = make.dispatcher(name="utility", clock=clock)
    given = dispatcher.decide((3.0,), Rhythm(given=3.0)).situation.given
    assert given == pytest.approx(3.0, rel=0.05)  # it goes by steps
