"""The fewest layers to give back, found with few trials."""

from __future__ import annotations

from collections.abc import Callable


def fewest(most: int, holds: Callable[[int], bool], in_time: Callable[[], bool]) -> int | None:
    """The fewest from 1 to `most` that hold: doubling until some do, then halving the gap.

    None if not even `most` do, or if time is up before any do. When time is up later, what holds
    so far is the answer.
    """
    failing, trial = 0, min(1, most)
    while trial > failing and in_time():
        if holds(trial):
            return _narrowed(failing, trial, holds, in_time)
        failing, trial = trial, min(2 * trial, most)
    return None


def _narrowed(
    failing: int, holding: int, holds: Callable[[int], bool], in_time: Callable[[], bool]
) -> int:
    while holding - failing > 1 and in_time():
        middle = (failing + holding) // 2
        if holds(middle):
            holding = middle
        else:
            failing = middle
    return holding
