"""How a request is answered: at which point, in whose company, and who has to do without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from elastiq.choice import Choice
from elastiq.dispatcher import Dispatcher
from elastiq.drivers import Memory
from elastiq.errors import DeadlineMissed, SessionLost
from elastiq.line import Line
from elastiq.records import WHOLE
from elastiq.requests import Answer, Execute, Request, settle
from elastiq.rhythm import Rhythm
from elastiq.sessions import Sessions
from elastiq.thoughts import Thoughts

TRIED = 3.0  # times as long as a run takes: after so long without one, odds are defied
WRONG = 4.0  # times too long a prediction may be: beyond, they are defied the more rarely
SOON = 2.0  # times what a request is given: who comes later gains nothing by a start before


class Service:
    """Answers one request after another. Where a point takes several at once, those who wait are
    answered together: nobody is kept waiting for company."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        execute: Execute,
        line: Line,
        thoughts: Thoughts,
        sessions: Sessions | None,
        clock: Callable[[], float],
    ) -> None:
        self._dispatcher = dispatcher
        self._execute = execute
        self._line = line
        self._thoughts = thoughts
        self._sessions = sessions
        self._clock = clock
        self._last_run = -inf
        self._free = -inf  # since the last run ended, if nobody was refused since

    def serve(self, request: Request, behind: Sequence[Request], beyond: int) -> None:
        """Answer it, or tell why not. Some who are `behind` may be served with it; so many
        more wait `beyond` those."""
        now = self._clock()
        if request.expired(now):
            self._free = -inf
            self.turn_away(request, now)
        elif request.claim():
            self._answer(request, _slacks(request, behind, now), beyond, now)

    def turn_away(self, request: Request, now: float) -> None:
        """Tell who is too late, unless they have given up."""
        if not request.future.given_up:
            self.count(request, False)
        request.refuse(now)

    def count(self, request: Request, in_time: bool) -> None:
        """Tell the dispatcher what became of a request that was its to place."""
        if request.expires is not None and not request.choosy:
            self._dispatcher.settle(in_time)

    def _answer(
        self, request: Request, slacks: list[float | None], beyond: int, begun: float
    ) -> None:
        batch = [request]
        between = roused = None
        if request.arrived <= self._free:
            between = begun - self._free
        elif self._free > -inf:
            roused = begun - request.arrived
        self._free = -inf
        try:
            memory = None if request.session is None else self._recall(request)
            choice = self._choose(request, memory, slacks, beyond)
            start = self._clock()
            if self._hopeless(request, choice, start):
                self._give_up(request, memory, choice, start)
                if memory is None:  # a session's point and costs are its own
                    self._give_up_behind(choice, start)
                return
            if choice.option.takes > 1 and not request.choosy:
                self._fill(batch, choice.option.takes, start)
            self._last_run = start
            done = self._execute(choice.point, [one.inputs for one in batch], memory)
            took = self._clock() - start
            answered = list(zip(batch, done.answers, strict=True))
        except BaseException as e:  # whatever an engine raises is its requesters', not ours
            for one in batch:
                settle(one, e)
            # Else error, frame and future hold each other, and the inputs, for long.
            del request, one
            batch.clear()
        else:
            for one, answer in answered:
                if isinstance(answer, Exception):
                    settle(one, answer)
                else:
                    settle(one, Answer(answer, start - one.arrived, took, choice))
            # Whoever waited has the answer by now; the next request has waited for all of this.
            self._free = start + took
            if done.ran:
                self._dispatcher.learn(choice, took, start - begun, between, roused, done.ran)
            for one in batch:
                self.count(one, one.expires is None or start + took <= one.expires)
            if self._sessions is not None and request.session is not None:
                self._sessions.grown(request.session)

    def _choose(
        self, request: Request, memory: Memory | None, slacks: list[float | None], beyond: int
    ) -> Choice:
        rhythm = self._line.rhythm
        if request.expires is None:
            rhythm = rhythm._replace(given=None)
        if memory is None:
            choice = self._decide(slacks, rhythm, beyond, held=request.point)
            if choice.option.score >= request.least_score:
                return choice
            enough = self._dispatcher.cheapest(request.least_score)
            return self._decide(slacks, rhythm, beyond, held=enough)
        kind = memory.kind(request.inputs)
        if memory.point is None:
            # A session stays at its point, so the costliest request to come must fit there too.
            memory.point = self._decide(slacks, rhythm, beyond, memory.costliest).point
        return self._decide(slacks, rhythm, beyond, kind, memory.point)

    def _decide(
        self,
        slacks: list[float | None],
        rhythm: Rhythm,
        beyond: int,
        kind: str = WHOLE,
        held: str | None = None,
    ) -> Choice:
        """What the policy chooses, if it need be once it has thought; or a point that is held."""
        choice = self._dispatcher.decide(slacks, rhythm, kind, held, beyond)
        if held is not None or not self._dispatcher.astray:
            return choice
        if (took := self._thoughts.hurry(choice)) is None:
            return choice
        return self._dispatcher.decide(_later(slacks, took), rhythm, kind, beyond=beyond)

    def _give_up(self, request: Request, memory: Memory | None, choice: Choice, now: float) -> None:
        """No time for an answer: a session has its last one, all others are refused."""
        if memory is not None and memory.latest is not None and request.inputs:
            waited = now - request.arrived
            settle(request, Answer(memory.latest, waited, 0.0, choice, repeated=True))
        else:
            settle(request, DeadlineMissed(_hopeless_words(request, choice, now)))
        self.count(request, False)

    def _give_up_behind(self, choice: Choice, now: float) -> None:
        """Nor is there for those next in line whom no point could answer in time any more: under
        overload, to choose for each of them would take longer than to answer some."""
        soonest = now + choice.quickest
        while late := self._line.take(lambda one: one.session is None and one.expired(soonest)):
            if late.expired(now):
                self.turn_away(late, now)
            elif late.claim():
                self._give_up(late, None, choice, now)

    def _fill(self, batch: list[Request], takes: int, now: float) -> None:
        """Add those next in line, to be answered together with the first."""
        while len(batch) < takes and (request := self._line.take(_easy)):
            if request.expired(now):
                self.turn_away(request, now)
            elif request.claim():
                batch.append(request)

    def _recall(self, request: Request) -> Memory:
        """What is kept of a request's session; never of another by the same name."""
        assert self._sessions is not None and request.session is not None
        memory = self._sessions.find(request.session)
        if memory is not request.memory:
            raise SessionLost(f"the session {request.session!r} ended, and another has begun")
        return memory

    def _hopeless(self, request: Request, choice: Choice, now: float) -> bool:
        """Whether the policy refuses it, or the chosen point is too slow for what is left: then
        nobody's time is wasted.

        What is left counts from before the choice, for what is predicted has the choice in it.

        Where nothing has run for a while, such a request runs all the same. A prediction may be
        wrong, and only a run can show it; and the longer a device rests, the colder its caches, the
        slower its next run, and the more it would refuse. Where a prediction would have to be more
        wrong than any is, that while is longer: nobody should wait for what is out of the question.
        """
        left, needed = choice.situation.slacks[0], choice.predicted
        if left is None:
            return False
        if left <= 0.0 or request.expired(now):
            return True
        if not choice.decision.refuses and (needed <= left or _warms(request, choice)):
            return False
        odds = max(1.0, needed / (WRONG * left))
        return now - self._last_run < TRIED * odds * odds * needed


def _warms(request: Request, choice: Choice) -> bool:
    """Whether it would be in time but for the rest before it, and so no other would be in its stead
    who comes soon.

    Where a start takes longer than anybody is given, somebody has to make it: if each was refused
    in turn, the device would rest for ever.
    """
    situation, needed, given = choice.situation, choice.predicted, request.given
    left, pace = situation.slack, situation.pace
    if left is None or given is None or pace is None or pace > SOON * given:
        return False
    return needed - situation.waking <= left and needed + situation.rousing > given


def _slacks(first: Request, behind: Sequence[Request], now: float) -> list[float | None]:
    """The time left to the first and to those behind it that will still be served."""
    slacks = [None if first.expires is None else first.expires - now]
    for request in behind:
        expires = request.expires
        if request.future.given_up:
            continue
        if expires is None:
            slacks.append(None)
        elif expires > now:
            slacks.append(expires - now)
    return slacks


def _easy(request: Request) -> bool:
    """Whether any point that answers others answers this one, too."""
    return not request.choosy


def _later(slacks: list[float | None], seconds: float) -> list[float | None]:
    return [None if slack is None else slack - seconds for slack in slacks]


def _hopeless_words(request: Request, choice: Choice, now: float) -> str:
    left, needed = (request.expires or now) - now, choice.predicted
    return f"{1e3 * left:.1f} ms are left, and {choice.point} takes {1e3 * needed:.1f} ms now"
