"""Range methods: within what was seen, indifferent to order, and each good at what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.data import CalibrationData
from calibration.ranges import BINS, METHODS, Histogram, limits, method
from calibration.recipes import RECIPES
from elastiq.errors import ElastiqError
from tests.calibration.test_recipes import feeds, parts, product


def histogram(values):
    sizes = np.abs(values)
    counts, _ = np.histogram(sizes, BINS, (0, sizes.max()))
    return Histogram(counts, float(sizes.max()))


def squared_error(values, limit):
    step = limit / 127
    return float(np.square(np.clip(np.rint(values / step), -127, 127) * step - values).mean())


def tailed(seed=0, count=20_000, outlier=40.0):
    values = np.random.default_rng(seed).standard_normal(count)
    values[:3] = outlier
    return values


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), size=st.floats(1e-3, 1e3), heavy=st.booleans())
def test_limits_are_positive_and_nothing_beyond_what_was_seen(name, seed, size, heavy):
    generator = np.random.default_rng(seed)
    values = size * (generator.standard_cauchy(500) if heavy else generator.standard_normal(500))
    found = histogram(values)
    assert 0 < METHODS[name](found) <= found.top * (1 + 1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_data_does_not_matter(name):
    model = product(np.ones((6, 2), np.float32))
    data = feeds(0, 6, 16)
    straight = limits(model, ["x"], CalibrationData(tuple(data)), name)
    assert limits(model, ["x"], CalibrationData(tuple(data[::-1])), name) == straight


def test_minmax_cuts_nothing_off():
    assert METHODS["minmax"](histogram(tailed())) == 40.0


@pytest.mark.parametrize("name", ["percentile", "entropy"])
def test_rare_outliers_are_cut_off_where_that_helps(name):
    values = tailed(outlier=400.0, count=200_000)
    limit = METHODS[name](histogram(values))
    assert limit < 100
    bulk = values[3:]
    assert squared_error(bulk, limit) < squared_error(bulk, 400.0) / 4


@pytest.mark.parametrize("outlier", [4.5, 10.0, 40.0])
def test_mse_is_as_good_as_the_best_of_a_fine_search(outlier):
    values = tailed(outlier=outlier)
    best = min(squared_error(values, x) for x in np.linspace(0.1, 1, 200) * np.abs(values).max())
    assert squared_error(values, METHODS["mse"](histogram(values))) <= 1.1 * best


@pytest.mark.parametrize("name", METHODS)
def test_the_graph_has_the_range_that_was_chosen(name):
    model, data = product(np.eye(6, dtype=np.float32)), CalibrationData(tuple(feeds(0, 6, 64)))
    limit = limits(model, ["x"], data, name)["x"]
    found = parts(RECIPES["portable"].quantize(model, data, name))
    assert found["x_scale"] == pytest.approx(2 * limit / 255, rel=1e-2)
    assert not found["x_zero_point"].any()


def test_an_unknown_method_is_named():
    with pytest.raises(ElastiqError, match="Did you mean 'entropy'"):
        method("entropie")
