"""Sends recorded or drawn traffic to workers for real, and reports what they made of it.

The load is open: each request goes out at its moment, whatever became of those before it, and its
latency counts from that moment. So a worker that falls behind cannot slow its own traffic down.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from elastiq import timers
from elastiq.burner import Burner
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull
from elastiq.hog import IDLE, Hog
from elastiq.outcomes import FAILED, IN_TIME, LATE, REFUSED, Outcome, Report, summarize
from elastiq.requests import Answer
from elastiq.samples import Samples
from elastiq.worker import Worker

TOLERANCE = 1e-3
SLICE = 0.5  # seconds of traffic before the next contender's turn: noise comes in longer spells
LEAD = 0.02  # between setting the clock and the earliest request


@dataclass
class Sent:
    """One request under way."""

    sample: int
    due: float
    sent: float
    future: Future[Answer] | None = None  # None: turned away at the door
    done: float = 0.0

    def stamp(self, _: Future[Answer]) -> None:
        self.done = time.perf_counter()

    def wait(self) -> None:
        """Until it is answered, and stamped: whoever waits is told before callbacks are called."""
        if self.future is not None:
            wait([self.future])
            while not self.done:
                time.sleep(0.0)


def replay(
    workers: Mapping[str, Worker],
    moments: np.ndarray,
    samples: Samples,
    deadline: float,
    **how: Any,
) -> dict[str, Report]:
    """The figures of every worker for the same traffic; `how` is as for `send`."""
    sent = send(workers, moments, samples, deadline, **how)
    return {name: summarize(name, seen) for name, seen in sent.items()}


def send(
    workers: Mapping[str, Worker],
    moments: np.ndarray,
    samples: Samples,
    deadline: float,
    hog: Hog = IDLE,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    mixes: bool = False,
) -> dict[str, list[Outcome]]:
    """Send the same traffic to every worker; each request has `deadline` seconds from its moment.
    What became of each, in the order of sending.

    Where a model `mixes`, other company means another answer than the one that verification saw:
    it counts for what verification said of one that comes to the same.

    Workers take turns, one slice of the traffic each, so that the machine's drift hits all alike.
    Every slice begins with empty queues.
    """
    _check(moments, samples, deadline)
    picks = picked(samples, len(moments), seed)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in workers}
    score = partial(_likely, samples) if mixes else partial(_seen, samples, tolerance)
    names = list(workers)
    with Burner(hog.most) as burner:
        for turn, (begin, end, part) in enumerate(slices(moments)):
            changes = [(at - begin, share) for at, share in hog.between(begin, end)]
            for place in range(len(names)):
                name = names[(turn + place) % len(names)]
                burner.set(hog.at(begin))
                with _no_garbage_collection(), timers.exact():
                    due = moments[part] - begin
                    told = _Changes(burner, changes)
                    sent = _send(workers[name], due, picks[part], samples, deadline, told)
                outcomes[name] += [_outcome(one, deadline, score) for one in sent]
    return outcomes


def picked(samples: Samples, count: int, seed: int) -> np.ndarray:
    """Which sample each request brings."""
    return np.random.default_rng(seed).integers(len(samples), size=count)


def slices(moments: np.ndarray) -> Iterator[tuple[float, float, np.ndarray]]:
    """The parts of traffic that are sent in one turn: their beginning, end, and requests."""
    end = float(np.nextafter(float(moments[-1]), np.inf))
    edges = np.linspace(0.0, end, max(1, round(end / SLICE)) + 1).tolist()
    for begin, end in itertools.pairwise(edges):
        yield begin, end, (moments >= begin) & (moments < end)


class _Changes:
    """Sets a burner to what a script says, whenever it is asked to catch up."""

    def __init__(self, burner: Burner, changes: Sequence[tuple[float, float]]) -> None:
        self._burner = burner
        self._left = list(changes)

    def until(self, moment: float) -> None:
        while self._left and self._left[0][0] <= moment:
            self._burner.set(self._left.pop(0)[1])


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Thousands of requests under way make a collection stall the sender for 20 ms and more."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check(moments: np.ndarray, samples: Samples, deadline: float) -> None:
    if len(moments) == 0:
        raise ElastiqError("there is no request to send")
    if len(samples) == 0:
        raise ElastiqError("there is no sample to send")
    if not deadline > 0:
        raise ElastiqError(f"a deadline must be above 0 seconds, not {deadline:g}")


def _send(
    worker: Worker,
    moments: np.ndarray,
    picks: np.ndarray,
    samples: Samples,
    deadline: float,
    changes: _Changes,
) -> list[Sent]:
    """Send each request at its moment, then wait for all answers."""
    sent: list[Sent] = []
    start = time.perf_counter() + LEAD
    for moment, pick in zip(moments.tolist(), picks.tolist(), strict=True):
        inputs = samples.input(pick)
        due = start + moment
        changes.until(moment)
        left = due - time.perf_counter()
        if left > 0.0:  # to sleep for no time is to wake the worker in vain
            time.sleep(left)
        one = Sent(pick, due, time.perf_counter())
        with suppress(QueueFull):
            one.future = worker.submit(inputs, due + deadline - one.sent)
            one.future.add_done_callback(one.stamp)
        sent.append(one)
    for one in sent:
        one.wait()
    return sent


def _outcome(one: Sent, deadline: float, score: Callable[[Answer, int], float | None]) -> Outcome:
    lateness = one.sent - one.due
    if one.future is None:
        return Outcome(REFUSED, lateness)
    try:
        answer = one.future.result()
    except (DeadlineMissed, CancelledError):
        return Outcome(REFUSED, lateness)
    except Exception:
        return Outcome(FAILED, lateness)
    latency = one.done - one.due
    found = score(answer, one.sample)
    return Outcome(
        state=IN_TIME if latency <= deadline else LATE,
        lateness=lateness,
        latency=latency,
        point=answer.point,
        score=found or 0.0,
        differing=found is None,
        took=answer.took,
        beside=answer.choice.today.before + answer.choice.today.after,
    )


def _seen(samples: Samples, tolerance: float, answer: Answer, sample: int) -> float | None:
    """The score of an answer that verification saw, within a share of its largest value."""
    for name, golden in samples.outputs[answer.point].items():
        expected, found = golden[sample : sample + 1], answer.outputs.get(name)
        if found is None or found.shape != expected.shape:
            return None
        error = np.abs(found.astype(np.float64) - expected)
        if not np.all(error <= tolerance * np.abs(expected).max(initial=0.0)):
            return None
    return float(samples.scores[answer.point][sample])


def _likely(samples: Samples, answer: Answer, sample: int) -> float | None:
    """The score of an answer whose largest values stand where those of one did that verification
    saw, at this point or else at another."""
    for point in dict.fromkeys((answer.point, *samples.outputs)):
        if all(
            name in answer.outputs
            and answer.outputs[name].shape == golden[sample : sample + 1].shape
            and np.array_equal(
                answer.outputs[name].argmax(-1), golden[sample : sample + 1].argmax(-1)
            )
            for name, golden in samples.outputs[point].items()
        ):
            return float(samples.scores[point][sample])
    return None
