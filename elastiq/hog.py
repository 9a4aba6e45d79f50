"""What other programs take of the CPU while traffic is replayed: a share, or a script of shares."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from elastiq.errors import ElastiqError


@dataclass(frozen=True)
class Hog:
    """Shares (0…1) of all cores, each from its moment on, in seconds; the first is at 0."""

    script: tuple[tuple[float, float], ...] = ((0.0, 0.0),)

    def __str__(self) -> str:
        if len(self.script) == 1:
            return f"{self.script[0][1]:.0%} of the CPU"
        return ", ".join(f"{share:.0%} from {begin:g} s" for begin, share in self.script)

    def at(self, moment: float) -> float:
        """The share taken at a moment."""
        return self.script[max(0, bisect_right(self._begins, moment) - 1)][1]

    def between(self, begin: float, end: float) -> list[tuple[float, float]]:
        """The changes after one moment and before another, and what each is to."""
        return [(moment, share) for moment, share in self.script if begin < moment < end]

    @property
    def most(self) -> float:
        return max(share for _, share in self.script)

    @cached_property
    def _begins(self) -> list[float]:
        return [begin for begin, _ in self.script]


IDLE = Hog()


def read(text: str) -> Hog:
    """A hog as it is written: `0.5`, or a share from each second on: `0:0,2:0.8,4:0`."""
    try:
        steps = [part.rpartition(":") for part in text.split(",")]
        begins = [float(begin or 0.0) for begin, _, _ in steps]
        shares = [float(share) for _, _, share in steps]
    except ValueError:
        raise _wrong(text) from None
    script = tuple(zip(begins, shares, strict=True))
    if begins != sorted(set(begins)) or begins[0] < 0 or not all(0 <= s <= 1 for s in shares):
        raise _wrong(text)
    return Hog(script if begins[0] == 0 else ((0.0, 0.0), *script))


def _wrong(text: str) -> ElastiqError:
    return ElastiqError(
        f"{text!r} is no background load. Write a share of the CPU (0.5), or one from each second "
        "on (0:0,2:0.8,4:0)"
    )
