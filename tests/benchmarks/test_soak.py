"""Twenty seconds of what `python -m benchmarks.soak` does for half an hour."""

from benchmarks.soak import grown, soak

SECONDS = 20.0


def test_nothing_is_lost_or_goes_astray_under_updates_and_broken_sensors(tiny_bundle):
    made = soak(tiny_bundle, SECONDS)
    assert made.wrong == []
    assert made.counts["lost"] == 0
    assert made.counts["updates"] > 0
    assert made.counts["answered"] > 100
    megabytes, threads, files = grown(made)
    # So short a time shows what grows with each request, and nothing subtler.
    assert megabytes < 60
    assert threads < 10 and files < 20
