"""`elastiq replay`, in a process of its own, on a bundle that was really built."""

import json

import pytest

from elastiq.rehearsal import Beside

# The tiny model takes microseconds: a deadline and a rate that a busy machine can keep.
POLICIES = {"utility", "deadline", "slackfit"}
CALM = ("--rate", 0.005, "--deadline-ms", 500, "--seconds", 0.5)


@pytest.mark.parametrize("kind", ["poisson", "gamma", "step", "ramp"])
def test_it_compares_the_dispatcher_with_every_point(elastiq, tiny_bundle, kind):
    done = elastiq("replay", tiny_bundle, *CALM, "--arrivals", kind, "--json", check=0)
    results = json.loads(done.stdout)
    assert set(results["reports"]) == {*POLICIES, "queries=2", "queries=8"}
    assert results["bound"]["attainment"] > 0
    for report in results["reports"].values():
        assert report["requests"] > 0
        assert report["differing"] == report["failed"] == 0
        assert report["in_time"] + report["late"] + report["refused"] == report["requests"]
        assert 0 <= report["effective_accuracy"] <= report["attainment"] <= 1


def test_it_simulates_the_same_in_less_time_and_alike_each_time(elastiq, tiny_bundle):
    arguments = ("--simulate", "--seconds", 0.02, "--arrivals", "gamma", "--cv", 2, "--rate", 2)
    runs = [
        elastiq("replay", tiny_bundle, *arguments, "--policy", "utility", "--json", check=0)
        for _ in range(2)
    ]
    first, second = (json.loads(done.stdout) for done in runs)
    assert first["reports"] == second["reports"]
    assert set(first["reports"]) == {"utility", "queries=2", "queries=8"}
    done = elastiq("replay", tiny_bundle, *arguments, "--rehearse", "--json", check=0)
    rehearsed = json.loads(done.stdout)
    assert rehearsed["reports"] != first["reports"]
    assert first["beside"] == json.loads(json.dumps(Beside()._asdict()))
    assert min(rehearsed["beside"]["handing"]) > 0
    assert first["simulated"] and "(simulated)" in first["title"]
    for report in first["reports"].values():
        assert report["effective_accuracy"] <= first["bound"]["effective_accuracy"] + 1e-9
        assert report["attainment"] <= first["bound"]["attainment"] + 1e-9


def test_what_is_simulated_says_what_it_took_runs_to_take(elastiq, tiny_bundle):
    arguments = ("replay", tiny_bundle, *CALM, "--policy", "utility")
    done = elastiq(*arguments, "--simulate", check=0)
    assert "a run takes 1.00 times as long as in the table and 0.00 ms" in done.stdout
    done = elastiq(*arguments, "--rehearse", check=2)
    assert "--rehearse is for --simulate" in done.stderr


def test_a_policy_may_have_options_and_be_compared_with_itself(elastiq, tiny_bundle):
    arguments = ("--simulate", "--seconds", 0.02, "--policy", "utility", "--policy")
    done = elastiq("replay", tiny_bundle, *arguments, "utility:stay=0.5", "--json", check=0)
    found = set(json.loads(done.stdout)["reports"])
    assert found == {"utility", "utility:stay=0.5", "queries=2", "queries=8"}


def test_it_replays_a_recording(elastiq, tiny_bundle, tmp_path):
    path = tmp_path / "recorded.csv"
    path.write_text("\n".join(["seconds", *(str(0.1 * place**1.5) for place in range(200))]))
    done = elastiq("replay", tiny_bundle, *CALM, "--trace", path, "--hog", "0:0,0.2:0.3",
                   "--policy", "utility", check=0)  # fmt: skip
    assert "recorded.csv arrivals" in done.stdout and "30% from 0.2 s" in done.stdout


def test_its_results_make_a_page(elastiq, tiny_bundle, tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "report.html"
    done = elastiq("replay", tiny_bundle, *CALM, "--hog", 0.2, "-o", results, check=0)
    assert "contender" in done.stdout and "sender" in done.stdout
    elastiq("report", tiny_bundle, "--replay", results, "-o", page, check=0)
    assert "while others take 20% of the CPU" in page.read_text()
    assert "nobody could pass" in page.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate", 0],
        ["--deadline", -1],
        ["--hog", 2],
        ["--arrivals", "poison"],
        ["--arrivals", "poisson", "--cv", 3],
        ["--trace", "nowhere.csv"],
        ["--trace", "nowhere.csv", "--times", 3],
        ["--arrivals", "poisson", "--rate", 1e-9],
        ["--arrivals", "poisson", "--rate", 1e-9, "--simulate"],
    ],
)
def test_a_mistake_is_one_line(elastiq, tiny_bundle, arguments):
    done = elastiq("replay", tiny_bundle, *arguments, check=2)
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
