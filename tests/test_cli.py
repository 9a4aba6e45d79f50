"""The command line as people and scripts meet it."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import pytest

from compiler.cli import COMMANDS, main
from tests.conftest import MODELS, ROOT, TINY

RUNTIMES = {"onnxruntime", "openvino"}
HEAVY = ("torch", "onnx", "numpy", "jinja2", *RUNTIMES)


def loaded_by(code: str) -> set[str]:
    """Which of the heavy packages a fresh Python loads for some code."""
    probe = f"import sys; {code}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy():
    shown = "from compiler import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass"
    assert loaded_by(f"exec({shown!r})") == set()


def test_import_elastiq_loads_nothing_heavy():
    assert loaded_by("import elastiq") == set()


def test_opening_a_bundle_loads_no_compiler(tiny_bundle):
    code = f"import elastiq; b = elastiq.open({str(tiny_bundle)!r}); b.load('queries=2')"
    loaded = loaded_by(code)
    assert loaded - RUNTIMES == {"numpy"}
    assert loaded & RUNTIMES


def test_help_is_quick_beside_starting_python():
    """Under 0.3 s on an idle machine; here against a bare start of Python, which noise hits too."""

    def seconds(*command):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, check=True)
        return time.perf_counter() - start

    runs = [
        (seconds("-m", "compiler.cli", "--help"), seconds("-c", "import click")) for _ in range(7)
    ]
    assert statistics.median(help / bare for help, bare in runs) < 3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(elastiq, name):
    shown = elastiq(name, "--help", check=0).stdout
    assert f"elastiq {name} " in shown.split("Options:")[0].split("\n\n", 1)[1] or name in (
        "doctor",
        "targets",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bild",), "Did you mean 'build'?"),
        (("build", TINY, "-t", "cpu-x87"), "Did you mean 'cpu-x86'?"),
        (("build", TINY, "--points", "queries=9"), "Did you mean 'queries=8'?"),
        (("build", TINY, "--points", "quarries=8"), "Did you mean 'queries=8'?"),
        (("build", TINY, "--points", "queries"), "queries=64"),
        (("build", TINY, "--backend", "onnxruntim"), "Did you mean 'onnxruntime'?"),
        (("build", TINY, "--set", "openvino.hnt=latency"), "Did you mean 'hint'?"),
        (("build", TINY, "--set", "openvin.hint=latency"), "Did you mean 'openvino'?"),
        (("build", TINY, "--set", "openvino.hint=fast"), "latency or throughput"),
        (("build", TINY, "--set", "hint"), "openvino.hint=throughput"),
        (("build", TINY, "--precision", "int7"), "Did you mean 'int8'?"),
        (("build", TINY, "--recipe", "portabel"), "Did you mean 'portable'?"),
        (("build", TINY, "--loads", "1"), "include 0"),
        (("build", TINY, "--accuracy-drop", "-1"), "must not be negative"),
        (("build", TINY, "-o", str(ROOT)), "is not an Elastiq bundle"),
        (("build", TINY, "-o", str(ROOT / "README.md")), "is a file or a link"),
        (("build", TINY, "-o", str(ROOT / "nowhere" / "x")), "does not exist"),
        (("build",), "no model named"),
        (("build", "nowhere"), "names no model"),
        (("build", "nowhere.py:Model"), "there is no file"),
        (("build", "no_such_package:Model"), "No module named"),
        (("build", f"{MODELS / 'tiny.py'}:Tony"), "has no attribute 'Tony'"),
        (("inspect", str(ROOT)), "is not a bundle"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do_and_exit_code_2(capsys, arguments, said):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.splitlines()) == 1


def test_a_mistake_in_a_process_of_its_own_shows_no_traceback(elastiq):
    done = elastiq("build", TINY, "-t", "cpu-x87", check=2)
    assert done.stderr.startswith("elastiq: ")
    assert "Traceback" not in done.stderr


def test_each_pass_runs_alone_and_goes_on_where_the_last_one_stopped(
    store_folder, monkeypatch, capsys
):
    monkeypatch.setenv("ELASTIQ_STORE", str(store_folder))
    for name, part in [
        ("trace", "graphs"),
        ("quantize", "graphs"),
        ("compile", "engines"),
        ("verify", "quality"),
    ]:
        command = [name, TINY, "--backend", "onnxruntime", "--accuracy-drop", "100"]
        made = json.loads(said(capsys, *command, "--json").out)
        assert made[part]
        assert made["bundle"] is None
        shown = said(capsys, *command)
        assert "queries=8" in shown.out
        assert all(line.endswith("found") for line in shown.err.splitlines())


def said(capsys, *arguments):
    """What the command line says in this process, where it does what it was asked."""
    main(list(arguments))
    return capsys.readouterr()


def test_inspect_tells_people_and_machines_the_same(elastiq, tiny_bundle):
    shown = elastiq("inspect", tiny_bundle, check=0).stdout
    told = json.loads(elastiq("inspect", tiny_bundle, "--json", check=0).stdout)
    for point in told["manifest"]["points"]:
        assert point["name"] in shown
        assert f"{100 * point['score']:.2f}" in shown


def test_doctor_names_what_is_missing_and_the_command_that_brings_it(elastiq):
    found = json.loads(elastiq("doctor", "--json", check=0).stdout)
    for check in found["checks"]:
        assert check["ok"] or "pip install" in check["detail"] or "machine" in check["detail"]
    assert any(check["what"] == "backend onnxruntime" and check["ok"] for check in found["checks"])


def test_a_build_file_is_read_and_flags_override_it(elastiq, tmp_path):
    (tmp_path / "elastiq.toml").write_text(f'model = "{TINY}"\npoints = ["queries=2"]\n')
    made = json.loads(elastiq("trace", "--json", cwd=tmp_path, check=0).stdout)
    assert [graph["point"] for graph in made["graphs"]] == ["queries=2"]
    made = json.loads(
        elastiq("trace", "--points", "queries=8", "--json", cwd=tmp_path, check=0).stdout
    )
    assert [graph["point"] for graph in made["graphs"]] == ["queries=8"]


def test_an_unknown_key_in_a_build_file_is_named(elastiq, tmp_path):
    (tmp_path / "elastiq.toml").write_text('modle = "x:y"\n')
    assert "Did you mean 'model'?" in elastiq("build", cwd=tmp_path, check=2).stderr
