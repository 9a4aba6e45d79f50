"""Frozen dataclasses to plain JSON or TOML values and back, strictly: a surprise is an error."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from elastiq.errors import ElastiqError, unknown

T = TypeVar("T")


def plain(value: Any) -> Any:
    """The JSON-ready form of a record."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def decode(kind: type[T], data: Any, where: str) -> T:
    """Read a record from plain values. `where` names the file in errors."""
    return typing.cast(T, _decode(kind, data, where))


def _decode(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type, kind), data, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, data, where)
    if origin is tuple and isinstance(data, list):
        kinds = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(data):
            raise ElastiqError(f"{where}: expected {len(kinds)} values, found {len(data)}")
        return tuple(
            _decode(k, item, f"{where}[{i}]")
            for i, (k, item) in enumerate(zip(kinds, data, strict=True))
        )
    if origin is dict and isinstance(data, dict):
        return {key: _decode(arguments[1], item, f"{where}.{key}") for key, item in data.items()}
    if kind is float and type(data) is int:
        return float(data)
    if isinstance(kind, type) and type(data) is kind:
        return data
    raise ElastiqError(f"{where}: expected {_spell(kind)}, found {data!r:.60}")


def _record(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ElastiqError(f"{where}: expected a table, found {data!r:.60}")
    hints, fields = _shape(kind)
    for key in data:
        if key not in fields:
            raise ElastiqError(f"{where}: {unknown('key', key, fields)}")
    for name, field in fields.items():
        optional = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in data and not optional:
            raise ElastiqError(f"{where}: {name!r} is missing")
    return kind(**{k: _decode(hints[k], v, f"{where}.{k}") for k, v in data.items()})


@functools.cache
def _shape(kind: type) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """The types of a record's fields, and the fields: a manifest has hundreds of the same kind."""
    return typing.get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind)}


def _union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    for kind in kinds:
        if type(data) is kind:
            return data
    return _decode(next(kind for kind in kinds if kind is not type(None)), data, where)


def _spell(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
