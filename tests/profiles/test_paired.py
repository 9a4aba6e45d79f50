"""The paired comparison: its interval covers the truth, and few samples are not taken for proof."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.records import Quality
from profiles.paired import INSIDE, OVER, UNSURE, margin, verdict, worded


def drawn(generator, n, lost, won):
    """Scores of n samples, of which the engine loses and wins these shares against its source."""
    kind = generator.choice(3, n, p=[lost, won, 1 - lost - won])
    reference = np.where(kind == 2, generator.random(n) < 0.9, kind == 0)
    scores = np.where(kind == 2, reference, kind == 1)
    return scores.astype(float), reference.astype(float)


def quality(drop, width, samples=4000):
    return Quality(0.0, 0.0, 1.0, 0.9 - drop / 100, 0.9, samples, width)


@pytest.mark.parametrize(
    ("n", "lost", "won"), [(64, 0.05, 0.02), (400, 0.01, 0.01), (4000, 0.004, 0.001)]
)
def test_the_interval_covers_the_true_drop_as_often_as_it_says(n, lost, won):
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        scores, reference = drawn(generator, n, lost, won)
        found = 100 * (reference - scores).mean()
        covered += abs(found - 100 * (lost - won)) <= margin(scores, reference)
    assert 930 <= covered <= 1000


def test_samples_that_all_agree_leave_the_rule_of_three():
    for n in (30, 300, 3000):
        same = np.ones(n)
        assert 100 / n < margin(same, same) < 100 * 4 / n


def test_pairing_sees_what_two_separate_means_do_not():
    generator = np.random.default_rng(0)
    reference = (generator.random(4000) < 0.5).astype(float)
    scores = reference.copy()
    scores[:8] = 1 - scores[:8]
    unpaired = 100 * 1.96 * np.sqrt(2 * 0.25 / 4000)
    assert margin(scores, reference) < unpaired / 10


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 500), st.integers(0, 99))
def test_more_of_the_same_samples_narrow_the_interval(n, seed):
    scores, reference = drawn(np.random.default_rng(seed), n, 0.1, 0.1)
    assert margin(np.tile(scores, 4), np.tile(reference, 4)) < margin(scores, reference)


@pytest.mark.parametrize(
    ("drop", "width", "said"),
    [(0.05, 0.12, INSIDE), (0.9, 0.3, OVER), (0.4, 0.3, UNSURE), (0.6, 0.3, UNSURE)],
)
def test_the_verdict_is_sure_only_where_the_interval_is_on_one_side(drop, width, said):
    assert verdict(quality(drop, width), 0.5) == said


def test_the_words_say_what_the_samples_resolve_and_how_many_would_tell():
    assert worded(quality(0.05, 0.12), 0.5) == "drop 0.05 ± 0.12 points over 4000 samples"
    said = worded(quality(0.25, 2.5, 100), 0.5)
    assert "100 samples can resolve 2.50 points, the budget is 0.5" in said
    assert said.endswith("about 10000 would tell")


def test_one_score_for_all_samples_has_no_interval():
    assert verdict(quality(0.0, None), 0.5) == UNSURE
    assert "one score for all samples" in worded(quality(0.0, None), 0.5)
