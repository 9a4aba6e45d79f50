"""The deadline policy: what it picks, and what must hold for any points and any queue."""

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
        points.append(Option("", score, typical, worst, worst, typical))
    return tuple(points)


steps = st.tuples(seconds, st.floats(0.0, 5.0), st.floats(0.0, 1.0))
points = st.lists(steps, min_size=1, max_size=8).map(ladder)
# Points without a tail: where p99s fit no more, a costlier point may well be likelier to fit.
steady = points.map(
    lambda options: tuple(o._replace(likely=o.typical, worst=o.typical) for o in options)
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


def test_everybody_in_the_queue_must_make_it(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert pick(options, [4]) == 2
    assert pick(options, [4, 100]) == 2
    assert pick(options, [4, 4]) == 1
    assert pick(options, [4, None, 4]) == 0
    assert pick(options, [None, 2]) == 0


def test_those_who_wait_beyond_the_queue_that_is_told_must_be_in_time_too(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    queue = 0.0, (40.0, 40.0), None, None, 40.0
    for beyond, place in ((0, 2), (8, 2), (9, 1), (18, 1), (19, 0)):
        assert deadline.choose(options, Situation(*queue, beyond=beyond)).index == place


def test_what_passes_after_a_run_is_waited_for_by_those_behind(make):
    options = tuple(o._replace(after=0.5) for o in make.options((1, 0.5), (2, 0.7)))
    assert pick(options, [2]) == 1
    assert pick(options, [2, 4.4]) == 0
    assert pick(options, [2, 4.5]) == 1
    assert pick(options, [2], pace=2.4) == 0


def test_bad_runs_are_not_expected_of_everybody_in_the_queue():
    options = (Option("a", 0.5, 1, 4, 5, 1), Option("b", 0.9, 2, 5, 6, 2))
    assert pick(options, [9, 9, 10]) == 1  # two typical runs and one bad one: 10


def test_it_does_not_serve_more_slowly_than_requests_arrive(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert pick(options, [100], pace=3) == 1
    assert pick(options, [100], pace=0.5) == 0
    assert pick(options, [None], pace=0.5) == 2  # nobody is in a hurry


def test_it_moves_up_with_a_margin_and_down_at_once(make):
    options = make.options((1, 0.5), (2, 0.7))
    assert pick(options, [2.2], current=0) == 0
    assert pick(options, [2.4], current=0) == 1
    assert pick(options, [2.2], current=1) == 1
    assert pick(options, [1.9], current=1) == 0


def test_what_a_shift_costs_now_counts(make):
    options = make.options((1, 0.5), (2, 0.7))
    cold = Situation(0.0, (2.5,), 0, returning=(0.0, 0.5))
    warm = cold._replace(current=1, returning=(0.5, 0.0))
    assert deadline.choose(options, cold).index == 0
    assert deadline.choose(options, warm).index == 1
    assert deadline.choose(options, warm._replace(waking=1.0)).index == 0


def test_it_says_why(make):
    options = make.options((0.001, 0.5), (0.002, 0.7))
    why = deadline.choose(options, Situation(0.0, (0.01, 0.004), None, 0.003)).why
    assert "2 in 4.0 ms" in why and "every 3.0 ms" in why


def test_where_no_p99_fits_it_is_as_sure_as_any_point_can_be():
    """A busy device: every p99 is a preemption, and gives no reason to give up accuracy."""
    options = tuple(
        Option(*known)
        for known in (("a", 0.5, 1, 2, 12, 1), ("b", 0.9, 3, 4, 12, 3), ("c", 0.95, 6, 9, 12, 6))
    )
    assert pick(options, [12]) == 2
    assert pick(options, [11.9]) == 2  # likely
    assert pick(options, [8]) == 1
    assert pick(options, [3.9]) == 0
    assert pick(options, [1.5]) == 0  # typically
    assert pick(options, [0.5]) == 0  # the fastest


@given(points, slacks, paces, st.none() | st.integers(0, 7))
def test_it_never_picks_out_of_range(options, slacks, pace, current):
    current = None if current is None else min(current, len(options) - 1)
    assert 0 <= pick(options, slacks, current, pace) < len(options)


@given(steady, slacks, paces, st.data())
def test_less_time_never_picks_a_costlier_point(options, slacks, pace, data):
    less = [
        data.draw(st.floats(-1.0, 100.0)) if slack is None else slack - data.draw(seconds)
        for slack in slacks
    ]
    before, after = pick(options, slacks, pace=pace), pick(options, less, pace=pace)
    assert after <= before


@given(steady, slacks, paces, st.floats(-1.0, 100.0))
def test_one_more_in_the_queue_never_picks_a_costlier_point(options, slacks, pace, last):
    before, after = pick(options, slacks, pace=pace), pick(options, [*slacks, last], pace=pace)
    assert after <= before


@given(steady, slacks, paces, st.floats(1.0, 10.0))
def test_more_load_never_picks_a_costlier_point(options, slacks, pace, slowdown):
    slower = tuple(Option(o.point, o.score, *[slowdown * o.typical] * 4) for o in options)
    before, after = pick(options, slacks, pace=pace), pick(slower, slacks, pace=pace)
    assert after <= before


@given(points, slacks, paces)
def test_hysteresis_keeps_what_was_right(options, slacks, pace):
    first = pick(options, slacks, pace=pace)
    assert pick(options, slacks, first, pace) == first


@given(points, st.integers(0), st.lists(st.floats(0.0, 5.0), min_size=1, max_size=20))
def test_whoever_can_be_served_in_time_is(options, place, spare):
    """Where some point serves all, with more or less to spare, one as accurate is taken."""
    able = options[place % len(options)]
    slacks = [(n * able.typical + able.worst) * (1 + more) for n, more in enumerate(spare)]
    decision = deadline.choose(options, Situation(0.0, tuple(slacks), None, None))
    option = options[decision.index]
    assert "surely" in decision.why
    assert option.score >= able.score
    finished = 0.0
    for slack in slacks:
        assert finished + option.worst <= slack * (1 + 1e-9)
        finished += option.typical


PACKED = (1.6, 0.92, 4), (1.2, 0.95, 2), (1.0, 0.96, 1)


def test_how_many_are_taken_at_once_follows_the_queue(make):
    options = make.options(*PACKED)
    assert [options[pick(options, [4.0] * waiting)].takes for waiting in (1, 4, 5, 6, 7, 9)] == [
        1, 1, 2, 2, 4, 4,
    ]  # fmt: skip


def test_it_keeps_pace_by_taking_more_at_once(make):
    options = make.options(*PACKED)
    assert [options[pick(options, [100], pace=pace)].takes for pace in (1.1, 0.7, 0.5)] == [1, 2, 4]


def test_where_none_fits_it_clears_the_queue_fastest(make):
    options = make.options(*PACKED)
    assert [options[pick(options, [0.5] * waiting)].takes for waiting in (1, 2, 3, 8)] == [
        1, 2, 4, 4,
    ]  # fmt: skip


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=20))
def test_whoever_can_be_served_with_others_is(slacks):
    options = tuple(Option(str(t), s, c, c, c, c, t) for c, s, t in PACKED)
    decision = deadline.choose(options, Situation(0.0, tuple(slacks), None, None))
    option = options[decision.index]
    assume("surely" in decision.why)
    for place, slack in enumerate(slacks):
        assert (place // option.takes + 1) * option.typical <= slack * (1 + 1e-9)
