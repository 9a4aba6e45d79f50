"""What was chosen for a request, from what, and why: for people and for machines."""

from __future__ import annotations

from typing import Any, NamedTuple

from elastiq.load import Load
from elastiq.policies import Decision, Option, Situation
from elastiq.records import WHOLE
from elastiq.today import Today


class Choice(NamedTuple):
    """What was chosen for one request, and everything that it was chosen from."""

    load: Load | float
    today: Today
    rest: float  # seconds since the run before,
    away: float  # and since the last of this point
    options: tuple[Option, ...]
    situation: Situation
    decision: Decision
    kind: str = WHOLE  # of request

    @property
    def option(self) -> Option:
        return self.options[self.decision.index]

    @property
    def point(self) -> str:
        return self.option.point

    @property
    def predicted(self) -> float:
        """How long the request is expected to take, in seconds."""
        return self.option.typical + self.situation.starting(self.decision.index)

    @property
    def quickest(self) -> float:
        """The seconds that an answer takes at least, at any point."""
        start = self.situation.starting
        return min(option.typical + start(index) for index, option in enumerate(self.options))

    def lines(self) -> list[str]:
        """The choice for people."""
        width = max(len(option.point) for option in self.options)
        slacks = self.situation.slacks
        load = self.load if isinstance(self.load, Load) else f"others {self.load:.0%}"
        today = self.today
        return [
            f"load       {load}",
            f"correction {today.factor:.2f}x as long as measured, {_spell(today.added)} more; "
            f"{_spell(today.before)} pass before a run, {_spell(today.after)} after it",
            f"spread     p90 {today.likely:.1f}x and p99 {today.worst:.1f}x as far above the p50",
            f"queue      {len(slacks) - 1 + self.situation.beyond} behind; "
            f"time left {', '.join(map(_spell, slacks))}{' …' if self.situation.beyond else ''}",
            *(
                f"{'>' if index == self.decision.index else ' '} {option.point:<{width}}"
                f"  score {option.score:.3f}"
                f"{f'  {option.takes} at once' if option.takes > 1 else ''}"
                f"  p50 {_spell(option.typical)}  p99 {_spell(option.worst)}"
                f"{self._start(index)}"
                for index, option in enumerate(self.options)
            ),
            f"why        {self.decision.why}",
        ]

    def _start(self, index: int) -> str:
        start = self.situation.starting(index)
        return f"  {_spell(start)} more to start" if start else ""

    def as_dict(self) -> dict[str, Any]:
        """The choice for machines. Times in seconds."""
        return {
            "point": self.point,
            "why": self.decision.why,
            "predicted": self.predicted,
            "load": self.load.as_dict() if isinstance(self.load, Load) else self.load,
            "today": self.today._asdict(),
            "slacks": list(self.situation.slacks),
            "beyond": self.situation.beyond,
            "pace": self.situation.pace,
            "watts": self.situation.watts,
            "options": [
                {
                    "point": o.point,
                    "score": o.score,
                    "typical": o.typical,
                    "worst": o.worst,
                    "takes": o.takes,
                    "energy": o.energy,
                    "start": self.situation.starting(index),
                }
                for index, o in enumerate(self.options)
            ],
        }


def _spell(seconds: float | None) -> str:
    return "no deadline" if seconds is None else f"{1e3 * seconds:.2f} ms"
