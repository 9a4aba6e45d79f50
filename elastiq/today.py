"""What runs take today, beside what the latency table says, as it was learnt from answers."""

from __future__ import annotations

from typing import NamedTuple

from elastiq.policies import Option
from elastiq.tails import reach

# What the p90 and the p99 count in the mean, where longer runs are distributed exponentially.
LIKELY_SHARE, WORST_SHARE = 0.21, 0.04


class Today(NamedTuple):
    """Times in seconds."""

    factor: float = 1.0  # times as long are all runs,
    added: float = 0.0  # and by so much longer
    likely: float = 1.0  # times as far above the p50 is the p90,
    worst: float = 1.0  # and the p99; never nearer than they were measured
    before: float = 0.0  # from when a request is its turn until its run begins
    after: float = 0.0  # from the end of a run until it is the next one's turn

    def option(self, measured: Option, own: float = 1.0) -> Option:
        """An option as it is today, whose runs are so many times as long by themselves."""
        point, score, typical, likely, worst, mean, takes, energy, _ = measured
        factor, added, likely_times, worst_times, before, after = self
        factor, added = own * factor, own * added
        usual = typical * factor + added

        def longer(long: float, times: float) -> float:
            """By how much such a run is longer than all others let expect."""
            if times <= 1.0:
                return 0.0
            return max(0.0, usual * (1.0 + times * reach(typical, long)) - long * factor - added)

        likelier, worse = longer(likely, likely_times), longer(worst, worst_times)
        likely = likely * factor + added + likelier
        return Option(
            point,
            score,
            usual + before,
            likely + before,
            max(likely, worst * factor + added + worse) + before,
            mean * factor + added + LIKELY_SHARE * likelier + WORST_SHARE * worse + before,
            takes,
            energy,
            after,
        )
