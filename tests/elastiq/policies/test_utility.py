"""The utility policy: what it picks, and what must hold for any points, queue and traffic."""

from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elastiq.policies import Option, Situation, policy

FAST, RIGHT = (1.0, 0.6), (4.0, 0.9)
RARELY, OFTEN = 100.0, 1.2  # seconds between requests
any_time = st.none() | st.floats(allow_nan=False)


def choose(options, slacks, current=None, stay=0.1, **situation):
    ours = policy("utility", stay=stay)
    return ours.choose(options, Situation(0.0, tuple(slacks), current, **situation))


def pick(options, slacks, current=None, pace=RARELY, given=10.0, **told):
    return choose(options, slacks, current=current, pace=pace, given=given, **told).index


def test_a_lone_request_gets_the_most_accurate_that_is_in_time(make):
    options = make.options(FAST, (2.0, 0.7), RIGHT)
    assert [pick(options, [left]) for left in (10.0, 4.5, 3.5, 2.5, 1.5)] == [2, 2, 1, 1, 0]


def test_time_is_dear_where_requests_come_often(make):
    options = make.options(FAST, RIGHT)
    assert pick(options, [5.0], pace=RARELY, given=5.0) == 1
    assert pick(options, [5.0], pace=OFTEN, given=5.0) == 0


def test_whoever_waits_behind_counts(make):
    options = make.options(FAST, RIGHT)
    assert pick(options, [10.0, 9.5], pace=5.0) == 1
    assert pick(options, [10.0, 3.0], pace=5.0) == 0


def test_a_chance_counts_for_what_it_is(make):
    sure, risky = make.options(FAST)[0], make.options((2.0, 0.9))[0]
    risky = risky._replace(typical=1.0, likely=5.0, worst=6.0)  # in time half of the time at least
    assert pick((sure, risky), [1.5]) == 0
    assert pick((sure, risky), [5.5]) == 1  # nine times in ten


def test_it_stays_where_little_would_be_won(make):
    """Where that is little to all who come after, too."""
    options = make.options((1.0, 0.9), (1.0, 0.9005))
    assert pick(options, [10.0], current=0) == 0
    assert pick(options, [10.0], current=None) == 1
    assert pick(options, [10.0], current=0, stay=0.0) == 1


def test_it_comes_back_for_many_and_not_for_one(make):
    """A change counts once, and so does one more for those who cannot be answered there."""
    options = make.options(FAST, (4.0, 0.65))
    assert pick(options, [10.0], current=0, pace=RARELY) == 1
    assert pick(options, [10.0], current=0, pace=3.0) == 0
    assert pick(options, [10.0], current=0, pace=3.0, stay=0.0) == 1


def test_what_a_shift_costs_counts_for_all_who_come_after(make):
    options = make.options((1.0, 0.80), (1.05, 0.85))
    traffic = {"pace": 1.3, "given": 4.0, "current": 0}
    assert choose(options, [4.0, 3.5], **traffic).index == 1
    assert choose(options, [4.0, 3.5], returning=(0.0, 1.0), **traffic).index == 0


def test_with_no_deadline_it_is_as_right_as_it_can_be(make):
    options = make.options(FAST, RIGHT, (5.0, 0.9))
    assert pick(options, [None], given=None) == 1
    assert "no deadline" in choose(options, [None]).why


def test_where_none_is_in_time_it_is_as_fast_as_it_can_be(make):
    decision = choose(make.options(RIGHT, FAST), [0.5], pace=OFTEN, given=10.0)
    assert decision.index == 1
    assert "none is in time within 500.0 ms" in decision.why


def test_a_run_that_may_show_the_prediction_wrong_is_the_shortest(make):
    """Whether it is in time counts, and not how many others would be late with it."""
    options = make.options((1.0, 0.6), (1.5, 0.6, 4))
    assert choose(options, [0.5] * 4, pace=OFTEN, given=10.0).index == 0


def test_it_says_why(make):
    options = make.options((0.001, 0.6), (0.004, 0.9))
    why = choose(options, [0.004, 0.005], pace=0.003, given=0.01).why
    assert "4.0 ms left, 1 behind, one arriving every 3.00 ms" in why


def test_the_same_question_has_the_same_answer_however_often(make):
    """What was found is kept by situation: nothing that was asked in between may show."""
    ours = policy("utility")
    asked = [
        (make.options(*costs), Situation(0.0, slacks, current, pace, given))
        for costs in ((FAST, RIGHT), (RIGHT, FAST), (FAST, (2.0, 0.7), RIGHT))
        for slacks in ((3.0,), (9.0, 6.0))
        for current in (None, 0)
        for pace in (None, 1.0, 3.0)
        for given in (10.0, 20.0)
    ]

    def answer(question):
        ours.choose(*question)
        while ours.pending:
            ours.think()
        return ours.choose(*question).index

    first = [answer(question) for question in asked]
    assert [answer(question) for question in reversed(asked)][::-1] == first
    assert [policy("utility").choose(*question).index for question in asked] == first


@example([(1e-6, 1.0, 1)], [1.0, -1.5e305], None, 1e-6, 0.0, None, None)
@given(
    st.lists(
        st.tuples(st.floats(1e-6, 1e3), st.floats(0.0, 1.0), st.sampled_from([1, 2, 4])),
        min_size=1,
        max_size=6,
    ),
    st.lists(any_time, min_size=1, max_size=5),
    st.none() | st.floats(0.0, inf),
    any_time,
    st.floats(0.0, 10.0),
    st.none() | st.lists(st.floats(0.0, 10.0), min_size=6, max_size=6),
    st.none() | st.integers(0, 5),
)
def test_any_situation_is_answered(make, costs, slacks, pace, given, waking, cold, current):
    options = make.options(*costs)
    current = None if current is None else current % len(options)
    returning = () if cold is None else tuple(cold[: len(options)])
    situation = Situation(0.0, tuple(slacks), current, pace, given, waking, returning)
    decision = policy("utility").choose(options, situation)
    assert 0 <= decision.index < len(options) and decision.why


@given(st.floats(0.05, 20.0), st.floats(0.05, 20.0), st.floats(0.1, 10.0))
@example(0.5, 0.25, 2.0)  # nobody came for longer than ever happens, at such a pace
def test_rarer_requests_never_cost_accuracy(make, one, other, left):
    options = make.options(FAST, (2.0, 0.75), RIGHT)
    often, rarely = sorted((one, other))
    assert pick(options, [left], pace=often) <= pick(options, [left], pace=rarely)


@pytest.mark.parametrize("pace", [None, inf])
def test_a_first_request_is_taken_for_a_lone_one(make, pace):
    assert pick(make.options(FAST, RIGHT), [10.0], pace=pace) == 1


PACKED = (1.6, 0.92, 4), (1.2, 0.95, 2), (1.0, 0.96, 1)


def test_how_many_are_taken_at_once_follows_the_queue(make):
    options = make.options(*PACKED)

    def taken(waiting, pace):
        slacks = [4.0 - 0.1 * (waiting - 1 - place) for place in range(waiting)]
        return options[pick(options, slacks, pace=pace, given=4.0)].takes

    assert taken(1, RARELY) == 1
    assert taken(8, pace=0.5) == 4
    assert taken(1, pace=0.5) <= taken(3, pace=0.5) <= taken(8, pace=0.5)


def test_a_place_that_nobody_takes_is_worth_nothing(make):
    """Alone, the point that would take four is no better than its cost and its score."""
    options = make.options((1.0, 0.90, 4), (1.0, 0.91, 1))
    assert pick(options, [4.0]) == 1
    assert pick(options, [2.2] * 8, pace=0.5, given=4.0) == 0


@pytest.mark.parametrize("pace", [0.3, 0.6, 1.2, RARELY])
def test_two_have_no_room_for_four_where_one_by_one_they_are_done_as_soon(make, pace):
    options = make.options((1.0, 0.90, 1), (2.1, 0.90, 4))
    for left in (2.2, 3.0, 5.0):
        assert pick(options, [left, 5.0], current=1, pace=pace, given=5.0) == 0
    assert pick(options, [2.5] * 4, current=1, pace=0.3, given=5.0) == 1


def test_those_without_a_deadline_are_packed_with_those_who_have_one(make):
    options = make.options(*PACKED)
    waiting = [None, *[2.0] * 7]
    assert options[pick(options, waiting, pace=0.5, given=4.0)].takes == 4
    assert options[pick(options, [None, None], pace=RARELY, given=4.0)].takes == 1


def test_a_lone_request_is_no_reason_to_go_on_for_four(make):
    options = make.options((1.0, 0.900, 4), (0.9, 0.910, 1))
    assert pick(options, [4.0], current=0, given=4.0) == 1


def test_company_that_comes_too_late_counts_for_nothing(make):
    options = make.options((2.0, 0.85, 2), (2.0, 0.90, 1))
    assert pick(options, [9.0, 9.0], pace=1.5, stay=0.0) == 0
    assert pick(options, [9.0, 1.5], pace=1.5, stay=0.0) == 1


def test_under_overload_four_go_before_one_who_is_nearly_too_late(make):
    """Each that is first has only time for the point that takes one; so has whoever is next then.
    To go on so would answer one where four could be answered."""
    options = make.options((1.7, 0.935, 4), (1.2, 0.937, 1))
    slacks = [1.5, 1.6, *(2.0 + 0.25 * place for place in range(14))]
    assert pick(options, slacks, pace=0.25, given=6.0) == 0


def test_it_knows_when_what_it_goes_by_was_found_for_something_else(make):
    options, ours = make.options(FAST, RIGHT), policy("utility")

    def ask(pace):
        ours.choose(options, Situation(0.0, (10.0,), None, pace, 10.0))

    ask(RARELY)
    assert not ours.astray
    ask(1e-2)
    assert ours.astray
    steps = 0
    while ours.astray:
        assert ours.pending
        ours.think()
        ask(1e-2)
        steps += 1
    assert steps > 1


@pytest.mark.parametrize("takes", [1, 2])
def test_under_overload_it_gives_up_a_request_for_those_who_have_more_time(make, takes):
    """It would be in time half of the times, and whoever runs in its place nearly always."""
    risky = make.options((1.0, 0.9, takes))[0]._replace(likely=2.0, worst=3.0)
    often, behind = {"pace": 0.3 / takes, "given": 4.0, "current": 0}, [3.9] * 4 * takes
    assert choose((risky,), [1.01, *behind], **often).refuses
    assert "have better chances" in choose((risky,), [1.01, *behind], **often).why
    assert not choose((risky,), [3.5, *behind], **often).refuses
    assert not choose((risky,), [1.01], **often).refuses  # nobody would gain


@pytest.mark.parametrize("pace", [0.0014, 0.0019])
@pytest.mark.parametrize("left", range(10, 18))
def test_under_overload_nobody_is_refused_who_has_time_enough(pace, left):
    """Whoever comes later is worth hardly more, and somebody would be refused for each."""
    runs = (
        (0.592, 2.2, 5.23, 5.68, 2.97),
        (0.822, 3.2, 3.46, 5.76, 3.35),
        (0.908, 4.2, 4.54, 6.76, 4.37),
        (0.922, 6.2, 6.7, 6.7, 6.3),
        (0.924, 9.2, 9.94, 9.94, 9.41),
    )
    options = tuple(Option("", score, *(time / 1000 for time in times)) for score, *times in runs)
    behind = [slack / 1000 for slack in range(left + 1, 19)]
    told = {"current": 1, "pace": pace, "given": 0.01875, "soon": 0.125}
    assert not choose(options, [left / 1000, *behind], **told).refuses
