"""What Prometheus reads: Triton's names where it has one for a thing, `elastiq_*` for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull
from elastiq.requests import Answer
from elastiq.server.models import Models, Served

LABELS = ("model", "version")
MICRO = 1e6
# Counters: what each counts, and its labels beside the model's.
TRITON = {
    "nv_inference_request_success": ("Requests answered.", ()),
    "nv_inference_request_failure": ("Requests refused or failed.", ("reason",)),
    "nv_inference_request_duration_us": ("From arrival to answer.", ()),
    "nv_inference_queue_duration_us": ("Spent waiting.", ()),
    "nv_inference_compute_infer_duration_us": ("Spent in engines.", ()),
}
OURS = {
    "elastiq_answers": ("Requests answered at a point.", ("point",)),
    "elastiq_late_answers": ("Answered after their deadline.", ()),
    "elastiq_shifts": ("Answers at another point than the last.", ()),
}


class Metrics(Collector):
    """Counts what was asked and answered, and reads the rest off the models when asked."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._counts: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)
        self._last: dict[str, str] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def answered(self, served: Served, answer: Answer, late: bool) -> None:
        labels = (served.name, served.version)
        self._add("nv_inference_request_success", labels)
        self._add("nv_inference_request_duration_us", labels, answer.waited + answer.took)
        self._add("nv_inference_queue_duration_us", labels, answer.waited)
        self._add("nv_inference_compute_infer_duration_us", labels, answer.took)
        self._add("elastiq_answers", (*labels, answer.point))
        if late:
            self._add("elastiq_late_answers", labels)
        if self._last.get(served.name, answer.point) != answer.point:
            self._add("elastiq_shifts", labels)
        self._last[served.name] = answer.point

    def failed(self, model: str, version: str, error: BaseException) -> None:
        self._add("nv_inference_request_failure", (model, version, _reason(error)))

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        for name, (what, labels) in TRITON.items():
            metric = Metric(name, what, "unknown")  # a counter's name would have to end in _total
            for values, count in self._of(name):
                metric.add_sample(name, dict(zip((*LABELS, *labels), values, strict=True)), count)
            yield metric
        for name, (what, labels) in OURS.items():
            family = CounterMetricFamily(name, what, labels=(*LABELS, *labels))
            for values, count in self._of(name):
                family.add_metric(values, count)
            yield family
        yield from self._gauges()

    def _gauges(self) -> Iterable[Metric]:
        what = "Requests waiting."
        pending = GaugeMetricFamily("nv_inference_pending_request_count", what, labels=LABELS)
        what = "The task score of a point."
        score = GaugeMetricFamily("elastiq_point_score", what, labels=(*LABELS, "point"))
        for served in self._models.served():
            labels = (served.name, served.version)
            pending.add_metric(labels, served.worker.waiting)
            for point in served.bundle.manifest.points:
                score.add_metric((*labels, point.name), point.score)
        return pending, score

    def _add(self, name: str, labels: tuple[str, ...], value: float = 1) -> None:
        self._counts[name, labels] += round(MICRO * value) if name.endswith("_us") else value

    def _of(self, name: str) -> list[tuple[tuple[str, ...], float]]:
        return [(labels, count) for (kind, labels), count in self._counts.items() if kind == name]


def _reason(error: BaseException) -> str:
    if isinstance(error, DeadlineMissed):
        return "DEADLINE"
    if isinstance(error, QueueFull):
        return "REJECTED"
    return "REQUEST" if isinstance(error, ElastiqError) else "OTHER"
