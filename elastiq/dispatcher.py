"""Chooses an operating point for each request, from the latency table at the present load."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from math import exp, inf
from typing import NamedTuple

from elastiq.choice import Choice
from elastiq.correction import Correction
from elastiq.errors import ElastiqError, unknown
from elastiq.latency import LatencyTable
from elastiq.lessons import REST, Lessons, Run
from elastiq.load import Load
from elastiq.policies import Decision, Heeding, Option, Policy, Situation, Thinking
from elastiq.records import WHOLE, PointRecord
from elastiq.rests import NOTHING, Curve, cost
from elastiq.rhythm import Rhythm
from elastiq.spending import Spending
from elastiq.steady import SHORTEST, steady, steady_ratio
from elastiq.today import Today

RENEWED = 0.025  # seconds for which what is known of the device is good: clocks jump within some
OVERDUE = 0.1  # seconds, where a look at it would keep somebody waiting who comes after a rest
AGED = 1e-3  # seconds, in which no engine's caches get much colder
LOAD_STEP = 0.05  # nearer ones are one: sensors are not that exact
PACE_STEP = 0.3  # of its logarithm
GIVEN_STEP = 0.1  # likewise
SOON_STEP = 0.125  # of all gaps
FAR = exp(PACE_STEP)  # times as fast, or as slow, are arrivals that are worth to be heard anew,
FAR_IN_A_ROW = exp(2 * PACE_STEP)  # or to be planned for anew while somebody waits in a row
KEPT = 256  # situations whose options are kept
HELD = "where its session began"
UNHEARD = Rhythm()
GUESS = 2.0  # times the costliest run for one: what requests are given, before there was one
RUNS = 8  # that are taken in at each look, at most,
AT_ONCE = 4  # and by one decision before it, where others wait


class _Known(NamedTuple):
    """What was known of the device and its traffic when it was looked at last."""

    load: Load | float
    level: float
    today: Today
    own: tuple[float, ...]  # times as long as they were corrected are the runs of each point
    rhythm: Rhythm
    rests: Curve
    returns: Curve
    changing: float
    rousing: float
    watts: float


_Device = tuple[float, Today, tuple[float, ...]]  # how loaded it is, and how slow


class Dispatcher:
    """Decides for one thread of execution; `learn` tells it what a request really took."""

    def __init__(
        self,
        points: Sequence[PointRecord],
        table: LatencyTable,
        policy: Policy,
        load: Callable[[], Load | float],
        correction: Correction | None = None,
        clock: Callable[[], float] = time.perf_counter,
        limit: float = inf,
    ) -> None:
        """At most `limit` requests wait; more are turned away as they come."""
        _check(points, table)
        self._points = tuple(points)
        self._offered = deque[PointRecord]()
        self._table = table
        self._policy = policy
        self._heeding = policy if isinstance(policy, Heeding) else None
        self._thinking = policy if isinstance(policy, Thinking) else None
        self._load = load
        self._limit = limit
        usual = sorted(max(SHORTEST, table.of(point, 0.0).p50) for point in points)
        self._lessons = Lessons(usual, correction, clock)
        self._spending = Spending(clock)
        self._clock = clock
        self._ended = -inf
        self._runs = deque[Run](maxlen=RUNS)  # not taken in yet
        self._measured: dict[tuple[str, float], tuple[Option, ...]] = {}
        self._corrected: dict[_Device, dict[str, tuple[Option, ...]]] = {}
        self._along: dict[tuple[int, float, tuple[str, ...]], float] = {}
        self._known = _Known(0.0, 0.0, Today(), (), UNHEARD, NOTHING, NOTHING, 0.0, 0.0, 0.0)
        self._pace = inf  # that was heard last
        self._options: dict[str, tuple[Option, ...]] = {}  # by kind of request
        self._renewed = -inf
        self._current: int | None = None
        self._left = [-inf] * len(self._points)  # since when each did not run
        self._returning: tuple[float, ...] = ()  # what each run costs more for that,
        self._aged = -inf  # as it was then
        # A policy that does not suit these points fails now, and one that works ahead begins to.
        fewest = min(point.takes for point in points)
        usually = GUESS * max(table.of(p, 0.0).p50 for p in points if p.takes == fewest)
        self.decide((usually,), UNHEARD._replace(given=usually))
        self._renewed = -inf

    @property
    def load(self) -> Load | float:
        """The device's load, as it is known now."""
        return self._load()

    @property
    def astray(self) -> bool:
        """Whether the policy's choices are likely to be bad ones, until it has worked on."""
        return self._thinking is not None and self._thinking.astray

    @property
    def pending(self) -> bool:
        """Whether the policy has anything to work on."""
        return self._thinking is not None and self._thinking.pending

    def think(self) -> None:
        """Let the policy work ahead, for a moment."""
        if self._thinking is not None:
            self._thinking.think()

    def look(self, rhythm: Rhythm) -> None:
        """Look at the device and the arrivals anew, if it is time to: who comes later need not wait
        for that."""
        now = self._clock()
        if now - self._renewed > RENEWED:
            self._renew(now)
            self._hear(rhythm)
        elif not self._differs(rhythm.pace, now):
            return
        self.decide((self._known.rhythm.given,), rhythm)  # plans for what was found

    def offer(self, point: PointRecord) -> None:
        """Add a point, by its cost among the others, before the next decision. Thread-safe."""
        _check([point], self._table)
        self._offered.append(point)

    def reaches(self, point: str | None, least_score: float) -> None:
        """Refuse what no request can have: a point or a score that is not there."""
        if point is not None and all(known.name != point for known in self._points):
            raise unknown("point", point, [known.name for known in self._points])
        best = max(known.score for known in self._points)
        if best < least_score:
            raise ElastiqError(f"no point reaches a score of {least_score:g}; the best is {best:g}")

    def cheapest(self, least_score: float) -> str:
        """The first point of a score, by cost; the best if there is none any more."""
        good = (point.name for point in self._points if point.score >= least_score)
        return next(good, max(self._points, key=lambda point: point.score).name)

    def decide(
        self,
        slacks: Sequence[float | None] = (None,),
        rhythm: Rhythm = UNHEARD,
        kind: str = WHOLE,
        held: str | None = None,
        beyond: int = 0,
    ) -> Choice:
        """Choose for the first request; `slacks` are the seconds left to it and to those behind it,
        and `beyond` is how many more wait.

        `rhythm` is that of arrivals lately. A request that is `held` to a point is only looked at:
        how long it will take there. A choice binds to nothing: only what ran, and was learnt,
        changes the next one.
        """
        now = self._clock()
        if self._offered:
            self._adopt()
        rest = now - self._ended
        if now - self._renewed > (RENEWED if rest < REST else OVERDUE):
            if rest < REST and len(self._runs) > 1:  # those in a row should not wait for all
                self._take_in(AT_ONCE)
            else:
                self._renew(now)
                self._hear(rhythm)
        elif self._differs(rhythm.pace, now):
            self._hear(rhythm)
        if now - self._aged > AGED:
            self._age(now)
        load, level, today, _, lately, rests, _, changing, rousing, watts = self._known
        situation = Situation(
            level,
            tuple(slacks),
            self._current,
            lately.pace,
            rhythm.given and (lately.given or rhythm.given),
            cost(rests, rest),
            self._returning,
            watts,
            lately.soon,
            rousing,
            changing,
            beyond,
            self._limit,
        )
        options = self._options.get(kind) or self._of_kind(kind)
        if held is None:
            decision = self._policy.choose(options, situation)
        else:
            decision = Decision(self._place(held), HELD)
        away = now - self._left[decision.index]
        return Choice(load, today, rest, away, options, situation, decision, kind)

    def learn(
        self,
        choice: Choice,
        took: float,
        before: float = 0.0,
        between: float | None = None,
        roused: float | None = None,
        ran: Sequence[str] = (),
    ) -> None:
        """Put down what a choice's run really took, in the engines that `ran`; and what passed
        before it, since the first was called, and between that and the answers before, if it
        waited meanwhile, or since it came and found nobody at work.

        It is taken in before the device is looked at, with the few before it; where runs are short,
        these are enough to go by. There and then, each would be after an engine that has filled the
        caches with its own, and take three times as long while others wait.
        """
        self._ended, self._current = self._clock(), choice.decision.index
        self._left[self._current] = self._ended
        if choice.rest >= REST or (self._returning and self._returning[self._current]):
            self._aged = -inf
        if choice.option.energy:
            self._spending.spend(choice.option.energy)
        self._runs.append(Run(choice, took, before, between, roused, ran))

    def _take_in(self, most: int = RUNS) -> None:
        """What the latest runs really took."""
        for _ in range(min(most, len(self._runs))):
            run = self._runs.popleft()
            choice, index = run.choice, run.choice.decision.index
            measured = self._at(choice.kind, choice.situation.load)[index]
            ways = self._points[index].ways(choice.kind) if run.ran else ()
            along = self._expected(choice, tuple(run.ran)) if len(ways) > 1 else None
            self._lessons.take_in(run, measured, self._known.own[index], along)

    def settle(self, in_time: bool) -> None:
        """Tell the policy what became of a request that had a deadline, and that any point might
        answer."""
        if self._heeding is not None:
            self._heeding.settle(in_time)

    def _adopt(self) -> None:
        """Take in the points that were offered."""
        self._take_in()
        used = None if self._current is None else self._points[self._current]
        while self._offered:
            self._points = (*self._points, self._offered.popleft())
        self._points = tuple(
            sorted(self._points, key=lambda p: self._table.of(p, 0.0).p50 / p.takes)
        )
        self._current = None if used is None else self._points.index(used)
        self._left, self._aged = [-inf] * len(self._points), -inf
        for kept in (self._measured, self._corrected, self._along):
            kept.clear()
        self._known = self._known._replace(own=())
        self._renewed = -inf

    def _differs(self, pace: float | None, now: float) -> bool:
        """Whether requests come so much faster than was heard last, or slower, that it is worth to
        hear them; and, of a policy that plans, to make another plan."""
        if pace is None:
            return False
        in_a_row = now - self._ended < REST
        far = FAR_IN_A_ROW if in_a_row and self._thinking is not None else FAR
        return not self._pace / far <= max(SHORTEST, pace) <= self._pace * far

    def _hear(self, rhythm: Rhythm) -> None:
        """Look at the arrivals anew."""
        self._known = self._known._replace(rhythm=_steady_rhythm(rhythm, self._known.rhythm))
        self._pace = self._known.rhythm.pace or inf

    def _age(self, now: float) -> None:
        """Tell anew what it costs that others ran than a point, beside that nothing did."""
        self._aged, curve = now, self._known.returns
        if self._current is None or curve[-1] <= 0.0:
            self._returning = ()
            return
        all_rest = cost(curve, now - self._ended) - curve[0]
        self._returning = tuple(
            0.0 if index == self._current else max(0.0, cost(curve, now - left) - all_rest)
            for index, left in enumerate(self._left)
        )

    def _renew(self, now: float) -> None:
        """Look at the load, and at what was learnt, anew.

        In steps, and only where something moved by one: the same few situations come back, and what
        was found for them is kept.
        """
        self._take_in()
        self._renewed, load, before, lessons = now, self._load(), self._known, self._lessons
        own_before = before.own or (1.0,) * len(self._points)
        others = load.others if isinstance(load, Load) else load
        self._known = known = _Known(
            load,
            # In this order max() turns a load that is not a number into 0 instead of passing it on.
            steady(LOAD_STEP, min(1.0, max(0.0, others)), before.level),
            lessons.today(before.today),
            tuple(
                lessons.own(point.name, used)
                for point, used in zip(self._points, own_before, strict=True)
            ),
            before.rhythm,
            lessons.rests.curve,
            lessons.returns.curve,
            lessons.changing(before.changing),
            lessons.rousing(before.rousing),
            self._spending.watts,
        )
        key = known.level, known.today, known.own
        if key not in self._corrected:
            if len(self._corrected) >= KEPT:
                self._corrected.clear()
            self._corrected[key] = {}
        self._options = self._corrected[key]

    def _of_kind(self, kind: str) -> tuple[Option, ...]:
        """The options for requests of a kind, as they are now."""
        _, level, today, own, *_ = self._known
        self._options[kind] = options = tuple(map(today.option, self._at(kind, level), own))
        return options

    def _at(self, kind: str, load: float) -> tuple[Option, ...]:
        """The points as measured at a load level."""
        key = kind, load
        if key not in self._measured:
            self._measured[key] = tuple(self._option(point, load, kind) for point in self._points)
        return self._measured[key]

    def _option(self, point: PointRecord, load: float, kind: str) -> Option:
        found = self._table.of(point, load, kind)
        times = (found.p50, found.p90, found.p99, found.mean)
        energy = self._table.energy(point, kind)
        return Option(point.name, point.score, *times, point.takes, energy)

    def _place(self, name: str) -> int:
        return next(place for place, point in enumerate(self._points) if point.name == name)

    def _expected(self, choice: Choice, ran: tuple[str, ...]) -> float:
        """What these stages were measured to take, where requests take different ways."""
        index, level = choice.decision.index, choice.situation.load
        key = index, level, ran
        if key not in self._along:
            if len(self._along) >= KEPT:
                self._along.clear()
            self._along[key] = self._table.along(self._points[index], Counter(ran), level).p50
        return self._along[key]


def _check(points: Sequence[PointRecord], table: LatencyTable) -> None:
    if not points:
        raise ElastiqError("there is no point to choose from")
    for point in points:
        for stage in point.stages.values():
            if stage.engine not in table.engines:
                raise ElastiqError(
                    f"the latency table of {table.device} does not hold {stage.engine}, which "
                    f"point {point.name} runs on. Measure it: elastiq profile"
                )


def _steady_rhythm(rhythm: Rhythm, used: Rhythm) -> Rhythm:
    return Rhythm(
        steady_ratio(PACE_STEP, rhythm.pace, used.pace),
        steady(SOON_STEP, rhythm.soon, used.soon),
        steady_ratio(GIVEN_STEP, rhythm.given, used.given) or used.given,
    )
