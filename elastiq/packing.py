"""Weights as ONNX Runtime's kernels want them, kept on the device and shared by all engines.

Loading an engine packs each weight into memory of its own. Packed once and kept in files, it is
mapped instead: engines, and processes, that use the same weight share its pages. A file holds one
tensor, as it was and packed, and is named by the size and the digest of both; the model that refers
to these files is kept under the engine's own key. Packed bytes belong to one CPU and one version of
the runtime, which are part of the key.
"""

from __future__ import annotations

import functools
import logging
import mmap
import re
import threading
from collections.abc import Collection
from pathlib import Path

from elastiq import cache, device, digest, onnxfile
from elastiq.onnxfile import Place

log = logging.getLogger(__name__)

MODEL = "model.onnx"
DATA = "weights.bin"
PACKED = "prepacked_"  # KEY|offset;length;flag|offset;length;flag…
SMALLEST = 1024  # bytes; smaller tensors stay in the model
PREFIX = "tensor-"
FORM = 2  # of what is kept: the next one finds nothing of this
SIZE_DIGITS = 10
NAMES = re.compile(rf"{PREFIX}[0-9a-f]{{{SIZE_DIGITS}}}-[0-9a-f]{{64}}".encode())  # in a model
SAVING = {
    "session.optimized_model_external_initializers_file_name": DATA,
    "session.optimized_model_external_initializers_min_size_in_bytes": str(SMALLEST),
    "session.save_external_prepacked_constant_initializers": "1",
}


def key(model: bytes, version: str, settings: dict[str, str]) -> str:
    """The name of an engine's packed form. Its weights are named, by digest, in the model."""
    made_by = [FORM, version, device.this().name, settings]
    return f"onnxruntime-{digest.of_value([digest.of_bytes(model), *made_by])}"


def find(name: str) -> bytes | None:
    """A model whose weights are kept packed, if they all are there; whether they are whole, takes
    longer to tell."""
    kept = cache.find(name)
    if kept is None:
        return None
    model = kept.tobytes()
    return model if _look(_names(model)) is not None else None


def is_whole(model: bytes) -> bool:
    """Whether a model's packed weights are what they were. A process reads each for that once."""
    return _are_whole(_names(model))


def pack(made: Path) -> bytes:
    """Keep the tensors that ONNX Runtime wrote into a folder; the model that refers to them."""
    if not (made / DATA).exists():  # all are so small that they stayed in the model
        return (made / MODEL).read_bytes()
    data = (made / DATA).open("rb")
    with data, mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return onnxfile.relocate((made / MODEL).read_bytes(), functools.partial(_move, whole))


def fits(model: bytes) -> bool:
    """Whether an engine's weights may be kept: as they are, and packed."""
    return cache.has_room(2 * sum(int(place["length"]) for place in onnxfile.places(model)))


def _move(whole: mmap.mmap, place: Place) -> Place:
    """Put a tensor and its packed forms into a file of their own."""
    content = bytearray(_slice(whole, place["offset"], place["length"]))
    moved = {"offset": "0", "length": place["length"]}
    for entry, value in place.items():
        if entry.startswith(PACKED):
            kernel, *blobs = value.split("|")
            moved[entry] = "|".join([kernel, *(_append(content, whole, blob) for blob in blobs)])
    return {"location": _keep_tensor(bytes(content)), **moved}


def _append(content: bytearray, whole: mmap.mmap, blob: str) -> str:
    offset, length, flag = blob.split(";")
    content += bytes(-len(content) % mmap.ALLOCATIONGRANULARITY)
    start = len(content)
    content += _slice(whole, offset, length)
    return f"{start};{length};{flag}"


def _slice(whole: mmap.mmap, offset: str, length: str) -> bytes:
    return whole[int(offset) : int(offset) + int(length)]


def _keep_tensor(content: bytes) -> str:
    name = f"{PREFIX}{len(content):0{SIZE_DIGITS}x}-{digest.of_bytes(content)}"
    if not _are_whole([name]):
        digest.write_atomically(cache.folder() / name, content)
        cache.let_reread(name)
    return name


_Stamp = tuple[Path, int, int]  # what changes when a file does
_reading = threading.Lock()
_read: set[_Stamp] = set()  # files that this process has read and found whole


def _names(model: bytes) -> set[str]:
    return {name.decode() for name in NAMES.findall(model)}


def _are_whole(names: Collection[str]) -> bool:
    """Whether these tensors' files hold what their names say. One that does not is removed."""
    with _reading:
        there = _look(names)
        if there is None:
            return False
        unread = [name for name, stamp in there.items() if stamp not in _read]
        for name in unread:
            cache.touch(name)
        stamps = _look(unread)
        if stamps is None:
            return False
        try:
            digests = digest.of_files(cache.folder() / name for name in unread)
        except OSError:
            return False
        damaged = []
        for (name, stamp), right in zip(stamps.items(), digests, strict=True):
            if name.endswith(right):
                _read.add(stamp)
            else:
                damaged.append(name)
    for name in damaged:
        log.warning("%s is damaged; it is made again", cache.folder() / name)
        cache.drop(name)
    return not damaged


def _look(names: Collection[str]) -> dict[str, _Stamp] | None:
    """The files of these names, if all are there and have their size: a file that is too short must
    not be mapped."""
    folder, found = cache.folder(), {}
    for name in names:
        path = folder / name
        try:
            status = path.stat()
        except OSError:
            return None
        if status.st_size != int(name[len(PREFIX) :][:SIZE_DIGITS], 16):
            return None
        found[name] = path, status.st_ino, status.st_mtime_ns
    return found
