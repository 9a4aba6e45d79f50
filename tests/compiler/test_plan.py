"""What a build would do: backends that are there, those that are not, and their settings."""

from __future__ import annotations

from importlib import metadata
from importlib.metadata import PackageNotFoundError

import pytest

from compiler import config
from compiler.commands.doctor import examine
from compiler.plan import plan
from elastiq.errors import ElastiqError
from targets import tools
from targets.devices import target
from tests.conftest import TINY


@pytest.fixture
def without_openvino(monkeypatch):
    def version(name):
        if name == "openvino":
            raise PackageNotFoundError(name)
        return metadata.version(name)

    monkeypatch.setattr(tools, "version", version)


def planned(**flags):
    return plan(config.read(None, {"model": TINY, **flags}))


def test_every_installed_backend_of_the_target_takes_part():
    made = planned()
    assert made.backends == target("cpu-x86").backends
    assert made.absent == {}


def test_one_that_is_missing_is_left_out_and_told(without_openvino):
    made = planned()
    assert "openvino" not in made.backends
    assert "pip install 'elastiq[openvino]'" in made.absent["openvino"]
    told = {check["what"]: check for check in examine()["checks"]}
    assert not told["backend openvino"]["ok"]
    assert "openvino" not in told["target cpu-x86"]["detail"]


def test_one_that_is_asked_for_must_be_there(without_openvino):
    with pytest.raises(ElastiqError, match=r"elastiq\[openvino\]"):
        planned(backends=("onnxruntime", "openvino"))


def test_settings_reach_their_backend():
    assert planned().terms.settings["openvino"].hint == "latency"
    made = planned(settings=("openvino.hint=throughput",))
    assert made.terms.settings["openvino"].hint == "throughput"
