"""The most accurate point with which this request and those behind it keep their deadlines."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from elastiq.policies import Decision, Option, Situation

Queue = list[tuple[int, float]]  # of each request with a deadline: how many are ahead, time left


@dataclass(frozen=True)
class Deadline:
    """A point fits if all that wait are served in time by it, as fast as requests arrive.

    A point costlier than the present one must fit with `margin`.
    """

    margin: float = 0.15
    name = "deadline"

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        queue = [(n, left) for n, left in enumerate(situation.slacks) if left is not None]
        if not queue:
            return Decision(_best(options, range(len(options))), "the most accurate: no deadline")
        # Slower than requests arrive, today's slack would be taken from those yet to come.
        pace = inf if situation.pace is None else situation.pace
        current = len(options) if situation.current is None else situation.current
        fitting = []
        for index, option in enumerate(options):
            # Without a margin, a slack that hovers about one p99 would shift at every request.
            stretch = 1 + self.margin if index > current else 1.0
            if option.typical * stretch <= pace and _in_time(option, stretch, queue):
                fitting.append(index)
        if not fitting:
            fastest = min(range(len(options)), key=lambda index: options[index].worst)
            return Decision(fastest, f"the fastest: none fits {_spell(queue, pace)}")
        best = _best(options, fitting)
        return Decision(best, f"the most accurate that fits {_spell(queue, pace)}")


def _in_time(option: Option, stretch: float, queue: Queue) -> bool:
    """Whether the point can serve all that wait, one after another, and each in time.

    Their p99s are not added up: that every one of them has a bad run does not happen.
    """
    typical, worst = option.typical * stretch, option.worst * stretch
    # A plain loop, because it runs for every option at every request.
    for ahead, left in queue:  # noqa: SIM110
        if ahead * typical + worst > left:
            return False
    return True


def _best(options: tuple[Option, ...], among: list[int] | range) -> int:
    return max(among, key=lambda index: (options[index].score, -options[index].worst))


def _spell(queue: Queue, pace: float) -> str:
    ahead, left = min(queue, key=lambda waiting: waiting[1] / (waiting[0] + 1))
    text = f"{ahead + 1} in {1e3 * left:.1f} ms"
    return text if pace == inf else f"{text}, one arriving every {1e3 * pace:.1f} ms"


policy = Deadline
