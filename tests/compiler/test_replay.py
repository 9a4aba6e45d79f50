"""`elastiq replay`, in a process of its own, on a bundle that was really built."""

import json

import pytest

# The tiny model takes microseconds: a deadline and a rate that a busy machine can keep.
CALM = ("--rate", 0.005, "--deadline-ms", 500, "--seconds", 0.5)


@pytest.mark.parametrize("kind", ["poisson", "bursty", "step"])
def test_it_compares_the_dispatcher_with_every_point(elastiq, tiny_bundle, kind):
    done = elastiq("replay", tiny_bundle, *CALM, "--arrivals", kind, "--json", check=0)
    results = json.loads(done.stdout)
    assert set(results["reports"]) == {"utility", "queries=2", "queries=8"}
    for report in results["reports"].values():
        assert report["requests"] > 0
        assert report["differing"] == report["failed"] == 0
        assert report["in_time"] + report["late"] + report["refused"] == report["requests"]
        assert 0 <= report["effective_accuracy"] <= report["attainment"] <= 1


def test_its_results_make_a_page(elastiq, tiny_bundle, tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "report.html"
    done = elastiq("replay", tiny_bundle, *CALM, "--hog", 0.2, "-o", results, check=0)
    assert "contender" in done.stdout and "sender" in done.stdout
    elastiq("report", tiny_bundle, "--replay", results, "-o", page, check=0)
    assert "while others take 20% of the CPU" in page.read_text()


@pytest.mark.parametrize(
    "arguments", [["--rate", 0], ["--deadline", -1], ["--hog", 2], ["--arrivals", "poison"]]
)
def test_a_mistake_is_one_line(elastiq, tiny_bundle, arguments):
    done = elastiq("replay", tiny_bundle, *arguments, check=2)
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
