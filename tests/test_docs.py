"""The documents keep up with the product: commands, links and figures are what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import pytest

from compiler.cli import COMMANDS
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page):
    """The `elastiq` lines of a page's indented blocks."""
    lines = re.findall(r"^    (elastiq .+)$", page.read_text(), re.MULTILINE)
    return [line for line in lines if not re.search(r"…|\[", line)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name):
    text = "".join(page.read_text() for page in PAGES)
    assert re.search(rf"elastiq {name}\b|`{name}`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_readmes_commands_run_as_they_stand(tmp_path, elastiq):
    """In a folder of their own, one after another, as a reader would type them.

    With the backends that the README installs: there may be more of them here. The two cheapest of
    its five points, measured for a short while, show as much.
    """
    (tmp_path / "elastiq.toml").write_text(
        'backends = ["onnxruntime", "openvino"]\npoints = ["queries=4,8"]\nprofile_seconds = 0.2\n'
    )
    for line in commands(ROOT / "README.md"):
        _, *words = shlex.split(line)
        done = elastiq(*words, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (tmp_path / "perceiver.elastiq" / "manifest.json").exists()
    assert "<svg" in (tmp_path / "report.html").read_text()


def test_the_commands_of_a_lab_on_one_machine_run(tmp_path, store_folder, elastiq):
    """At a port that is free, with one point of the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / "elastiq.toml").write_text(
        'backends = ["onnxruntime"]\npoints = ["queries=4"]\n'
        "profile_seconds = 0.2\nloads = [0.0]\nmemory_loads = [0.0]\n"
    )
    environment = {**os.environ, "ELASTIQ_STORE": str(store_folder), "PYTHONPATH": str(ROOT)}
    start, *lines = [
        shlex.split(line.replace("8786", port))[1:] for line in commands(ROOT / "docs" / "lab.md")
    ]
    command = [sys.executable, "-m", "compiler.cli", *start, "--port", port]
    means = {"cwd": tmp_path, "env": environment, "text": True}
    lab = subprocess.Popen(command, stderr=subprocess.PIPE, **means)
    try:
        assert any(line.startswith("ready") for line in lab.stderr)
        for words in lines:
            elastiq(*words, cwd=tmp_path, check=0)
    finally:
        lab.terminate()
        assert "Traceback" not in lab.communicate()[1]
    assert lab.returncode == 0
    assert (tmp_path / "perceiver.elastiq" / "manifest.json").exists()


def test_the_examples_of_the_drivers_run(family_bundle, tmp_path, monkeypatch):
    """With tiny models in the place of those that the page is about."""
    about = {"concatplexer": "packed", "tore": "glimpses", "adavit": "buckets"}
    for name, tiny in about.items():
        shutil.copytree(family_bundle(tiny), tmp_path / f"{name}.elastiq")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(
        r"^```python\n(.+?)^```", (ROOT / "docs" / "drivers.md").read_text(), re.S | re.M
    )
    assert len(examples) == 4
    for example in examples:
        exec(example, {})


def test_the_makefile_has_the_commands_that_the_readme_names():
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    for goal in re.findall(r"make (\w+)", (ROOT / "README.md").read_text()):
        done = subprocess.run([make, "-n", goal], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_page_is_reached_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[^)]+)\)", (ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} == linked


def test_the_benchmark_page_shows_what_was_measured():
    from benchmarks import page
    from benchmarks.__main__ import ALL

    assert page.render(ALL) == page.PAGE.read_text()
