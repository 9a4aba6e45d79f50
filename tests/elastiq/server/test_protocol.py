"""The Open Inference Protocol, spoken by Triton's own clients and by hand."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import trustme
from tritonclient.utils import InferenceServerException

import elastiq
from elastiq import digest
from elastiq.manifest import read
from tests.conftest import ROOT

MODEL = "tiny"


@pytest.fixture(params=["http", "grpc"])
def client(request, server):
    """The protocol's module and a client of it."""
    kind = {"http": triton_http, "grpc": triton_grpc}[request.param]
    with kind.InferenceServerClient(getattr(server, request.param)) as connected:
        yield kind, connected


@pytest.fixture(scope="module")
def image(tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        return bundle.samples().input(0)["image"]


@pytest.fixture(scope="module")
def golden(tiny_bundle):
    """What each point answers to the image."""
    with elastiq.open(tiny_bundle) as bundle:
        samples = bundle.samples()
        return {name: outputs["logits"][:1] for name, outputs in samples.outputs.items()}


def tensor(kind, image, **options):
    made = kind.InferInput("image", list(image.shape), "FP32")
    made.set_data_from_numpy(image, **options)
    return made


def parameters(kind, answer):
    told = answer.get_response()
    if kind is triton_http:
        return told["parameters"]
    return {k: getattr(v, v.WhichOneof("parameter_choice")) for k, v in told.parameters.items()}


def post(place, path, body=b"{}", headers=None, method="POST"):
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_server_says_what_it_is(client):
    kind, connected = client
    assert connected.is_server_live()
    assert connected.is_server_ready()
    assert connected.is_model_ready(MODEL)
    about = connected.get_server_metadata()
    name = about["name"] if kind is triton_http else about.name
    assert name == "elastiq"


def test_the_model_says_what_it_takes(client, image):
    kind, connected = client
    options = {} if kind is triton_http else {"as_json": True}
    found = connected.get_model_metadata(MODEL, **options)
    (taken,) = found["inputs"]
    assert [int(size) for size in taken["shape"]] == list(image.shape)
    assert (taken["name"], taken["datatype"]) == ("image", "FP32")
    assert found["outputs"][0]["name"] == "logits"


def test_every_point_answers_as_it_was_verified(client, image, golden):
    kind, connected = client
    for point, expected in golden.items():
        answer = connected.infer(MODEL, [tensor(kind, image)], parameters={"point": point})
        assert parameters(kind, answer)["point"] == point
        np.testing.assert_allclose(answer.as_numpy("logits"), expected, atol=1e-4)


def test_a_score_can_be_asked_for(client, image, tiny_bundle):
    kind, connected = client
    scores = {point.name: point.score for point in read(tiny_bundle).points}
    best = max(scores.values())
    answer = connected.infer(MODEL, [tensor(kind, image)], parameters={"min_accuracy": str(best)})
    assert parameters(kind, answer)["score"] == best
    with pytest.raises(InferenceServerException, match="no point reaches"):
        connected.infer(MODEL, [tensor(kind, image)], parameters={"min_accuracy": 2})


def test_a_deadline_that_cannot_be_kept_is_refused(client, image):
    kind, connected = client
    with pytest.raises(InferenceServerException, match=r"deadline|are left"):
        for _ in range(3):  # now and then one runs all the same, to see whether it cannot
            connected.infer(MODEL, [tensor(kind, image)], parameters={"deadline_ms": 1e-6})


def test_answers_tell_what_they_cost(client, image):
    kind, connected = client
    told = parameters(kind, connected.infer(MODEL, [tensor(kind, image)], priority=1))
    assert told["took_ms"] > 0
    assert told["waited_ms"] >= 0
    assert told["predicted_ms"] > 0
    assert told["late"] is False


def test_tensors_go_as_json_too(server, image, golden):
    with triton_http.InferenceServerClient(server.http) as connected:
        wanted = triton_http.InferRequestedOutput("logits", binary_data=False)
        point, expected = next(iter(golden.items()))
        answer = connected.infer(
            MODEL,
            [tensor(triton_http, image, binary_data=False)],
            outputs=[wanted],
            parameters={"point": point},
        )
        np.testing.assert_allclose(answer.as_numpy("logits"), expected, atol=1e-4)
        assert "data" in answer.get_response()["outputs"][0]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_requests_may_be_compressed(server, image, algorithm):
    with triton_http.InferenceServerClient(server.http) as connected:
        given = {"request_compression_algorithm": algorithm}
        assert (
            connected.infer(MODEL, [tensor(triton_http, image)], **given).as_numpy("logits").any()
        )


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model": "tinny"}, "Did you mean 'tiny'"),
        ({"version": "3"}, "is served at version"),
        ({"name": "picture"}, "input 'image' is missing"),
        ({"shape": [1, 1]}, "this model takes"),
        ({"output": "answer"}, "no output is called 'answer'"),
        ({"parameters": {"point": "queries=999"}}, "no point is called"),
        ({"parameters": {"deadline_ms": "soon"}}, "must be a number"),
        ({"priority": 9}, "it must be 1"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(client, image, change, said):
    kind, connected = client
    if "shape" in change:
        image = np.zeros(change["shape"], np.float32)
    given = kind.InferInput(change.get("name", "image"), list(image.shape), "FP32")
    given.set_data_from_numpy(image)
    outputs = [kind.InferRequestedOutput(change["output"])] if "output" in change else None
    with pytest.raises(InferenceServerException, match=said):
        connected.infer(
            change.get("model", MODEL),
            [given],
            model_version=change.get("version", ""),
            outputs=outputs,
            priority=change.get("priority", 0),
            parameters=change.get("parameters"),
        )


@pytest.mark.parametrize(
    "body, headers, status",
    [
        (b"", {}, 400),
        (b"[]", {}, 400),
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"inputs": 3}', {}, 400),
        (b'{"inputs": [{}]}', {}, 400),
        (b'{"inputs": [], "parameters": []}', {}, 400),
        (b'{"x": NaN}', {}, 400),
        (b"{}", {"Inference-Header-Content-Length": "9"}, 400),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, 400),
        (b'{"inputs": []}more', {"Inference-Header-Content-Length": "14"}, 400),
        (
            b'{"inputs": [{"name": "image", "datatype": "FP32", "shape": [1],'
            b' "parameters": {"binary_data_size": 4}}]}',
            {},
            400,
        ),
    ],
)
def test_what_is_no_request_is_refused_in_words(server, body, headers, status):
    found, text = post(server.http, f"/v2/models/{MODEL}/infer", body, headers)
    assert found == status
    assert json.loads(text)["error"]


def test_paths_that_are_not_there_are_errors_in_json(server):
    status, text = post(server.http, "/v2/nothing", method="GET")
    assert status == 404
    assert json.loads(text)["error"]


def test_metrics_count_by_tritons_names(server, image):
    def count():
        _, page = post(server.http, "/metrics", method="GET")
        lines = page.decode().splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith("nv_inference_request_success{")
        )

    with triton_http.InferenceServerClient(server.http) as connected:
        before = count()
        for _ in range(3):
            connected.infer(MODEL, [tensor(triton_http, image)])
        assert count() == before + 3


def test_many_clients_each_get_their_own_answer(server, tiny_bundle):
    with elastiq.open(tiny_bundle) as bundle:
        samples = bundle.samples()
    point = next(iter(samples.outputs))
    wrong = []

    def ask(number):
        with triton_http.InferenceServerClient(server.http) as connected:
            for index in range(number, len(samples), 4):
                given = tensor(triton_http, samples.input(index)["image"])
                answer = connected.infer(MODEL, [given], parameters={"point": point})
                expected = samples.outputs[point]["logits"][index : index + 1]
                if not np.allclose(answer.as_numpy("logits"), expected, atol=1e-4):
                    wrong.append(index)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_update_loses_no_request(start, own_bundle, image, tmp_path):
    """The bundle is replaced under load: answers go on, from the old one and then the new one."""
    with start(f"{MODEL}={own_bundle}") as server:
        stop, failures, versions = threading.Event(), [], []

        def ask():
            with triton_http.InferenceServerClient(server.http) as connected:
                while not stop.is_set():
                    try:
                        answer = connected.infer(MODEL, [tensor(triton_http, image)])
                        versions.append(answer.get_response()["model_version"])
                    except Exception as e:
                        failures.append(e)

        thread = threading.Thread(target=ask)
        thread.start()
        with triton_http.InferenceServerClient(server.http, network_timeout=60) as connected:
            other = shutil.copytree(own_bundle, tmp_path / "other.elastiq")
            altered = other / "manifest.json"
            manifest = json.loads(altered.read_text())
            manifest.pop("digest")
            manifest["metric"] = "another word"
            manifest["digest"] = digest.of_value(manifest)
            altered.write_text(json.dumps(manifest))
            altered.replace(own_bundle / "manifest.json")
            connected.load_model(MODEL)
            while len(set(versions)) < 2 and thread.is_alive():
                time.sleep(0.01)
        stop.set()
        thread.join()
    assert not failures
    assert len(set(versions)) == 2


def test_models_are_unloaded_and_loaded(start, tiny_bundle, image):
    with (
        start(f"a={tiny_bundle}", f"b={tiny_bundle}") as server,
        triton_http.InferenceServerClient(server.http, network_timeout=60) as connected,
    ):
        connected.unload_model("a")
        assert not connected.is_server_ready()
        assert not connected.is_model_ready("a")
        assert connected.is_model_ready("b")
        states = {row["name"]: row["state"] for row in connected.get_model_repository_index()}
        assert states == {"a": "UNAVAILABLE", "b": "READY"}
        with pytest.raises(InferenceServerException, match="is not loaded"):
            connected.infer("a", [tensor(triton_http, image)])
        connected.load_model("a")
        assert connected.infer("a", [tensor(triton_http, image)]).as_numpy("logits").any()
        with pytest.raises(InferenceServerException, match="no model is called"):
            connected.load_model(Path(tiny_bundle).name)


def test_a_body_that_is_too_large_is_refused(start, tiny_bundle):
    with start(f"{MODEL}={tiny_bundle}", "--largest-mb", 1) as server:
        status, text = post(server.http, f"/v2/models/{MODEL}/infer", bytes(2 << 20))
        assert status == 413
        assert json.loads(text)["error"]


def test_without_the_token_nobody_gets_in(start, tiny_bundle, image, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with start(f"{MODEL}={tiny_bundle}", "--token-file", tmp_path / "token") as server:
        with triton_http.InferenceServerClient(server.http) as connected:
            assert connected.is_server_live()
            with pytest.raises(InferenceServerException, match="wants a token"):
                connected.infer(MODEL, [tensor(triton_http, image)])
            right = {"Authorization": "Bearer secret"}
            answer = connected.infer(MODEL, [tensor(triton_http, image)], headers=right)
            assert answer.as_numpy("logits").any()
        with triton_grpc.InferenceServerClient(server.grpc) as connected:
            assert connected.is_server_live()
            with pytest.raises(InferenceServerException, match="wants a token"):
                connected.get_model_metadata(MODEL, headers={"authorization": "Bearer wrong"})
            right = {"authorization": "Bearer secret"}
            assert connected.get_model_metadata(MODEL, headers=right).name == MODEL


def test_tls_is_served_with_a_certificate(start, tiny_bundle, tmp_path):
    certificate, key, authority = (tmp_path / name for name in ("c.pem", "k.pem", "ca.pem"))
    signer = trustme.CA()
    signed = signer.issue_cert("localhost", "127.0.0.1")
    for part in signed.cert_chain_pems:
        part.write_to_path(certificate, append=True)
    signed.private_key_pem.write_to_path(key)
    signer.cert_pem.write_to_path(authority)
    with start(f"{MODEL}={tiny_bundle}", "--certificate", certificate, "--key", key) as server:
        context = ssl.create_default_context(cafile=str(authority))
        connection = http.client.HTTPSConnection(server.http, context=context, timeout=30)
        connection.request("GET", "/v2/health/live")
        assert connection.getresponse().status == 200
        with triton_grpc.InferenceServerClient(
            server.grpc, ssl=True, root_certificates=str(authority)
        ) as connected:
            assert connected.is_server_live()


def test_it_ends_when_it_is_told_to(start, tiny_bundle):
    with start(f"{MODEL}={tiny_bundle}") as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nothing.elastiq"], "is not a bundle"),
        (["a={bundle}", "a={bundle}"], "two models are called 'a'"),
        (["{bundle}", "--token-file", "nowhere"], "the token cannot be read"),
        (["{bundle}", "--certificate", "nowhere"], "the certificate cannot be read"),
        (["{bundle}", "--policy", "utilty"], "Did you mean 'utility'"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_a_line(tiny_bundle, arguments, said):
    filled = [argument.format(bundle=tiny_bundle) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "compiler.cli", "serve", "--port", "0", "--grpc-port", "0", *filled],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_descriptor_is_what_the_proto_file_says(tmp_path):
    folder = ROOT / "elastiq" / "server"
    out = tmp_path / "inference.desc"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", folder, f"--descriptor_set_out={out}",
         "inference.proto"],
        check=True,
    )  # fmt: skip
    assert out.read_bytes() == (folder / "inference.desc").read_bytes()
