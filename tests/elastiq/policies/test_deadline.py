"""The deadline policy: what it picks, and what must hold for any points and any queue."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from elastiq.policies import Option, Situation, policy

seconds = st.floats(1e-6, 10.0)
slacks = st.lists(st.none() | st.floats(-1.0, 100.0), min_size=1, max_size=20)


def ladder(steps):
    """Points that cost more and more, in p50 and in p99; any score may go with any cost."""
    points, typical, worst = [], 0.0, 0.0
    for step, tail, score in steps:
        typical, worst = typical + step, worst + step + tail
        points.append(Option("", score, typical, worst, worst))
    return tuple(points)


steps = st.tuples(seconds, st.floats(0.0, 5.0), st.floats(0.0, 1.0))
points = st.lists(steps, min_size=1, max_size=8).map(ladder)
# Points without a tail: where p99s fit no more, a costlier point may well be likelier to fit.
steady = points.map(
    lambda options: tuple(replace(o, likely=o.typical, worst=o.typical) for o in options)
)
paces = st.none() | seconds
deadline = policy("deadline")


def pick(options, slacks, current=None, pace=None, load=0.0):
    return deadline.choose(options, Situation(load, tuple(slacks), current, pace)).index


def test_it_takes_the_most_accurate_that_fits(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert [pick(options, [slack]) for slack in (0.5, 1, 1.9, 2, 3.9, 4, None)] == [
        0, 0, 0, 1, 1, 2, 2,
    ]  # fmt: skip


def test_accuracy_counts_and_not_cost(make):
    options = make.options((1, 0.9), (2, 0.9), (4, 0.7))
    assert pick(options, [10]) == pick(options, [None]) == 0


def test_everybody_in_the_queue_counts(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert pick(options, [4]) == 2
    assert pick(options, [4, 100]) == 2
    assert pick(options, [4, 4]) == 1
    assert pick(options, [None, 3]) == 0  # 1.0 for both beats 0.9 for one


def test_where_not_everybody_can_be_served_most_right_answers_count(make):
    options = make.options((1, 0.5), (2, 0.9))
    assert pick(options, [2, 2]) == 0  # 2 x 0.5 against 1 x 0.9
    assert pick(options, [2, 2, 4, 6]) == 1  # 4 x 0.5 against 3 x 0.9
    better = make.options((1, 0.4), (2, 0.9))
    assert pick(better, [2, 2]) == 1


def test_bad_runs_are_not_expected_of_everybody_in_the_queue():
    options = (Option("a", 0.5, 1, 4, 5), Option("b", 0.9, 2, 5, 6))
    assert pick(options, [9, 9, 10]) == 1  # two typical runs and one bad one: 10


def test_it_does_not_serve_more_slowly_than_requests_arrive(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert pick(options, [100], pace=3) == 1
    assert pick(options, [100], pace=0.5) == 0
    assert pick(options, [None], pace=0.5) == 2  # nobody is in a hurry


def test_it_moves_up_with_a_margin_and_down_at_once(make):
    options = make.options((1, 0.5), (2, 0.7))
    assert pick(options, [2.5], current=0) == 0
    assert pick(options, [2.7], current=0) == 1
    assert pick(options, [2.2], current=1) == 1
    assert pick(options, [1.9], current=1) == 0


def test_it_says_why(make):
    options = make.options((0.001, 0.5), (0.002, 0.7))
    why = deadline.choose(options, Situation(0.0, (0.01, 0.004), None, 0.003)).why
    assert "2 in time are expected of 2" in why and "every 3.00 ms" in why


def test_chances_count_where_no_p99_fits():
    """A busy device: every p99 is a preemption, and gives no reason to give up accuracy."""
    options = (Option("a", 0.5, 1, 2, 12), Option("b", 0.9, 3, 4, 12), Option("c", 0.95, 6, 9, 12))
    assert [pick(options, [slack]) for slack in (12, 11.9, 8, 3.9, 1.5, 0.5)] == [2, 2, 1, 1, 0, 0]


def test_a_sure_wrong_answer_is_not_preferred_to_a_likely_right_one():
    options = (Option("a", 0.6, 1, 1, 3), Option("b", 0.9, 1.2, 1.2, 3.1))
    assert pick(options, [3]) == 1


@given(points, slacks, paces, st.none() | st.integers(0, 7))
def test_it_never_picks_out_of_range(options, slacks, pace, current):
    current = None if current is None else min(current, len(options) - 1)
    assert 0 <= pick(options, slacks, current, pace) < len(options)


@given(steady, st.floats(-1.0, 100.0), seconds)
def test_for_one_request_less_time_never_picks_a_costlier_point(options, slack, less):
    assert pick(options, [slack - less]) <= pick(options, [slack])


@given(steady, st.floats(-1.0, 100.0), st.floats(1.0, 10.0))
def test_for_one_request_more_load_never_picks_a_costlier_point(options, slack, slowdown):
    slower = tuple(Option(o.point, o.score, *[slowdown * o.typical] * 3) for o in options)
    assert pick(slower, [slack]) <= pick(options, [slack])


@given(points, st.floats(0.0, 100.0))
def test_for_one_request_it_is_at_least_as_good_as_any_whose_p99_fits(options, slack):
    fitting = [option for option in options if option.worst <= slack]
    assume(any(option.score > 0 for option in fitting))
    assert options[pick(options, [slack])].score >= max(option.score for option in fitting)


def right_answers(option, slacks):
    """What a point earns from a queue, each in turn, those it cannot serve in time refused."""
    now, earned = 0.0, 0.0
    for slack in slacks:
        if now + option.typical <= slack:
            now += option.typical
            earned += option.score
    return earned


@given(steady, st.lists(st.floats(0.0, 100.0), min_size=1, max_size=20))
def test_no_other_point_earns_more_from_the_queue(options, slacks):
    chosen = right_answers(options[pick(options, slacks)], slacks)
    assert chosen >= max(right_answers(option, slacks) for option in options) * (1 - 1e-9)


@given(points, slacks, paces)
def test_hysteresis_keeps_what_was_right(options, slacks, pace):
    first = pick(options, slacks, pace=pace)
    assert pick(options, slacks, first, pace) == first
