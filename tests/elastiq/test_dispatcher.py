"""The dispatcher: predictions at the present load, corrected, and choices that explain why."""

import json
import math
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.dispatcher import (
    AT_ONCE,
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
from elastiq.latency import LatencyTable
from elastiq.load import Load
from elastiq.policies import policy
from elastiq.records import Route
from elastiq.rests import flat
from elastiq.rhythm import Rhythm


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


def test_no_request_in_a_row_waits_for_what_was_learnt_and_for_a_look(watched, monkeypatch):
    dispatcher, clock, looks = watched
    learnt = Counter()  # runs, by when
    monkeypatch.setattr(dispatcher._lessons, "take_in", lambda *_: learnt.update([clock.now]))
    for _ in range(round(10 * RENEWED / REST)):
        clock.now += 0.9 * REST
        dispatcher.learn(dispatcher.decide(), 0.001)
    assert max(learnt.values()) == AT_ONCE
    assert len(looks) >= 5
    assert all(learnt[moment] <= 1 for moment in looks)
    assert sum(learnt.values()) >= RUNS * (len(looks) - 1)


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


def test_a_point_that_is_offered_is_colder_than_the_one_in_use(make):
    points = [make.point("small", 0.5), make.point("large", 0.7)]
    table, clock = make.table({"small": 0.001, "large": 0.004}), make.clock(step=0.0)
    chooser = Dispatcher(points[1:], table, policy("deadline"), lambda: 0.0, clock=clock)
    chooser.decide([1.0])
    chooser._lessons.returns._costs = list(flat(0.0002))  # as if it had learnt that
    clock.now += RENEWED * 1.1
    for _ in range(4):
        chooser.learn(chooser.decide([1.0]), 0.004)
        clock.now += 0.6 * REST
    assert chooser.decide([1.0]).situation.returning == (0.0,)
    chooser.offer(points[0])
    assert chooser.decide([1.0]).situation.returning == pytest.approx((0.0002, 0.0), rel=0.01)


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
