"""A backend of somebody else's package: backend and runner in one file, found by entry point.

It hands the graph to ONNX's evaluator. Its setting `does` makes it fall
over in each way that a toolchain can.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import numpy as np

from elastiq.errors import ElastiqError, EngineError

name = "elsewhere"
runner = "elsewhere"
precisions = frozenset({"fp32", "int8"})
on_device = True
joins = False
measures = False
integer_products = True


@dataclass(frozen=True)
class Settings:
    """`does`: build, refuse, raise, crash, exit, hang, hoard or dawdle; or spoil what it builds."""

    does: str = "build"
    only: str = ""  # at this point, the others are built
    later: str = "build"  # what happens when the device finishes it


def toolchain(capability=""):
    return "elsewhere 1"


def build(graph, out, settings):
    from targets import graphs
    from targets.refusal import refusal

    model = graphs.load(graph)
    unknown = [node for node in model.graph.node if node.domain not in ("", "com.microsoft")]
    if unknown:
        raise refusal("elsewhere", graph, model, f"no such op: {unknown[0].op_type}")
    (out / "draft").write_bytes(b"half an engine")
    if settings.only in ("", graph.point.name):
        FALLS[settings.does]()
    (out / "draft").unlink()
    if settings.does == "spoil":
        (out / "spoilt").touch()
    (out / "later").write_text(settings.later)
    graphs.save(model, out / "elsewhere.onnx", graph.weights)


def finish(folder, weights, help, capability=""):
    """What the device has to do before the engine is whole."""
    FALLS[(folder / "later").read_text()]()
    return ()


def refuse():
    raise ElastiqError("elsewhere refuses node 'wobble_7'")


def fail():
    print("something is wrong with my tables")
    raise KeyError("tables")


def crash():
    print("free(): invalid pointer", file=sys.stderr, flush=True)
    os.abort()


def hoard():
    kept = []
    while True:
        kept.append(np.ones(1 << 24))


FALLS = {
    "build": lambda: None,
    "spoil": lambda: None,
    "refuse": refuse,
    "raise": fail,
    "crash": crash,
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(600),
    "hoard": hoard,
    "dawdle": lambda: time.sleep(1.0),
}


def fall(engines, how):
    """On the device of a lab."""
    FALLS[how]()


def slow(engines, seconds):
    """So long that somebody can be killed meanwhile."""
    time.sleep(seconds)
    return seconds


def loaded(engines):
    """What the process of a lab's device has loaded."""
    return sorted(sys.modules)


class Engine:
    def __init__(self, folder, options):
        import onnx
        from onnx.reference import ReferenceEvaluator

        if (folder / "spoilt").exists():
            raise EngineError(f"elsewhere cannot load {folder}: it is spoilt")
        model = onnx.load(folder / "elsewhere.onnx", load_external_data=False)
        onnx.load_external_data_for_model(model, str(options.weights))
        self.evaluator = ReferenceEvaluator(model)

    def __call__(self, inputs):
        answers = self.evaluator.run(None, dict(inputs))
        return dict(zip(self.evaluator.output_names, answers, strict=True))

    def close(self):
        del self.evaluator


def load(folder, options):
    return Engine(folder, options)
