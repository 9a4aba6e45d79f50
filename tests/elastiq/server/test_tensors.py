"""Tensors on the wire: what goes in comes out, and what is no tensor is told so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from elastiq.errors import ElastiqError
from elastiq.server.tensors import DATATYPES, datatype, from_bytes, from_list, to_bytes

tensors = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: arrays.arrays(
        DATATYPES[name],
        arrays.array_shapes(min_dims=0, max_dims=4, max_side=4),
        elements=arrays.from_dtype(DATATYPES[name], allow_nan=False, allow_infinity=False),
    )
)


@given(tensors)
def test_bytes_bring_back_every_tensor(array):
    name = datatype(array.dtype)
    found = from_bytes(to_bytes(array), "x", name, list(array.shape))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@example(np.array([0, 1 << 63], np.uint64))
@given(tensors)
def test_lists_bring_back_every_tensor(array):
    name = datatype(array.dtype)
    for data in (array.tolist(), array.ravel().tolist()):
        found = from_list(data, "x", name, list(array.shape))
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "data, datatype, shape",
    [
        ([1, 2], "FP32", [3]),
        ([300], "UINT8", [1]),
        ([-1], "UINT8", [1]),
        ([0, 1 << 63], "INT64", [2]),
        ([0, 1 << 64], "UINT64", [2]),
        ([0.5], "INT32", [1]),
        (["a"], "FP32", [1]),
        ([[1], [2, 3]], "FP32", [3]),
        (None, "FP32", [1]),
        ({}, "FP32", [1]),
        ([1], "BYTES", [1]),
        ([1], None, [1]),
        ([1], "FP32", None),
        ([1], "FP32", "1"),
        ([1], "FP32", [-1]),
        ([1], "FP32", [True]),
        ([1], "FP32", [1 << 30, 1 << 30]),
    ],
)
def test_what_is_no_tensor_is_refused(data, datatype, shape):
    with pytest.raises(ElastiqError, match="input 'x'"):
        from_list(data, "x", datatype, shape)


@pytest.mark.parametrize("data", [b"", b"123", b"12345"])
def test_bytes_that_are_too_few_or_too_many_are_refused(data):
    with pytest.raises(ElastiqError, match="takes 4"):
        from_bytes(data, "x", "FP32", [1])
