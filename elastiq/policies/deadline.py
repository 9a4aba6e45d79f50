"""The point from which most right answers in time are to be expected for those who wait.

Where everyone can surely be served in time, that is the most accurate point which does so.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from elastiq.policies import Decision, Option, Situation

Queue = list[float]  # time left to each request in turn; infinite without a deadline


@dataclass(frozen=True)
class Deadline:
    """Weighs each point's score by how many of those who wait it is likely to serve in time.

    Another point than the present one must do so with `margin`.
    """

    margin: float = 0.3
    shift: float = 0.1  # what changing points costs, as a share of a run
    name = "deadline"

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        queue = [inf if left is None else left for left in situation.slacks]
        pace = inf if situation.pace is None or min(queue) == inf else situation.pace
        current = situation.current
        best, most, served = 0, (0.0, 0.0, 0.0), 0.0
        for index, option in enumerate(options):
            # The first run after a shift finds cold caches, and a slack that hovers about one p99
            # would shift every time.
            same = current is None or current == index
            stretch, slower = (1.0, 1.0) if same else (1 + self.margin, 1 + self.shift)
            count = _in_time(option, stretch, queue)
            # Slower than requests arrive, a share of those yet to come is lost.
            share = min(count / len(queue), pace / (option.typical * slower), 1.0)
            value = (option.score * share, option.score, -option.worst)
            if count and value > most:
                best, most, served = index, value, count
        if served:
            return Decision(best, f"{served:.3g} in time are expected of {_spell(queue, pace)}")
        fastest = min(range(len(options)), key=lambda index: options[index].typical)
        return Decision(fastest, f"the fastest: in time for none of {_spell(queue, pace)}")


def _in_time(option: Option, stretch: float, queue: Queue) -> float:
    """How many a point is expected to serve in time, one after another; the rest is refused.

    Bad runs are not added up: that every one of them has one does not happen.
    """
    typical, likely, worst = (
        option.typical * stretch,
        option.likely * stretch,
        option.worst * stretch,
    )
    expected, ahead = 0.0, 0.0
    for left in queue:
        spare = left - ahead
        if spare >= typical:
            expected += 1.0 if spare >= worst else 0.9 if spare >= likely else 0.5
            ahead += typical
    return expected


def _spell(queue: Queue, pace: float) -> str:
    text = f"{len(queue)}, the nearest deadline in {1e3 * min(queue):.1f} ms"
    return text if pace == inf else f"{text}, one arriving every {1e3 * pace:.2f} ms"


policy = Deadline
