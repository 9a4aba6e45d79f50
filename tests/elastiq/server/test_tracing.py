"""Traces, as a collector gets them: over HTTP, in OTLP, from a server in a process of its own."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress

import pytest
import tritonclient.grpc as triton_grpc

import elastiq

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def collector():
    """Listens where traces are sent; gives its address and the spans that came."""
    spans = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            told = trace_service.ExportTraceServiceRequest.FromString(body)
            for resource in told.resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
        server.shutdown()


def infer(address, image, headers=(), **parameters):
    data = {"name": "image", "datatype": "FP32", "shape": image.shape, "data": image.tolist()}
    body = json.dumps({"inputs": [data], "parameters": parameters}).encode()
    given = {"Content-Type": "application/json", **dict(headers)}
    request = urllib.request.Request(f"http://{address}/v2/models/tiny/infer", body, given)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def infer_by_grpc(address, image, headers):
    given = triton_grpc.InferInput("image", list(image.shape), "FP32")
    given.set_data_from_numpy(image)
    with triton_grpc.InferenceServerClient(address) as client:
        client.infer("tiny", [given], headers=headers)


def facts(span):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_request_is_traced_with_its_wait_and_its_run(start, tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        image = bundle.samples().input(0)["image"]
    with collector() as (address, spans):
        with start(f"tiny={tiny_bundle}", "--traces", address) as running:
            answer = infer(running.http, image, {"traceparent": PARENT}, deadline_ms=10_000)
            with suppress(urllib.error.HTTPError):
                infer(running.http, image, deadline_ms=1e-6)
            infer_by_grpc(running.grpc, image, {"traceparent": PARENT})
        # The server has ended, and sent what was left.
        answered, refused, by_grpc = sorted(
            (span for span in spans if span.name == "infer tiny"),
            key=lambda span: span.start_time_unix_nano,
        )
        told = facts(answered)
        assert told["elastiq.point"] == answer["parameters"]["point"]
        assert told["elastiq.deadline_ms"] == 10_000 and told["elastiq.late"] is False
        assert answered.trace_id.hex() == PARENT.split("-")[1]
        assert answered.parent_span_id.hex() == PARENT.split("-")[2]
        assert by_grpc.parent_span_id == answered.parent_span_id
        parts = {span.name: span for span in spans if span.parent_span_id == answered.span_id}
        assert set(parts) == {"wait", "run"}
        wait, run = parts["wait"], parts["run"]
        assert answered.start_time_unix_nano == wait.start_time_unix_nano
        assert wait.end_time_unix_nano == run.start_time_unix_nano
        assert run.end_time_unix_nano <= answered.end_time_unix_nano
        assert facts(refused)["error.type"] == "DeadlineMissed"
        assert refused.status.code == refused.status.STATUS_CODE_ERROR
        assert "elastiq.point" not in facts(refused)
