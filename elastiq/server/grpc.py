"""The Open Inference Protocol over gRPC: the same service behind the same words.

`inference.desc` is what `protoc --descriptor_set_out` makes of `inference.proto`. Read into a pool
of its own, it suits any version of protobuf, and any client in the same process.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from elastiq.errors import DeadlineMissed, ElastiqError, QueueFull, WorkerClosed
from elastiq.server.models import NotReady, Unknown
from elastiq.server.service import Reply, Service
from elastiq.server.tensors import datatype, from_bytes, from_list, to_bytes

NAME = "inference.GRPCInferenceService"
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
CODES = (
    (Unknown, grpc.StatusCode.NOT_FOUND),
    (NotReady, grpc.StatusCode.UNAVAILABLE),
    (WorkerClosed, grpc.StatusCode.UNAVAILABLE),
    (QueueFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineMissed, grpc.StatusCode.DEADLINE_EXCEEDED),
    (ElastiqError, grpc.StatusCode.INVALID_ARGUMENT),
)
OPEN = ("ServerLive", "ServerReady")  # methods that need no token
Message = Any  # its classes are made while the program runs
Headers = Mapping[str, str]
Method = Callable[[Message, Headers], Awaitable[Message]]


def server(service: Service, token: str = "", largest_body: int = 64 << 20) -> grpc.aio.Server:
    """A gRPC server of a service. With a token, requests must bear it."""
    sizes = [
        ("grpc.max_receive_message_length", largest_body),
        ("grpc.max_send_message_length", -1),
    ]
    made = grpc.aio.server(options=sizes)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _guarded(method, "" if name in OPEN else token),
            request_deserializer=_message(f"{name}Request").FromString,
            response_serializer=_message(f"{name}Response").SerializeToString,
        )
        for name, method in _methods(service).items()
    }
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    return made


def _methods(service: Service) -> dict[str, Method]:
    async def live(asked: Message, headers: Headers) -> Message:
        return _message("ServerLiveResponse")(live=True)

    async def ready(asked: Message, headers: Headers) -> Message:
        return _message("ServerReadyResponse")(ready=service.models.ready)

    async def model_ready(asked: Message, headers: Headers) -> Message:
        try:
            service.models.get(asked.name, asked.version)
        except NotReady:
            return _message("ModelReadyResponse")(ready=False)
        return _message("ModelReadyResponse")(ready=True)

    async def about(asked: Message, headers: Headers) -> Message:
        return _message("ServerMetadataResponse")(**service.about())

    async def describe(asked: Message, headers: Headers) -> Message:
        found = service.describe(asked.name, asked.version)
        return _message("ModelMetadataResponse")(**found)

    async def infer(asked: Message, headers: Headers) -> Message:
        parameters = {key: _value(value) for key, value in asked.parameters.items()}
        wanted = [output.name for output in asked.outputs]
        inputs = dict(_inputs(asked))
        if len(inputs) < len(asked.inputs):
            raise ElastiqError("an input is there twice")
        reply = await service.infer(
            asked.model_name, asked.model_version, inputs, wanted, parameters, headers
        )
        return _answer(asked.id, reply)

    async def index(asked: Message, headers: Headers) -> Message:
        return _message("RepositoryIndexResponse")(models=service.index(asked.ready))

    async def load(asked: Message, headers: Headers) -> Message:
        await service.load(asked.model_name)
        return _message("RepositoryModelLoadResponse")()

    async def unload(asked: Message, headers: Headers) -> Message:
        await service.unload(asked.model_name)
        return _message("RepositoryModelUnloadResponse")()

    return {
        "ServerLive": live,
        "ServerReady": ready,
        "ModelReady": model_ready,
        "ServerMetadata": about,
        "ModelMetadata": describe,
        "ModelInfer": infer,
        "RepositoryIndex": index,
        "RepositoryModelLoad": load,
        "RepositoryModelUnload": unload,
    }


def _guarded(method: Method, token: str) -> Callable[[Message, Any], Awaitable[Message]]:
    """A method that checks the token, and whose errors have a status."""
    expected = f"Bearer {token}".encode()

    async def call(asked: Message, context: Any) -> Message:
        headers = {key: str(value) for key, value in context.invocation_metadata() or ()}
        given = headers.get("authorization", "").encode()
        if token and not hmac.compare_digest(given, expected):
            words = "this server wants a token: authorization: Bearer TOKEN"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, words)
        try:
            return await method(asked, headers)
        except ElastiqError as e:
            code = next(code for kind, code in CODES if isinstance(e, kind))
            await context.abort(code, str(e))
        except Exception as e:
            words = f"the engine failed: {type(e).__name__}"
            await context.abort(grpc.StatusCode.INTERNAL, words)

    return call


def _inputs(asked: Message) -> Iterator[tuple[str, np.ndarray]]:
    raw = asked.raw_input_contents
    if raw and len(raw) != len(asked.inputs):
        raise ElastiqError(f"there are {len(asked.inputs)} inputs and {len(raw)} raw contents")
    for place, tensor in enumerate(asked.inputs):
        name, kind, shape = tensor.name, tensor.datatype, list(tensor.shape)
        if raw:
            yield name, from_bytes(raw[place], name, kind, shape)
        elif kind in CONTENTS:
            yield name, from_list(getattr(tensor.contents, CONTENTS[kind]), name, kind, shape)
        else:
            raise ElastiqError(f"input {name!r} of datatype {kind!r} must come as raw contents")


def _answer(id: str, reply: Reply) -> Message:
    made = _message("ModelInferResponse")(
        model_name=reply.served.name,
        model_version=reply.served.version,
        id=id,
        outputs=[
            {"name": name, "datatype": datatype(array.dtype), "shape": array.shape}
            for name, array in reply.outputs.items()
        ],
        raw_output_contents=[to_bytes(array) for array in reply.outputs.values()],
    )
    for name, value in reply.parameters.items():
        setattr(made.parameters[name], _choice(value), value)
    return made


def _choice(value: Any) -> str:
    kinds: Mapping[type, str] = {bool: "bool_param", int: "int64_param", float: "double_param"}
    return kinds.get(type(value), "string_param")


def _value(parameter: Message) -> Any:
    chosen = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, chosen) if chosen else None


def _classes() -> dict[str, Message]:
    pool = descriptor_pool.DescriptorPool()
    described = FileDescriptorSet.FromString(
        Path(__file__).with_name("inference.desc").read_bytes()
    )
    for file in described.file:
        pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{file.package}.{message.name}")
        )
        for file in described.file
        for message in file.message_type
    }


_CLASSES = _classes()


def _message(name: str) -> Message:
    return _CLASSES[name]
