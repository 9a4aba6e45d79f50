"""`elastiq diff` on real bundles, and on tables by hand."""

from __future__ import annotations

import json

import pytest

from elastiq import device, digest


@pytest.fixture
def slower(own_bundle):
    """The same bundle, every engine of it measured to take three times as long."""
    (path,) = (own_bundle / "profiles").iterdir()
    table = json.loads(path.read_text())
    for row in table["rows"]:
        for name in ("p50", "p90", "p99", "mean"):
            row["latency"][name] *= 3
    path.write_text(json.dumps(table))
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    del manifest["digest"]
    name = path.relative_to(own_bundle).as_posix()
    manifest["files"][name] = {"sha256": digest.of_file(path), "size": path.stat().st_size}
    manifest["digest"] = digest.of_value(manifest)
    (own_bundle / "manifest.json").write_text(json.dumps(manifest))
    return own_bundle


def test_a_bundle_does_not_differ_from_itself(elastiq, tiny_bundle):
    done = elastiq("diff", tiny_bundle, tiny_bundle, "--fail-on", "regression=0%", check=0)
    assert "no change to be seen" in done.stdout
    assert "worse" not in done.stdout
    assert "(+0.0 %)" in done.stdout


def test_what_became_slower_is_named_and_fails_on_request(elastiq, tiny_bundle, slower):
    assert "worse" in elastiq("diff", tiny_bundle, slower, check=0).stdout
    done = elastiq("diff", tiny_bundle, slower, "--fail-on", "regression=5%", check=1)
    assert "beyond the limit: queries=" in done.stderr
    elastiq("diff", slower, tiny_bundle, "--fail-on", "regression=5%", check=0)


def test_machines_read_json(elastiq, tiny_bundle, slower):
    told = json.loads(elastiq("diff", tiny_bundle, slower, "--json", check=0).stdout)
    kinds = {change["kind"] for change in told["changes"]}
    assert kinds == {"latency", "score"}
    times = [change for change in told["changes"] if change["kind"] == "latency"]
    assert all(change["change"] == pytest.approx(200) for change in times)


def test_tables_are_compared_too(elastiq, tiny_bundle, slower):
    name = f"profiles/{device.this().name}.json"
    done = elastiq("diff", tiny_bundle / name, slower / name, check=0)
    assert "onnxruntime" in done.stdout


@pytest.mark.parametrize("limit", ["regression", "regression=x", "speed=5%", "score=-1"])
def test_a_limit_that_is_none_is_told_how_to_write_it(elastiq, tiny_bundle, limit):
    done = elastiq("diff", tiny_bundle, tiny_bundle, "--fail-on", limit, check=2)
    assert "regression=5%" in done.stderr
