"""Contests on a bundle that was really built: who is sent what, and what of it counts."""

import numpy as np

import elastiq
from elastiq import contest
from elastiq.replay import SLICE
from elastiq.traffic import Traffic

RATE, SECONDS = 40.0, 1.2


def test_the_traffic_is_met_before_it_counts(tiny_bundle, monkeypatch):
    sent = []
    send = contest.send

    def listen(workers, moments, **how):
        sent.append((tuple(workers), moments))
        return send(workers, moments, **how)

    monkeypatch.setattr(contest, "send", listen)
    traffic = Traffic("poisson", RATE, 0.5, SECONDS)
    with elastiq.open(tiny_bundle) as bundle:
        found = contest.real(bundle, ["utility"], traffic)
    (names, first), (same, moments) = sent
    assert names == same == ("utility", "queries=2", "queries=8")
    np.testing.assert_array_equal(moments, traffic.moments())
    np.testing.assert_array_equal(first, moments[moments < SLICE])
    assert 0 < len(first) < len(moments)
    assert {report.requests for report in found.reports} == {len(moments)}
