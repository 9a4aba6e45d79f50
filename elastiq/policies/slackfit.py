"""SlackFit, as SuperServe (NSDI 2025) has it: the slack of the most urgent request tells the load.

What may run (a point, and how many requests together) is sorted by latency into buckets of equal
width. The slowest bucket that the slack leaves time for is taken: a burst shortens slacks, which
leads to faster buckets, and no rate has to be predicted. In a bucket, the choice that answers most
requests at once is taken, and of those the most accurate. The paper's GPUs took the same time at
each run; here the p99 stands for it, which simulations found better for it than p50 or p90.
"""

from __future__ import annotations

from dataclasses import dataclass

from elastiq.policies import Decision, Option, Situation

WORDS = "bucket {:.0f} of {:.0f}, the slowest that fits in {:.2f} ms"
SHORT = "the fastest bucket: none fits in {:.2f} ms"
FREE = "the most accurate: no deadline"


@dataclass(frozen=True)
class SlackFit:
    """Has `buckets` of latency between those of the fastest and of the slowest choice."""

    buckets: int = 16
    name = "slackfit"

    def choose(self, options: tuple[Option, ...], situation: Situation) -> Decision:
        slack = min((left for left in situation.slacks if left is not None), default=None)
        if slack is None:
            best = max(range(len(options)), key=lambda i: (options[i].score, -options[i].worst))
            return Decision(best, FREE)
        fastest = min(option.worst for option in options)
        width = (max(option.worst for option in options) - fastest) / self.buckets
        chosen, bucket = self._slowest(options, fastest, width, slack)
        waiting = len(situation.slacks)
        index = max(chosen, key=lambda i: (min(options[i].takes, waiting), options[i].score))
        if options[index].worst > slack:
            return Decision(index, SHORT, (1e3 * slack,))
        return Decision(index, WORDS, (bucket + 1, self.buckets, 1e3 * slack))

    def _slowest(
        self, options: tuple[Option, ...], fastest: float, width: float, slack: float
    ) -> tuple[list[int], int]:
        """The choices of the slowest bucket all of which fits, else of the fastest one."""
        filled: dict[int, list[int]] = {}
        for index, option in enumerate(options):
            place = int((option.worst - fastest) / width) if width > 0 else 0
            filled.setdefault(min(self.buckets - 1, place), []).append(index)
        fitting = [
            place
            for place, members in filled.items()
            if max(options[index].worst for index in members) <= slack
        ]
        bucket = max(fitting, default=min(filled))
        return filled[bucket], bucket


policy = SlackFit
