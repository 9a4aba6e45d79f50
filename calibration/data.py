"""Calibration data: checked before it can spoil a model, and cut to the batch of a graph."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from elastiq.errors import ElastiqError
from elastiq.records import TensorSpec

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class CalibrationData:
    """Feeds of a graph's own batch size, all finite and of its shapes."""

    feeds: tuple[Batch, ...]

    @cached_property
    def digest(self) -> str:
        sha = hashlib.sha256()
        for feed in self.feeds:
            for name in sorted(feed):
                sha.update(f"{name} {feed[name].dtype} {feed[name].shape}".encode())
                sha.update(np.ascontiguousarray(feed[name]).tobytes())
        return sha.hexdigest()


def prepare(
    batches: Sequence[Batch], inputs: tuple[TensorSpec, ...], limit: int, where: str
) -> CalibrationData:
    """Check the batches a model gives, and cut them into feeds of at most `limit` samples."""
    if not batches:
        raise ElastiqError(f"{where}: calibration() yields nothing. Give it a batch of real inputs")
    wanted = max(1, limit // inputs[0].shape[0])
    feeds: list[Batch] = []
    for number, batch in enumerate(batches):
        columns = {spec.name: _column(batch, spec, f"{where}: batch {number}") for spec in inputs}
        feeds.extend(_cut(columns, inputs))
        if len(feeds) >= wanted:
            break
    if not feeds:
        raise ElastiqError(f"{where}: calibration() yields batches without a single sample")
    _check_distinct(feeds[:wanted], where)
    return CalibrationData(tuple(feeds[:wanted]))


def _check_distinct(feeds: Sequence[Batch], where: str) -> None:
    """A sample that stands twice counts twice, and usually means that a loader is broken."""
    seen: dict[str, int] = {}
    for number, feed in enumerate(feeds):
        first = seen.setdefault(CalibrationData((feed,)).digest, number)
        if first != number:
            raise ElastiqError(
                f"{where}: calibration sample {number} is the same as sample {first}; "
                "give each sample once"
            )


def _column(batch: Batch, spec: TensorSpec, where: str) -> np.ndarray:
    if spec.name not in batch:
        raise ElastiqError(f"{where} has no {spec.name!r}; it has {sorted(batch)}")
    array = batch[spec.name]
    if array.ndim != len(spec.shape) or array.shape[1:] != spec.shape[1:]:
        wanted = ["n", *spec.shape[1:]]
        raise ElastiqError(f"{where}: {spec.name!r} has shape {list(array.shape)}, not {wanted}")
    if array.dtype != spec.dtype:
        raise ElastiqError(f"{where}: {spec.name!r} is {array.dtype}, not {spec.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        sample = int(np.argwhere(~np.isfinite(array))[0][0])
        raise ElastiqError(
            f"{where}: {spec.name!r} holds NaN or infinity, first in sample {sample}"
        )
    return array


def _cut(columns: Batch, inputs: tuple[TensorSpec, ...]) -> list[Batch]:
    size = inputs[0].shape[0]
    count = min(len(column) for column in columns.values()) // size
    return [
        {name: column[i * size : (i + 1) * size] for name, column in columns.items()}
        for i in range(count)
    ]
