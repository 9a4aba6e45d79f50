"""The parameters of a request: `deadline_ms`, `point`, `min_accuracy`, `priority`, and those of
sequences."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from elastiq.errors import ElastiqError
from elastiq.requests import NORMAL, PRIORITIES
from elastiq.server.models import Wishes

DEADLINE, POINT, LEAST, PRIORITY = "deadline_ms", "point", "min_accuracy", "priority"
SEQUENCE, START, END = "sequence_id", "sequence_start", "sequence_end"


def read(parameters: Mapping[str, Any], deadline: float | None, point: str | None) -> Wishes:
    """What a request wishes; a `deadline` in seconds and a `point` where it names none. Other
    parameters are not ours."""
    if DEADLINE in parameters:
        deadline = _number(parameters, DEADLINE) / 1000.0
    sequence = parameters.get(SEQUENCE)
    free = POINT not in parameters and LEAST not in parameters and not sequence
    return Wishes(
        deadline=deadline,
        point=point if free else _text(parameters, POINT),
        least_score=_number(parameters, LEAST) if LEAST in parameters else 0.0,
        priority=_priority(parameters),
        session=str(sequence) if sequence else None,  # 0 and "" are none, in the protocol
        begins=bool(parameters.get(START)),
        ends=bool(parameters.get(END)),
    )


def _number(parameters: Mapping[str, Any], name: str) -> float:
    value = parameters[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not isfinite(number) or number < 0:
        raise ElastiqError(f"parameter {name} is {value!r}; it must be a number, not below 0")
    return number


def _priority(parameters: Mapping[str, Any]) -> int:
    number = _number(parameters, PRIORITY) if PRIORITY in parameters else 0.0
    if number not in (0, *PRIORITIES):
        raise ElastiqError(f"parameter {PRIORITY} is {number:g}; it must be 1 (first), 2 or 3")
    return int(number) or NORMAL  # 0 is the usual one, in the protocol


def _text(parameters: Mapping[str, Any], name: str) -> str | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, str):
        raise ElastiqError(f"parameter {name} is {value!r}; it must be a text")
    return value
