"""Always the same point, whatever the load: the plain deployment that others are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from elastiq.errors import unknown
from elastiq.policies import Decision, Option, Situation


@dataclass(frozen=True)
class Fixed:
    """Always takes `point`."""

    point: str
    name = "fixed"

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        for index, option in enumerate(options):
            if option.point == self.point:
                return Decision(index, "fixed")
        raise unknown("point", self.point, (option.point for option in options))


policy = Fixed
