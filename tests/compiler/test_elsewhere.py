"""Devices that this machine is not: engines are compiled, and nobody says that they ran."""

from __future__ import annotations

import contextlib
import json
from importlib.metadata import version
from pathlib import Path

import jsonschema
import onnx
import pytest

import elastiq as product
from elastiq import cuda
from elastiq.errors import BundleError, ElastiqError
from targets.backends import backend
from targets.devices import target
from tests.conftest import ROOT, TINY

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
        assert bundle.predicted and not bundle.measured
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


def test_latencies_are_predicted_and_marked_so(built, elastiq, caplog, tmp_path):
    bundle = built("cpu-arm64")
    shown = elastiq("inspect", bundle, check=0).stdout
    assert "PREDICTED" in shown and "Raspberry Pi 5" in shown and "~" in shown
    page = tmp_path / "page.html"
    elastiq("report", bundle, "-o", page, check=0)
    assert "Predicted, not measured." in page.read_text()
    assert "What load does" not in page.read_text()
    told = elastiq("replay", bundle, "--simulate", "--seconds", 1, check=0).stdout
    assert "(simulated, by predicted latencies)" in told
    with product.open(bundle) as opened:
        (point,) = opened.manifest.points
        assert opened.table.of(point, 0.0).p50 > 0
        assert opened.table.of(point, 0.0).samples == 0
        with contextlib.suppress(ElastiqError), opened.serve():  # whether or not it can run here
            pass
    assert "latencies are predicted for a Cortex-A76" in caplog.text


def test_prediction_is_not_held_against_measuring(built, elastiq, tiny_bundle):
    done = elastiq("diff", built("desktop-rtx"), tiny_bundle, "--fail-on", "regression=0%", check=0)
    assert "not compared: those of the first are predicted" in done.stdout
    assert "load" not in done.stdout
    itself = elastiq("diff", built("desktop-rtx"), built("desktop-rtx"), check=0).stdout
    assert "predicted on both sides" in itself and "worse" not in itself


def test_profile_prints_what_is_predicted(elastiq, built, tmp_path):
    built("jetson-orin")
    done = elastiq("profile", TINY, "-t", "jetson-orin", "--points", "queries=8",
                   "--accuracy-drop", 5, "--table", tmp_path / "table.json", check=0)  # fmt: skip
    assert "PREDICTED, not measured: what Jetson Orin Nano" in done.stdout
    table = json.loads((tmp_path / "table.json").read_text())
    schema = json.loads((ROOT / "profiles" / "table.schema.json").read_text())
    jsonschema.validate(table, schema)
    assert not table["measured"]


def test_a_device_without_a_peak_is_not_predicted(elastiq, tmp_path):
    (tmp_path / "board.toml").write_text(BOARD)
    out = tmp_path / "board.elastiq"
    elastiq("build", TINY, "-t", "my-board", "--points", "queries=8", "-o", out,
            ELASTIQ_DEVICES=str(tmp_path), check=0)  # fmt: skip
    with product.open(out) as bundle:
        assert not bundle.measured and not bundle.predicted
        with pytest.raises(BundleError, match="measured nowhere yet"):
            bundle.infer(bundle.samples().input(0))
    assert "latencies are unknown" in elastiq("inspect", out, check=0).stdout


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
