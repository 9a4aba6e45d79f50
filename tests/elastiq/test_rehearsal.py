"""The rehearsal: what it measures is what those meet who send and do not wait."""

import threading
import time
from types import SimpleNamespace

import numpy as np

from elastiq.rehearsal import rehearse
from elastiq.requests import Done
from elastiq.worker import Worker

RUN = 0.001


def test_all_is_answered_by_the_worker_and_nothing_takes_less_than_no_time(make):
    by = set()

    def execute(point, requests, memory=None):
        by.add(threading.get_ident())
        time.sleep(RUN)
        return Done([{} for _ in requests], ["main"])

    def serve(policy, point):
        return Worker(make.dispatcher({"only": RUN}, policy, point=point), execute)

    bundle = SimpleNamespace(
        manifest=SimpleNamespace(points=[make.point("only", 0.9)]),
        table=make.table({"only": RUN}),
        samples=lambda: SimpleNamespace(input=lambda place: {"x": np.zeros(3)}),
        serve=serve,
        settle=lambda: None,
    )
    beside = rehearse(bundle, runs=10)
    assert threading.get_ident() not in by and len(by) == 1
    assert beside.handing > 0.0 and min(beside) >= 0.0
