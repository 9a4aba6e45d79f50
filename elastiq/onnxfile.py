"""Where the tensors of an ONNX file lie, read and changed without the onnx package.

A model names, for each tensor that is not inside it, a file and what is found where in it. All else
is copied as it is, so nothing has to be known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

Place = dict[str, str]  # location, offset, length, and what the runtime keeps beside the tensor

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types
EXTERNAL_DATA = 13  # of a tensor: pairs of key (1) and value (2)
INSIDE = {  # message: the messages in it that may hold tensors, by field
    "model": {7: "graph"},
    "graph": {1: "node", 5: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}


def relocate(model: bytes, move: Callable[[Place], Place]) -> bytes:
    """The model with the place of every tensor outside of it changed."""
    return _relocate(memoryview(model), "model", move)


def places(model: bytes) -> list[Place]:
    """Where the tensors outside of the model lie."""
    found: list[Place] = []

    def note(place: Place) -> Place:
        found.append(place)
        return place

    relocate(model, note)
    return found


def _relocate(message: memoryview, kind: str, move: Callable[[Place], Place]) -> bytes:
    if kind == "tensor":
        return _move(message, move)
    inside = INSIDE[kind]
    parts: list[bytes | memoryview] = []
    for number, whole, body in _fields(message):
        if number in inside:
            parts += _field(number, _relocate(body, inside[number], move))
        else:
            parts.append(whole)
    return b"".join(parts)


def _move(tensor: memoryview, move: Callable[[Place], Place]) -> bytes:
    place: Place = {}
    rest: list[bytes | memoryview] = []
    for number, whole, body in _fields(tensor):
        if number == EXTERNAL_DATA:
            pair = {field: bytes(text).decode() for field, _, text in _fields(body)}
            place[pair[1]] = pair[2]
        else:
            rest.append(whole)
    for key, value in (move(place) if place else place).items():
        pair_bytes = b"".join([*_field(1, key.encode()), *_field(2, value.encode())])
        rest += _field(EXTERNAL_DATA, pair_bytes)
    return b"".join(rest)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, bytes and content of each field."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == BYTES:
            size, position = _varint(message, position)
        elif wire == VARINT:
            _, end = _varint(message, position)
            size = end - position
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"no ONNX file holds a field of wire type {wire}")
        body = message[position : position + size]
        if len(body) != size:
            raise ValueError("the ONNX file ends too early")
        position += size
        yield number, message[start:position], body


def _field(number: int, body: bytes) -> list[bytes]:
    return [_as_varint(number << 3 | BYTES), _as_varint(len(body)), body]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("the ONNX file ends too early")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
