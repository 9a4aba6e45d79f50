"""What tasks are called: their keys begin with words for people."""

from __future__ import annotations

MARK = "#"


def label_of(key: object) -> str:
    """The part for people."""
    return str(key).partition(MARK)[0]
