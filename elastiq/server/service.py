"""What every request goes through, whatever brought it: checked, queued, answered, counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elastiq import __version__
from elastiq.errors import ElastiqError, unknown
from elastiq.records import TensorSpec
from elastiq.server import live, wishes
from elastiq.server.live import Hand, Live
from elastiq.server.metrics import Metrics
from elastiq.server.models import Models, Served
from elastiq.server.tensors import datatype

if TYPE_CHECKING:
    from elastiq.server.tracing import Tracing

log = logging.getLogger(__name__)
NO_TRACE: Mapping[str, str] = {}
EXTENSIONS = ("binary_tensor_data", "model_repository", "sequence", "statistics_prometheus")


@dataclass(frozen=True)
class Reply:
    """The outputs of a request, and what is told beside them."""

    served: Served
    outputs: Mapping[str, np.ndarray]
    parameters: Mapping[str, Any]


class Service:
    """The models behind the protocols. `deadline` (seconds) is that of requests without one."""

    def __init__(
        self, models: Models, deadline: float | None = None, tracing: Tracing | None = None
    ) -> None:
        self.models = models
        self.metrics = Metrics(models)
        self.live = Live()
        self._tracing = tracing
        self._deadline = deadline
        self._hands: dict[str, Hand] = {}

    async def infer(
        self,
        model: str,
        version: str,
        inputs: Mapping[str, np.ndarray],
        wanted: Collection[str],
        parameters: Mapping[str, Any],
        carrier: Mapping[str, str] = NO_TRACE,
    ) -> Reply:
        """Answer one request. Whoever stops waiting for it withdraws it. `carrier` names the trace
        that it belongs to, as W3C has it."""
        arrived = time.perf_counter()
        served_version = ""
        hand = self.hand(model)
        deadline = hand.deadline
        try:
            wish = wishes.read(parameters, hand.deadline, hand.point)
            deadline = wish.deadline
            served, future = self.models.ask(model, version, inputs, wish)
            served_version = served.version
            answer = await asyncio.wrap_future(future)
            outputs = _wanted(answer.outputs, wanted)
        except Exception as e:
            known = model if model in self.models.names() else ""
            self.metrics.failed(known, served_version, e)
            now = time.perf_counter()
            if known:
                self.live.failed(model, now, now - arrived, deadline, e)
            if self._tracing is not None:
                self._tracing.over(known, served_version, now - arrived, deadline, carrier, e)
            if not isinstance(e, ElastiqError):
                log.exception("a request of %s failed", model)
            raise
        now = time.perf_counter()
        took = now - arrived
        self.live.answered(served.name, now, took, deadline, answer)
        if self._tracing is not None:
            self._tracing.over(served.name, served.version, took, deadline, carrier, answer)
        late = wish.deadline is not None and took > wish.deadline
        self.metrics.answered(served, answer, late)
        told = {
            "point": answer.point,
            "score": answer.choice.option.score,
            "predicted_ms": round(1e3 * answer.choice.predicted, 3),
            "took_ms": round(1e3 * answer.took, 3),
            "waited_ms": round(1e3 * answer.waited, 3),
            "late": late,
        }
        return Reply(served, outputs, told)

    def hand(self, model: str) -> Hand:
        """What is set by hand for a model; the deadline that the server began with, if nothing."""
        return self._hands.get(model, Hand(None, self._deadline))

    def set_hand(self, model: str, told: Mapping[str, Any]) -> None:
        """Set a point and a deadline, by hand, for requests that name none."""
        self._hands[model] = live.hand(told, self.models.get(model))
        log.info("model %s was set by hand: %s", model, self._hands[model])

    def shown(self, since: Mapping[str, int]) -> dict[str, Any]:
        """What the live page shows, with the requests that came since certain ones."""
        models = [
            self.live.page(served, self.hand(served.name), since.get(served.name, 0))
            for served in self.models.served()
        ]
        return {"moment": time.perf_counter(), "models": models}

    def about(self) -> dict[str, Any]:
        return {"name": "elastiq", "version": __version__, "extensions": list(EXTENSIONS)}

    def describe(self, model: str, version: str) -> dict[str, Any]:
        served = self.models.get(model, version)
        return {
            "name": served.name,
            "versions": [served.version],
            "platform": "elastiq",
            "inputs": [_spec(spec) for spec in served.inputs],
            "outputs": [_spec(spec) for spec in served.outputs],
        }

    def index(self, only_ready: bool = False) -> list[dict[str, str]]:
        listed = []
        for name in self.models.names():
            state, reason = self.models.state(name)
            if state == "READY" or not only_ready:
                version = next((s.version for s in self.models.served() if s.name == name), "")
                row = {"name": name, "version": version, "state": state, "reason": reason}
                listed.append(row)
        return listed

    async def load(self, model: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.models.load, model)

    async def unload(self, model: str) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.models.unload, model)


def _wanted(outputs: Mapping[str, np.ndarray], wanted: Collection[str]) -> dict[str, np.ndarray]:
    for name in wanted:
        if name not in outputs:
            raise unknown("output", name, outputs)
    return {name: outputs[name] for name in (wanted or outputs)}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": datatype(spec.dtype), "shape": list(spec.shape)}
