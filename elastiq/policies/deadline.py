"""The most accurate point with which this request and those behind it keep their deadlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from elastiq.policies import Decision, Option, Situation


@dataclass(frozen=True)
class Deadline:
    """Fits each point's p99 into the time budget; a costlier point must fit with `margin`."""

    margin: float = 0.15
    name = "deadline"

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        time = budget(situation.slacks)
        current = len(options) if situation.current is None else situation.current
        best = -1
        for index, option in enumerate(options):
            # Without the margin, a budget that hovers about one p99 would shift at every request.
            needed = option.worst * (1 + self.margin) if index > current else option.worst
            if needed <= time and (best < 0 or _better(option, options[best])):
                best = index
        if best < 0:
            best = min(range(len(options)), key=lambda index: options[index].worst)
            return Decision(best, f"no point fits {1e3 * time:.1f} ms: the fastest")
        if time == inf:
            return Decision(best, "no deadline: the most accurate")
        return Decision(best, f"the most accurate that fits {1e3 * time:.1f} ms")


def budget(slacks: Sequence[float | None]) -> float:
    """The longest time that every waiting request can take, one after another, and be in time."""
    time = inf
    for ahead, slack in enumerate(slacks):
        if slack is not None and slack < time * (ahead + 1):
            time = slack / (ahead + 1)
    return time


def _better(option: Option, best: Option) -> bool:
    return (option.score, -option.worst) > (best.score, -best.worst)


policy = Deadline
