"""Engines of one process that could be one, so that they share their weights.

The first process that opens several loads each for itself, and orders the one that they could be:
its files are kept on the device. From then on only the first that is opened is loaded for itself,
so that it answers soon, and goes on as a part of that one when the second needs it.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from elastiq import cache
from elastiq.errands import errands

ALONE = ""  # the joint of engines that were tried together in vain


class Seat(NamedTuple):
    """An engine's place in a joint, by the joint's name."""

    joint: str
    place: int


class Relative(Protocol):
    """An engine that can go on as a part of a joint. `shape` is what it takes and gives."""

    key: str
    seat: Seat | None

    @property
    def shape(self) -> object: ...

    @property
    def closed(self) -> bool: ...

    def go_on(self, joint: Any, seat: Seat) -> None: ...


def keep(key: str, seat: Seat) -> None:
    """Put down where an engine belongs."""
    cache.keep(_name(key), json.dumps(seat).encode())


def find(key: str) -> Seat | None:
    """Where an engine belongs, if it was ever tried together with others."""
    kept = cache.find(_name(key))
    return None if kept is None else Seat(*json.loads(kept.tobytes()))


def _name(key: str) -> str:
    return f"{key}-seat"


class Kin:
    """The engines over the same weights that run by the same settings.

    `unpack` opens a joint that is kept, by name; None if it is there no more. `order` says what a
    child process is told to make one of these engines.
    """

    def __init__(
        self,
        unpack: Callable[[str], Any],
        order: Callable[[Sequence[Any]], Sequence[str]],
    ) -> None:
        self._unpack = unpack
        self._order = order
        self._opening = threading.Lock()
        self._joints: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._members: WeakValueDictionary[str, Relative] = WeakValueDictionary()

    def place(self, key: str) -> tuple[Any, Seat] | None:
        """The joint that an engine belongs to, if others are open by now that do, too."""
        if not any(member.key != key for member in self._open()):
            return None
        seat = find(key)
        if seat is None or seat.joint == ALONE:
            return None
        joint = self._joint(seat.joint)
        if joint is None:  # it is damaged, or gone: another will be made
            cache.drop(_name(key))
            return None
        return joint, seat

    def welcome(self, engine: Relative) -> None:
        """Let an engine share with those that are open, now or when a joint is made of them."""
        self._members[engine.key] = engine
        self._move()
        if self._apart() is not None:
            errands().send(self._wanted, self._move)

    def _open(self) -> list[Relative]:
        return [member for member in list(self._members.values()) if not member.closed]

    def _joint(self, name: str) -> Any:
        with self._opening:
            joint = self._joints.get(name)
            if joint is None and (joint := self._unpack(name)) is not None:
                self._joints[name] = joint
            return joint

    def _move(self) -> None:
        """Let every engine go on in the joint to which it belongs."""
        for member in self._open():
            found = self.place(member.key)
            if found is not None and found[1] != member.seat:
                member.go_on(*found)

    def _apart(self) -> list[Relative] | None:
        """Engines that could be one and are not, and were not tried."""
        alike: dict[object, list[Relative]] = defaultdict(list)
        for member in self._open():
            alike[member.shape].append(member)
        for members in alike.values():
            joints = {seat and seat.joint for seat in (find(member.key) for member in members)}
            if len(members) > 1 and (None in joints or len(joints) > 1):
                return members
        return None

    def _wanted(self) -> Sequence[str] | None:
        apart = self._apart()
        return None if apart is None else self._order(apart)
