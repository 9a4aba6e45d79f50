"""SlackFit: what the paper says of it, in cases small enough to reckon by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.policies import Option, Situation, policy


def pick(options, slacks, **given):
    return policy("slackfit", **given).choose(options, Situation(0.0, tuple(slacks), None)).index


def test_it_takes_the_slowest_bucket_that_the_slack_leaves_time_for(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert [pick(options, [slack]) for slack in (0.5, 1, 1.9, 2, 3.9, 4, None)] == [
        0, 0, 0, 1, 1, 2, 2,
    ]  # fmt: skip


def test_the_most_urgent_request_decides_and_the_queue_does_not(make):
    options = make.options((1, 0.5), (2, 0.7), (4, 0.9))
    assert pick(options, [9, 2.5, 9]) == 1
    assert pick(options, [9] * 9) == 2  # though those behind will be late


def test_in_a_bucket_it_answers_many_at_once_before_it_answers_well(make):
    options = make.options((1.0, 0.5), (4.0, 0.9), (4.1, 0.7, 4))
    coarse = {"buckets": 2}
    assert pick(options, [9], **coarse) == 1  # nobody to answer together with
    assert pick(options, [9, 9], **coarse) == 2
    assert pick(options, [9, 9], buckets=1000) == 2  # a bucket of its own, and the slowest
    assert pick(options, [4.05, 9], buckets=1000) == 1


def test_points_of_one_cost_are_told_apart_by_accuracy(make):
    assert pick(make.options((2, 0.5), (2, 0.8), (2, 0.6)), [3]) == 1


times = st.floats(1e-4, 10.0)
points = st.lists(st.tuples(times, st.floats(0.0, 1.0)), min_size=1, max_size=8).map(
    lambda found: tuple(Option(str(n), s, c, c, c, c) for n, (c, s) in enumerate(found))
)


@given(points, times, st.integers(1, 40))
def test_what_it_takes_fits_whenever_anything_does_and_more_slack_is_never_faster(
    options, slack, buckets
):
    taken = options[pick(options, [slack], buckets=buckets)]
    same_bucket = max(option.typical for option in options) / buckets
    if slack >= min(option.typical for option in options) + same_bucket:
        assert taken.typical <= slack
    later = options[pick(options, [2 * slack], buckets=buckets)]
    assert later.typical >= taken.typical - same_bucket


@pytest.mark.parametrize(("slack", "words"), [(5.0, "slowest that fits"), (0.1, "none fits")])
def test_it_says_why(make, slack, words):
    options = make.options((1, 0.5), (2, 0.7))
    chosen = policy("slackfit").choose(options, Situation(0.0, (slack,), None))
    assert words in chosen.why
