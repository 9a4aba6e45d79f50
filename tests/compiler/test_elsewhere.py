"""Devices that this machine is not: engines are compiled, and nobody says that they ran."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import onnx
import pytest

import elastiq as product
from elastiq import cuda
from elastiq.errors import BundleError
from targets.backends import backend
from targets.devices import target
from tests.conftest import TINY

BOARD = """
name = "my-board"
description = "somebody's own"
machines = ["riscv64"]
backends = ["onnxruntime"]
precisions = ["fp32"]
recipe = "portable"
threads = 1
"""


@pytest.fixture(scope="module")
def built(elastiq, tmp_path_factory):
    """The bundle of the tiny model's costlier point for a target."""
    made = {}

    def bundle(name, *flags):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("elsewhere") / f"{name}.elastiq"
            elastiq("build", TINY, "-t", name, "--points", "queries=8", "--accuracy-drop", 5,
                    "-o", made[name], *flags, check=0)  # fmt: skip
        return made[name]

    return bundle


@pytest.mark.parametrize(
    ("name", "backends"),
    [
        ("cpu-arm64", {"onnxruntime", "openvino", "tvm"}),
        ("jetson-orin", {"tensorrt", "tvm"}),
        ("desktop-rtx", {"tensorrt_rtx", "tvm"}),
    ],
)
def test_its_engines_are_compiled_and_said_not_to_be_executed(built, name, backends):
    if target(name).here:
        pytest.skip(f"this machine is a {name}")
    with product.open(built(name)) as bundle:
        engines = bundle.manifest.engines
        assert bundle.check() == len(bundle.manifest.files)
        assert not bundle.measured
        with pytest.raises(BundleError, match="measured nowhere yet"):
            bundle.infer(bundle.samples().input(0))
    assert {engine.backend for engine in engines} == backends
    assert not any(engine.executed for engine in engines)
    assert all(engine.compiled != backend(engine.backend).on_device for engine in engines)
    assert all(engine.quality is not None and engine.quality.drop <= 5 for engine in engines)


def test_a_library_is_for_the_architecture_it_was_built_for(built):
    (engine,) = built("jetson-orin").glob("engines/tvm/*/main/int8/*.so")
    head = engine.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == 183  # aarch64
    assert b"__global__" in engine.read_bytes()


def test_a_plan_is_named_with_its_version_and_capabilities(built):
    bundle = built("desktop-rtx")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert version("tensorrt_rtx") in manifest["toolchain"]["tensorrt_rtx"]
    (record,) = (
        e for e in manifest["engines"] if (e["backend"], e["precision"]) == ("tensorrt_rtx", "int8")
    )
    assert record["settings"] == {"capabilities": "SM86,SM89,SM120", "plan": "range"}
    (node,) = onnx.load(bundle / record["folder"] / "context.onnx").graph.node
    plan = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}["ep_cache_context"]
    assert node.op_type == "EPContext"
    assert f"weights/{plan.decode()}" in manifest["files"]


def test_the_choice_is_the_last_precision_inside_the_budget(built):
    with product.open(built("desktop-rtx")) as bundle:
        (stage,) = bundle.manifest.points[0].stages.values()
    assert stage.engine == "queries=8/main/tensorrt_rtx/int8"
    assert "compiled and not executed" in stage.why


def test_check_and_inspect_say_that_nothing_ran(built, elastiq):
    if cuda.available():
        pytest.skip("a GPU is here")
    shown = elastiq("check", built("desktop-rtx"), check=0).stdout
    assert "is whole" in shown
    assert "no NVIDIA driver is installed here" in shown
    assert "compiled and not executed" in elastiq("inspect", built("desktop-rtx"), check=0).stdout


def test_a_folder_of_ones_own_adds_a_device(elastiq, tmp_path):
    (tmp_path / "board.toml").write_text(BOARD)
    own = {"ELASTIQ_DEVICES": str(tmp_path)}
    assert "my-board: somebody's own" in elastiq("targets", check=0, **own).stdout
    made = elastiq("compile", TINY, "-t", "my-board", "--json", check=0, **own)
    assert all("onnxruntime/fp32" in key for key in json.loads(made.stdout)["engines"])
    (tmp_path / "board.toml").write_text(BOARD.replace("threads", "treads"))
    assert "Did you mean 'threads'?" in elastiq("targets", check=2, **own).stderr


def test_doctor_tells_of_every_device_what_can_be_done_here(elastiq):
    told = {c["what"]: c for c in json.loads(elastiq("doctor", "--json", check=0).stdout)["checks"]}
    for name in ("cpu-arm64", "jetson-orin", "desktop-rtx"):
        if not target(name).here:
            assert "compiled here, not executed, by" in told[f"target {name}"]["detail"]


@pytest.mark.parametrize(
    ("plan", "plans", "profiles"), [("range", 1, 1), ("fixed", 1, 2), ("apart", 2, 0)]
)
def test_all_points_are_one_plan_or_as_many_as_asked_for(elastiq, plan, plans, profiles):
    flags = ("--backend", "tensorrt_rtx", "--precision", "int8", "--accuracy-drop", 5)
    made = elastiq("compile", TINY, "-t", "desktop-rtx", *flags, "--json",
                   "--set", f"tensorrt_rtx.plan={plan}", check=0)  # fmt: skip
    folders = json.loads(made.stdout)["engines"].values()
    layouts = [json.loads((Path(folder) / "layout.json").read_text()) for folder in folders]
    assert len(layouts) == 2
    assert len({layout["plan"] for layout in layouts}) == plans
    assert {len(layout["profiles"]) for layout in layouts} == {profiles}
    assert len({json.dumps([x["profile"], x["fixed"], x["plan"]]) for x in layouts}) == 2
