"""The Open Inference Protocol over HTTP, with the binary tensor extension."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from elastiq import digest
from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull, WorkerClosed
from elastiq.server.models import NotReady, Unknown
from elastiq.server.service import Reply, Service
from elastiq.server.tensors import datatype, from_bytes, from_list, to_bytes

TRACE = ("traceparent", "tracestate")  # headers
JSON_LENGTH = "Inference-Header-Content-Length"
SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"
LARGEST_BODY = 64 << 20  # bytes
OPEN = ("/v2/health/",)  # paths that need no token
PAGE = Path(__file__).with_name("page.html")
PAGE_PATH = "/"  # needs none either: it holds nothing, and asks for the token itself
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
STATUS = (
    (Unknown, 404),
    (NotReady, 503),
    (WorkerClosed, 503),
    (QueueFull, 429),
    (DeadlineMissed, 504),
    (ElastiqError, 400),
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SERVICE = web.AppKey("service", Service)


def app(service: Service, token: str = "", largest_body: int = LARGEST_BODY) -> web.Application:
    """The web application of a service. With a token, requests must bear it."""
    made = web.Application(
        client_max_size=largest_body, middlewares=[_errors_as_json, _guard(token)]
    )
    made[SERVICE] = service
    model = "/v2/models/{model}"
    for place in (model, model + "/versions/{version}"):
        made.router.add_get(place, _model)
        made.router.add_get(place + "/ready", _model_ready)
        made.router.add_post(place + "/infer", _infer)
    made.router.add_get("/", _page)
    made.router.add_post("/live", _shown)
    made.router.add_post("/live/models/{model}", _by_hand)
    made.router.add_get("/v2", _about)
    made.router.add_get("/v2/health/live", _live)
    made.router.add_get("/v2/health/ready", _ready)
    made.router.add_post("/v2/repository/index", _index)
    made.router.add_post("/v2/repository/models/{model}/load", _load)
    made.router.add_post("/v2/repository/models/{model}/unload", _unload)
    made.router.add_get("/metrics", _metrics)
    return made


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as e:
        return _error(e.status, f"{e.reason}: {request.method} {request.path}")
    except ElastiqError as e:
        return _error(next(status for kind, status in STATUS if isinstance(e, kind)), str(e))
    except asyncio.CancelledError:
        raise
    except Exception as e:
        return _error(500, f"the engine failed: {type(e).__name__}")


def _guard(token: str) -> Any:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode()
        is_open = request.path == PAGE_PATH or request.path.startswith(OPEN)
        if token and not is_open and not hmac.compare_digest(given, expected):
            return _error(401, "this server wants a token: Authorization: Bearer TOKEN")
        return await handler(request)

    return guard


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def _served(request: web.Request) -> tuple[str, str]:
    return request.match_info["model"], request.match_info.get("version", "")


async def _page(request: web.Request) -> web.Response:
    return web.Response(body=PAGE.read_bytes(), content_type="text/html", headers=PAGE_HEADERS)


async def _shown(request: web.Request) -> web.Response:
    """The page says which requests of each model it has already, by number."""
    asked = _parsed(await request.read())
    since = {name: n for name, n in asked.items() if isinstance(n, int)}
    return web.json_response(request.app[SERVICE].shown(since))


async def _by_hand(request: web.Request) -> web.Response:
    if request.content_type != "application/json":  # which no page of another site may send
        raise ElastiqError("what is set by hand must come as application/json")
    request.app[SERVICE].set_hand(request.match_info["model"], _parsed(await request.read()))
    return web.json_response({})


async def _about(request: web.Request) -> web.Response:
    return web.json_response(request.app[SERVICE].about())


async def _live(request: web.Request) -> web.Response:
    return web.json_response({"live": True})


async def _ready(request: web.Request) -> web.Response:
    ready = request.app[SERVICE].models.ready
    return web.json_response({"ready": ready}, status=200 if ready else 503)


async def _model(request: web.Request) -> web.Response:
    return web.json_response(request.app[SERVICE].describe(*_served(request)))


async def _model_ready(request: web.Request) -> web.Response:
    served = request.app[SERVICE].models.get(*_served(request))
    return web.json_response({"name": served.name, "ready": True})


async def _index(request: web.Request) -> web.Response:
    asked = _parsed(await request.read() or b"{}")
    return web.json_response(request.app[SERVICE].index(only_ready=asked.get("ready") is True))


async def _load(request: web.Request) -> web.Response:
    await request.app[SERVICE].load(request.match_info["model"])
    return web.json_response({})


async def _unload(request: web.Request) -> web.Response:
    await request.app[SERVICE].unload(request.match_info["model"])
    return web.json_response({})


async def _metrics(request: web.Request) -> web.Response:
    page = request.app[SERVICE].metrics.page()
    return web.Response(body=page, content_type="text/plain", charset="utf-8")


async def _infer(request: web.Request) -> web.Response:
    body = await request.read()
    length = _json_length(request, body)
    asked = _parsed(body[:length])
    inputs = _inputs(asked, memoryview(body)[length:])
    outputs = _listed(asked, "outputs")
    names = [_name(output) for output in outputs]
    parameters = _table(asked, "parameters")
    reply = await request.app[SERVICE].infer(
        *_served(request), inputs, names, parameters, _trace(request)
    )
    binary = parameters.get(ALL_BINARY) is True
    raw = dict.fromkeys(reply.outputs, binary)
    for output in outputs:
        raw[_name(output)] = _table(output, "parameters").get(BINARY, binary) is True
    return _answer(asked, reply, raw)


def _trace(request: web.Request) -> Mapping[str, str]:
    return {name: request.headers[name] for name in TRACE if name in request.headers}


def _json_length(request: web.Request, body: bytes) -> int:
    given = request.headers.get(JSON_LENGTH)
    if given is None:
        return len(body)
    if not given.isdecimal() or int(given) > len(body):
        raise ElastiqError(f"{JSON_LENGTH} is {given!r}; the body has {len(body)} bytes")
    return int(given)


def _inputs(asked: Mapping[str, Any], raw: memoryview) -> dict[str, np.ndarray]:
    found = {}
    used = 0
    for tensor in _listed(asked, "inputs"):
        name, kind, shape = _name(tensor), tensor.get("datatype"), tensor.get("shape")
        if name in found:
            raise ElastiqError(f"input {name!r} is there twice")
        size = _table(tensor, "parameters").get(SIZE)
        if size is None:
            found[name] = from_list(tensor.get("data"), name, kind, shape)
        elif type(size) is not int or not 0 <= size <= len(raw) - used:
            raise ElastiqError(f"input {name!r} has {SIZE} {size!r}; {len(raw) - used} are left")
        else:
            found[name] = from_bytes(raw[used : used + size], name, kind, shape)
            used += size
    if used != len(raw):
        raise ElastiqError(f"{len(raw) - used} bytes of the body belong to no input")
    return found


def _answer(asked: Mapping[str, Any], reply: Reply, raw: Mapping[str, bool]) -> web.Response:
    tensors, blobs = [], []
    for name, array in reply.outputs.items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype(array.dtype),
            "shape": list(array.shape),
        }
        if raw[name]:
            blobs.append(to_bytes(array))
            tensor["parameters"] = {SIZE: len(blobs[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    told = {
        "model_name": reply.served.name,
        "model_version": reply.served.version,
        "id": str(asked.get("id", "")),
        "parameters": dict(reply.parameters),
        "outputs": tensors,
    }
    head = json.dumps(told, separators=(",", ":")).encode()
    if not blobs:
        return web.Response(body=head, content_type="application/json")
    headers = {JSON_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    return web.Response(body=b"".join([head, *blobs]), headers=headers)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = digest.parse(body)
    except (ValueError, RecursionError) as e:
        raise ElastiqError(f"the request is not JSON: {e}") from e
    if not isinstance(found, dict):
        raise ElastiqError("the request is not a JSON object")
    return found


def _listed(asked: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = asked.get(key, [])
    if not isinstance(found, list) or any(not isinstance(one, dict) for one in found):
        raise ElastiqError(f"{key} must be a list of objects")
    return found


def _table(asked: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = asked.get(key) or {}
    if not isinstance(found, dict):
        raise ElastiqError(f"{key} must be an object")
    return found


def _name(tensor: Mapping[str, Any]) -> str:
    name = tensor.get("name")
    if not isinstance(name, str) or not name:
        raise ElastiqError("a tensor has no name")
    return name
