"""Toolchains that are too old or too new are told, with the command that brings one that fits."""

from __future__ import annotations

import os

import pytest
import tomllib

from elastiq.errors import ElastiqError
from targets.backends import backend, names
from targets.tools import tools
from tests.conftest import PLUGINS, ROOT, TINY

BOUNDED = [name for name in names() if hasattr(backend(name), "TOOLS")]


def wheel(folder, package, version):
    """What pip leaves of a package of that version; it is found before the one that is there."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return folder


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.9.3", "too old: 1.10 is the oldest that works"),
        ("2.0.0rc1", "too new: it is not known to work from 2 on"),
        ("1.10", None),
        ("1.10.0.post1", None),
        ("1.99", None),
    ],
)
def test_versions_are_compared_by_their_numbers(tmp_path, monkeypatch, version, said):
    monkeypatch.syspath_prepend(wheel(tmp_path, "some-compiler", version))
    bounds = {"some-compiler": ("1.10", "2")}
    if not said:
        assert tools(bounds, "some") == f"some-compiler {version}"
        return
    with pytest.raises(ElastiqError, match=rf"some-compiler {version} is {said}.*elastiq\[some\]"):
        tools(bounds, "some")


def test_what_is_absent_is_named():
    with pytest.raises(ElastiqError, match=r"no-such-thing is not installed.*elastiq\[some\]"):
        tools({"no-such-thing": ("1", "")}, "some")


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize(("version", "how"), [("0.0.1", "too old"), ("9999.1", "too new")])
def test_a_build_with_such_a_toolchain_says_so(elastiq, tmp_path, name, version, how):
    package = next(iter(backend(name).TOOLS))
    folder = wheel(tmp_path, package, version)
    path = os.pathsep.join(map(str, (folder, ROOT, PLUGINS)))
    done = elastiq("build", TINY, "--backend", name, check=2, PYTHONPATH=path)
    (line,) = done.stderr.splitlines()
    assert f"{package} {version} is {how}" in line
    assert "pip install 'elastiq[" in line
    doctor = elastiq("doctor", PYTHONPATH=path)
    assert f"{package} {version} is {how}" in doctor.stdout


def test_the_extras_bring_what_fits():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {w for listed in extras["optional-dependencies"].values() for w in listed}
    for name in BOUNDED:
        for package, (first, behind) in backend(name).TOOLS.items():
            bounds = f">={first},<{behind}" if behind else f">={first}"
            assert wanted & {f"{package}{bounds}", f"{package}=={first}"}, package
