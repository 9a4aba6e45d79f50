"""What share of requests is answered in time lately."""

from __future__ import annotations

OVER = 256  # requests that the share is averaged over


class Punctuality:
    """Counts each request that had a deadline, once its fate is known."""

    def __init__(self) -> None:
        self.share = 1.0

    def count(self, in_time: bool) -> None:
        self.share += (in_time - self.share) / OVER
