"""Tensors as the Open Inference Protocol writes them: as JSON lists, or as bytes in row order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from elastiq.errors import ElastiqError

DATATYPES = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
NAMES = {dtype: name for name, dtype in DATATYPES.items()}


def datatype(dtype: Any) -> str:
    """How the protocol calls a numpy type."""
    try:
        return NAMES[np.dtype(dtype)]
    except KeyError:
        raise ElastiqError(f"tensors of {dtype} cannot be sent") from None


def from_bytes(data: bytes | memoryview, name: str, datatype: Any, shape: Any) -> np.ndarray:
    """A tensor from its bytes in row order, little end first. It shares their memory."""
    dtype, sizes = _dtype(name, datatype), _shape(name, shape)
    if len(data) != prod(sizes) * dtype.itemsize:
        raise ElastiqError(
            f"input {name!r} has {len(data)} bytes; {datatype}{list(sizes)} "
            f"takes {prod(sizes) * dtype.itemsize}"
        )
    return np.frombuffer(data, dtype.newbyteorder("<")).reshape(sizes).astype(dtype, copy=False)


def from_list(data: Any, name: str, datatype: Any, shape: Any) -> np.ndarray:
    """A tensor from values in row order, in lists of any depth or in one."""
    dtype, sizes = _dtype(name, datatype), _shape(name, shape)
    try:
        array = np.asarray(data)
        if dtype.kind in "iu" and array.dtype.kind == "f":
            exact = np.asarray(data, object)  # beside smaller ones, 2**63 and more became floats
            if all(isinstance(value, int) for value in exact.flat):
                array = exact
        elif array.size and array.dtype.kind not in "biuf":
            raise ValueError("its values are not numbers")
        if dtype.kind in "iu" and array.size:
            limits = np.iinfo(dtype)
            if array.dtype.kind == "f" or array.min() < limits.min or array.max() > limits.max:
                raise ValueError("its values do not fit")
        return array.astype(dtype).reshape(sizes)
    except (ValueError, TypeError, OverflowError) as e:
        raise ElastiqError(f"input {name!r} is no {datatype}{list(sizes)}: {e}") from e


def to_bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _dtype(name: str, datatype: Any) -> np.dtype[Any]:
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        known = ", ".join(DATATYPES)
        raise ElastiqError(f"input {name!r} has datatype {datatype!r}; known are {known}")
    return DATATYPES[datatype]


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise ElastiqError(f"input {name!r} has no shape")
    if any(type(size) is not int or size < 0 for size in shape) or prod(shape) > 1 << 40:
        raise ElastiqError(f"input {name!r} has a shape that is none: {list(shape)}")
    return tuple(shape)
