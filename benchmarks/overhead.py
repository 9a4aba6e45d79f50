"""What dispatching costs: choosing a point, and handing a request to a worker and back.

    python -m benchmarks overhead

No engine is measured: the points have invented latencies, and the worker's engine returns at once,
sleeps for a millisecond, or computes for about as long (a product of matrices, by ONNX Runtime on
one thread, which fills the caches with its own as an engine does). It is asked, or given requests
whose futures are waited for; beside it stands a pool of one thread, which chooses and keeps
nothing. A choice is made right after another, and right after such a product, as it is on a device.
Rounds of the different measurements are interleaved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import onnx
import onnxruntime

from benchmarks.harness import Figure, at_most
from elastiq.dispatcher import Dispatcher
from elastiq.drivers import Memory
from elastiq.latency import Latency, LatencyTable, Row
from elastiq.load import Load, LoadMonitor
from elastiq.policies import policy
from elastiq.protocols import Arrays
from elastiq.records import PointRecord, StageRecord
from elastiq.requests import Answer, Done, Execute
from elastiq.rhythm import Rhythm
from elastiq.worker import Worker

ROUNDS = 20
RUNS = 500  # of a measurement in a round
ENGINE_SECONDS = 0.001
ROWS, WIDTH = 32, 1024  # of the product
DECISION_GOAL, DECISION_P99 = 20.0, 100.0  # us, for a decision and its bookkeeping
WORKER_GOAL = 100.0  # us, from a request to its answer, less the engine's time
POINTS = {f"queries={2**k}": 0.001 * 2**k for k in range(2, 7)}


def table() -> LatencyTable:
    rows = [
        Row(name, load, Latency(p50, 1.2 * p50, 1.5 * p50, p50, p50, 200, True))
        for name, idle in POINTS.items()
        for load, p50 in ((0.0, idle), (0.5, 1.5 * idle), (1.0, 3 * idle))
    ]
    return LatencyTable("invented", False, {}, tuple(rows))


def dispatcher(load: Callable[[], Load | float]) -> Dispatcher:
    points = [
        PointRecord(name, {}, 0.7 + 0.01 * place, {"main": StageRecord((), (), name, "")})
        for place, name in enumerate(POINTS)
    ]
    return Dispatcher(points, table(), policy("utility"), load)


def choosing(
    waiting: int, load: Callable[[], Load | float], engine: Execute | None = None
) -> Callable[[], float]:
    """One `decide` and `learn` with a queue of this length, if need be after a run."""
    chooser = dispatcher(load)
    slacks = [0.05 + 0.01 * place for place in range(waiting)]
    random = np.random.default_rng(0)
    noise = iter(random.uniform(0.9, 1.2, ROUNDS * RUNS + 1).tolist())

    def once() -> float:
        if engine is not None:
            engine("", [{}], None)
        start = time.perf_counter()
        choice = chooser.decide(slacks, Rhythm(0.02, given=0.06))
        chooser.learn(choice, next(noise) * choice.predicted / choice.today.factor)
        return time.perf_counter() - start

    return once


def drifting() -> Callable[[], float]:
    """A load that wanders, so that the table must be read anew now and then."""
    random = np.random.default_rng(0)
    loads = iter((0.5 + 0.4 * np.sin(np.cumsum(random.normal(0, 0.01, 10**5)))).tolist())
    return lambda: next(loads)


def asking(worker: Worker) -> Callable[[], float]:
    """A request's way to an engine and back, less the time in the engine."""
    return _handing(lambda inputs: worker.ask(inputs, 1.0))


def awaiting(worker: Worker) -> Callable[[], float]:
    """The same by a future that is waited for at once."""
    return _handing(lambda inputs: worker.submit(inputs, 1.0).result())


def _handing(answer: Callable[[Arrays], Answer]) -> Callable[[], float]:
    inputs = {"x": np.zeros((1, 3), np.float32)}

    def once() -> float:
        start = time.perf_counter()
        took = answer(inputs).took
        return time.perf_counter() - start - took

    return once


def bare(pool: ThreadPoolExecutor, execute: Execute) -> Callable[[], float]:
    """The same for a thread of Python's own, which chooses nothing and keeps nothing."""
    taken = [0.0]

    def timed() -> None:
        start = time.perf_counter()
        execute("", [{}], None)
        taken[0] = time.perf_counter() - start

    def once() -> float:
        start = time.perf_counter()
        pool.submit(timed).result()
        return time.perf_counter() - start - taken[0]

    return once


def at_once(point: str, requests: Sequence[Arrays], memory: Memory | None) -> Done:
    return Done([{} for _ in requests], ["main"])


def sleeping(point: str, requests: Sequence[Arrays], memory: Memory | None) -> Done:
    time.sleep(ENGINE_SECONDS)
    return at_once(point, requests, memory)


def computing() -> Execute:
    """An engine of about a millisecond."""
    shape = [ROWS, WIDTH]
    weight = onnx.numpy_helper.from_array(np.ones((WIDTH, WIDTH), np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
        [weight],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feed = {"x": np.ones(shape, np.float32)}

    def run(point: str, requests: Sequence[Arrays], memory: Memory | None) -> Done:
        session.run(None, feed)
        return at_once(point, requests, memory)

    return run


def measure() -> dict[str, dict[str, float]]:
    """Median and p99 of each measurement, in microseconds."""
    with ExitStack() as stack:
        monitor = stack.enter_context(LoadMonitor())
        idle = stack.enter_context(Worker(dispatcher(monitor), at_once))
        slow = stack.enter_context(Worker(dispatcher(monitor), sleeping))
        engine = computing()
        real = stack.enter_context(Worker(dispatcher(monitor), engine))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        measured = {
            "decide + learn, nobody behind": choosing(1, monitor),
            "decide + learn, 16 behind": choosing(17, monitor),
            "decide + learn, 16 behind, load drifting": choosing(17, drifting()),
            "decide + learn after a run, nobody behind": choosing(1, monitor, engine),
            "decide + learn after a run, 16 behind": choosing(17, monitor, engine),
            "worker, engine returns at once": asking(idle),
            "worker, engine sleeps 1 ms": asking(slow),
            "worker, engine computes for about 1 ms": asking(real),
            "worker by a future, engine returns at once": awaiting(idle),
            "worker by a future, engine sleeps 1 ms": awaiting(slow),
            "worker by a future, engine computes for about 1 ms": awaiting(real),
            "thread pool, engine returns at once": bare(pool, at_once),
            "thread pool, engine sleeps 1 ms": bare(pool, sleeping),
            "thread pool, engine computes for about 1 ms": bare(pool, engine),
        }
        times: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(ROUNDS):
            for name, once in measured.items():
                times[name] += [1e6 * once() for _ in range(RUNS)]
    return {
        name: {"p50": float(np.median(took)), "p99": float(np.quantile(took, 0.99))}
        for name, took in times.items()
    }


def run() -> list[Figure]:
    figures = []
    for name, found in measure().items():
        if name.startswith("thread pool"):
            figures.append(Figure(f"{name}, median", found["p50"], "us"))
            continue
        deciding = name.startswith("decide")
        most = DECISION_GOAL if deciding else WORKER_GOAL
        figures.append(at_most(f"{name}, median", found["p50"], most, "us"))
        tail = f"{name}, p99"
        figures.append(
            at_most(tail, found["p99"], DECISION_P99, "us")
            if deciding
            else Figure(tail, found["p99"], "us")
        )
    return figures
