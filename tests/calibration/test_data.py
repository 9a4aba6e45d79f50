"""Calibration data: spoilt data is named, and good data is cut to the batch of the graph."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.data import prepare
from compiler import source
from elastiq.errors import ElastiqError
from elastiq.records import TensorSpec
from tests.conftest import MODELS

SPEC = (TensorSpec("x", "float32", (1, 3)),)


def rows(count):
    return np.arange(3 * count, dtype=np.float32).reshape(count, 3)


def test_batches_are_cut_into_feeds_up_to_the_limit():
    data = prepare([{"x": rows(5)}, {"x": rows(5) + 100}], SPEC, 7, "here")
    assert len(data.feeds) == 7
    assert all(feed["x"].shape == (1, 3) for feed in data.feeds)
    np.testing.assert_array_equal(data.feeds[5]["x"], rows(1) + 100)


def test_a_graph_of_two_gets_feeds_of_two():
    data = prepare([{"x": rows(5)}], (TensorSpec("x", "float32", (2, 3)),), 9, "here")
    assert [feed["x"].shape for feed in data.feeds] == [(2, 3), (2, 3)]


def test_the_digest_follows_every_value():
    first = prepare([{"x": rows(4)}], SPEC, 9, "here").digest
    changed = rows(4)
    changed[3, 2] += 1
    assert prepare([{"x": rows(2)}, {"x": rows(4)[2:]}], SPEC, 9, "here").digest == first
    assert prepare([{"x": changed}], SPEC, 9, "here").digest != first


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("EmptyCalibration", "yields nothing"),
        ("WrongShape", r"batch 0: 'input' has shape \[8, 5\], not \['n', 4\]"),
        ("WrongType", "'input' is float64, not float32"),
        ("WrongName", r"batch 0 has no 'input'; it has \['image'\]"),
        ("HoldsNan", "'input' holds NaN or infinity, first in sample 5"),
    ],
)
def test_spoilt_data_is_named(name, said):
    model = source.load(f"{MODELS / 'broken.py'}:{name}")
    with pytest.raises(ElastiqError, match=said):
        prepare(model.calibration(), (TensorSpec("input", "float32", (1, 4)),), 8, name)


def test_a_sample_that_stands_twice_is_named():
    batches = [{"x": rows(5)}, {"x": rows(5) + 100}, {"x": rows(2)}]
    with pytest.raises(ElastiqError, match="sample 10 is the same as sample 0"):
        prepare(batches, SPEC, 20, "here")


def test_batches_without_samples_are_refused():
    with pytest.raises(ElastiqError, match="without a single sample"):
        prepare([{"x": rows(0)}], SPEC, 8, "here")
