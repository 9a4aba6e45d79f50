"""The most accurate point with which this request and those behind it keep their deadlines.

Where a run takes several requests, those who wait are served so many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from operator import attrgetter

from elastiq.policies import Decision, Option, Situation

# As sure as any point can be: where other programs preempt every engine for longer than the time
# there is, no p99 fits, and giving up accuracy for it would gain nothing.
SURENESS: tuple[tuple[str, Callable[[Option], float]], ...] = (
    ("surely", attrgetter("worst")),
    ("likely", attrgetter("likely")),
    ("typically", attrgetter("typical")),
)
Queue = list[tuple[int, float]]  # of each request with a deadline: how many are ahead, time left


@dataclass(frozen=True)
class Deadline:
    """A point fits if all that wait are served in time by it, as fast as requests arrive.

    A point costlier than the present one must fit with `margin`.
    """

    margin: float = 0.15
    name = "deadline"

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        slacks, beyond, given = situation.slacks, situation.beyond, situation.given
        queue = [(n, left) for n, left in enumerate(slacks) if left is not None]
        if not queue:
            return Decision(_best(options, range(len(options))), "the most accurate: no deadline")
        if beyond and given is not None:  # who came last has all of the usual time left
            queue.append((len(slacks) - 1 + beyond, given))
        # Slower than requests arrive, today's slack would be taken from those yet to come.
        pace = inf if situation.pace is None else situation.pace
        current = len(options) if situation.current is None else situation.current
        for sure, last in SURENESS:
            fitting = []
            for index, option in enumerate(options):
                # Without a margin, a slack that hovers about one p99 would shift every time.
                stretch = 1 + self.margin if index > current else 1.0
                typical = option.typical * stretch + option.after
                final = last(option) * stretch + situation.starting(index)
                if typical <= pace * option.takes and _in_time(typical, final, queue, option.takes):
                    fitting.append(index)
            if fitting:
                best = _best(options, fitting)
                return Decision(best, f"the most accurate that {sure} fits {_spell(queue, pace)}")
        waiting = len(slacks) + beyond
        fastest = min(
            range(len(options)),
            key=lambda index: options[index].typical / min(options[index].takes, waiting),
        )
        return Decision(fastest, f"the fastest: none fits {_spell(queue, pace)}")


def _in_time(typical: float, last: float, queue: Queue, takes: int) -> bool:
    """Whether a point can serve all that wait, one after another, and each in time.

    Bad runs are not added up: that every one of them has one does not happen.
    """
    # A plain loop, because it runs for every option at every request.
    for ahead, left in queue:  # noqa: SIM110
        if ahead // takes * typical + last > left:
            return False
    return True


def _best(options: tuple[Option, ...], among: list[int] | range) -> int:
    return max(among, key=lambda index: (options[index].score, -options[index].worst))


def _spell(queue: Queue, pace: float) -> str:
    ahead, left = min(queue, key=lambda waiting: waiting[1] / (waiting[0] + 1))
    text = f"{ahead + 1} in {1e3 * left:.1f} ms"
    return text if pace == inf else f"{text}, one arriving every {1e3 * pace:.1f} ms"


policy = Deadline
